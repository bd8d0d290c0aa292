#include "ingest-options.h"

#include <climits>
#include <iterator>

namespace usher::binding {
namespace {

// 16 bytes of a uuid's text.
bool parse_uuid(std::string_view text, uint8_t (&to)[16]) {
  if (text.size() != 36) return false;
  size_t nibbles = 0;
  for (size_t i = 0; i < text.size(); i++) {
    const char c = text[i];
    if (i == 8 || i == 13 || i == 18 || i == 23) {
      if (c != '-') return false;
      continue;
    }
    int value;
    if (c >= '0' && c <= '9') {
      value = c - '0';
    } else if (c >= 'a' && c <= 'f') {
      value = c - 'a' + 10;
    } else if (c >= 'A' && c <= 'F') {
      value = c - 'A' + 10;
    } else {
      return false;
    }
    uint8_t& byte = to[nibbles / 2];
    byte = static_cast<uint8_t>(nibbles % 2 == 0 ? value << 4 : byte | value);
    nibbles++;
  }
  return true;
}

// Reads one option after another; after the first that is wrong, ok() is false and the rest is skipped.
class OptionReader {
 public:
  OptionReader(Napi::Object object, const char* name) : object_(object), name_(name) {}

  bool ok() const { return ok_; }

  uint64_t whole(const char* key, uint64_t min, uint64_t max) {
    if (!ok_) return 0;
    const std::string name = full(key);
    const auto value = whole_argument(object_.Get(key), name.c_str(), max);
    if (!value) return fail();
    if (*value < min) {
      refuse_argument(object_.Env(), name.c_str(), ("at least " + std::to_string(min)).c_str());
      return fail();
    }
    return *value;
  }

  uint32_t whole32(const char* key, uint64_t min, uint64_t max = INT32_MAX) {
    return static_cast<uint32_t>(whole(key, min, max));
  }

  int64_t milliseconds_as_ns(const char* key) {
    return static_cast<int64_t>(whole(key, 0, 1'000'000'000'000)) * 1'000'000;
  }

  bool flag(const char* key) {
    if (!ok_) return false;
    const Napi::Value value = object_.Get(key);
    if (!value.IsBoolean()) refuse(key, "true or false");
    return ok_ && value.As<Napi::Boolean>().Value();
  }

  std::string text(const char* key) {
    if (!ok_) return {};
    auto value = text_argument(object_.Get(key), full(key).c_str());
    if (!value) return fail(), std::string();
    return std::move(*value);
  }

  std::vector<std::string> texts(const char* key) {
    if (!ok_) return {};
    const Napi::Value value = object_.Get(key);
    if (!value.IsArray()) {
      refuse_argument(object_.Env(), full(key).c_str(), "an array of strings");
      return fail(), std::vector<std::string>();
    }
    const auto array = value.As<Napi::Array>();
    std::vector<std::string> all;
    for (uint32_t i = 0; i < array.Length() && ok_; i++) {
      auto one = text_argument(array.Get(i), (full(key) + "[" + std::to_string(i) + "]").c_str());
      if (!one) return fail(), std::vector<std::string>();
      all.push_back(std::move(*one));
    }
    return all;
  }

  void refuse(const char* key, const char* expected) {
    if (ok_) refuse_argument(object_.Env(), full(key).c_str(), expected);
    ok_ = false;
  }

 private:
  std::string full(const char* key) const { return name_ + "." + key; }
  uint64_t fail() {
    ok_ = false;
    return 0;
  }

  Napi::Object object_;
  std::string name_;
  bool ok_ = true;
};

std::optional<FileFault> read_fault(Napi::Value value, const std::string& name) {
  if (!value.IsObject()) return refuse_argument(value.Env(), name.c_str(), "an object");
  OptionReader reader(value.As<Napi::Object>(), name.c_str());
  const std::string operation = reader.text("operation");
  FileFault fault{};
  bool known = false;
  for (size_t i = 0; i < file_operation_count; i++) {
    const auto candidate = static_cast<FileOperation>(i);
    if (operation != name_of(candidate)) continue;
    fault.operation = candidate;
    known = true;
  }
  if (!known) reader.refuse("operation", "open, write, fdatasync, close, link or syncdir");
  fault.nth = reader.whole("nth", 1, UINT32_MAX);
  fault.times = reader.whole("times", 1, UINT32_MAX);
  fault.error = static_cast<int>(reader.whole("errno", 1, 4095));
  if (!reader.ok()) return std::nullopt;
  return fault;
}

}  // namespace

std::optional<IngestOptions> read_ingest_options(Napi::Value value) {
  if (!value.IsObject()) return refuse_argument(value.Env(), "options", "an object");
  const auto object = value.As<Napi::Object>();
  OptionReader reader(object, "options");
  IngestOptions options;

  SegmentWriterOptions& writer = options.writer;
  writer.directory = reader.text("directory");
  writer.stamp.store = reader.text("store");
  writer.stamp.host = reader.text("host");
  writer.stamp.instance = reader.text("instance");
  writer.stamp.pid = reader.whole32("pid", 1);
  writer.stamp.version = reader.text("version");
  writer.stamp.config = reader.text("config");
  writer.segment_bytes_max = reader.whole("segmentBytesMax", 1, UINT32_MAX);
  writer.segment_age_ns = reader.milliseconds_as_ns("segmentAgeMs");
  writer.seal_interval_ns = reader.milliseconds_as_ns("sealIntervalMs");
  writer.reserve_bytes = reader.whole("reserveBytes", 0, 9007199254740991);
  writer.accept_lease_ns = reader.milliseconds_as_ns("acceptLeaseMs");
  writer.retry_ns = reader.milliseconds_as_ns("retryMs");
  options.direct_io = reader.flag("directIo");

  options.identity.instance = writer.stamp.instance;
  options.identity.host = writer.stamp.host;
  options.identity.version = writer.stamp.version;
  if (reader.ok() && !parse_uuid(writer.stamp.store, options.identity.store_uuid)) {
    reader.refuse("store", "a uuid");
  }

  SessionLimits& limits = options.limits;
  limits.frame_bytes_max = reader.whole32("frameBytesMax", 64);
  limits.frame_jobs_max = reader.whole32("frameJobsMax", 1, UINT16_MAX);
  limits.job_bytes_max = reader.whole32("jobBytesMax", 16);
  limits.credit_bytes = reader.whole("creditBytes", uint64_t{limits.frame_bytes_max} + frame_header_bytes,
                                     9007199254740991);
  limits.idle_ms = reader.whole32("idleMs", 1);
  limits.partial_bytes_max = reader.whole("partialBytesMax", 1, 9007199254740991);

  SocketLimits& sockets = options.sockets;
  sockets.connections_max = reader.whole("connectionsMax", 1, UINT32_MAX);
  sockets.hello_timeout_ns = reader.milliseconds_as_ns("helloTimeoutMs");
  sockets.frame_timeout_ns = reader.milliseconds_as_ns("frameTimeoutMs");
  sockets.idle_timeout_ns = int64_t{limits.idle_ms} * 1'000'000;
  sockets.output_bytes_max = reader.whole("outputBytesMax", 1, 9007199254740991);
  sockets.uncommitted_bytes_max = reader.whole("uncommittedBytesMax", 1, 9007199254740991);
  options.threads = reader.whole32("threads", 1, 64);

  options.clusters.names = reader.texts("clusters");
  if (!reader.ok()) return std::nullopt;

  if (!object.Get("defaultCluster").IsNull()) {
    const std::string name = reader.text("defaultCluster");
    for (size_t i = 0; i < options.clusters.names.size(); i++) {
      if (options.clusters.names[i] == name) options.clusters.default_index = static_cast<int>(i);
    }
    if (options.clusters.default_index < 0) reader.refuse("defaultCluster", "one of options.clusters, or null");
  }

  const Napi::Value faults = object.Get("faults");
  if (reader.ok() && !faults.IsUndefined()) {
    if (!faults.IsArray()) return refuse_argument(value.Env(), "options.faults", "an array");
    const auto array = faults.As<Napi::Array>();
    for (uint32_t i = 0; i < array.Length(); i++) {
      const auto fault = read_fault(array.Get(i), "options.faults[" + std::to_string(i) + "]");
      if (!fault) return std::nullopt;
      options.faults.push_back(*fault);
    }
  }
  if (!reader.ok()) return std::nullopt;
  return options;
}

}  // namespace usher::binding
