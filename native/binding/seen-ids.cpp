// SeenIds (src/base/native.ts), with the memory it holds outside of the heap told to the engine.
#include <napi.h>

#include <cstdint>
#include <cstring>
#include <optional>
#include <random>
#include <span>
#include <vector>

#include "../core/seen-ids.h"
#include "binding.h"

namespace usher::binding {
namespace {

uint64_t random_secret() {
  std::random_device device;
  return uint64_t{device()} << 32 | device();
}

std::optional<std::span<const uint64_t>> column_argument(Napi::Value value, const char* name) {
  if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != napi_biguint64_array) {
    return refuse_argument(value.Env(), name, "a BigUint64Array");
  }
  const auto array = value.As<Napi::BigUint64Array>();
  return std::span<const uint64_t>(array.Data(), array.ElementLength());
}

class SeenIdsObject : public Napi::ObjectWrap<SeenIdsObject> {
 public:
  explicit SeenIdsObject(const Napi::CallbackInfo& info)
      : Napi::ObjectWrap<SeenIdsObject>(info), ids_(random_secret()) {}

  ~SeenIdsObject() override {
    if (reported_ > 0) Napi::MemoryManagement::AdjustExternalMemory(Env(), -reported_);
  }

  static void init(Napi::Env env, Napi::Object exports) {
    exports.Set("SeenIds", DefineClass(env, "SeenIds",
                                       {InstanceMethod<&SeenIdsObject::admit>("admit"),
                                        InstanceMethod<&SeenIdsObject::advance>("advance"),
                                        InstanceMethod<&SeenIdsObject::forget>("forget"),
                                        InstanceMethod<&SeenIdsObject::begin_save>("beginSave"),
                                        InstanceMethod<&SeenIdsObject::save>("save"),
                                        InstanceMethod<&SeenIdsObject::load>("load"),
                                        InstanceAccessor<&SeenIdsObject::size>("size"),
                                        InstanceAccessor<&SeenIdsObject::bytes>("bytes")}));
  }

 private:
  Napi::Value admit(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    const auto producers = column_argument(info[0], "producers");
    if (!producers) return env.Undefined();
    const auto sequences = column_argument(info[1], "sequences");
    if (!sequences) return env.Undefined();
    const auto digests = column_argument(info[2], "digests");
    if (!digests) return env.Undefined();
    if (sequences->size() != producers->size() || digests->size() != producers->size()) {
      refuse_argument(env, "digests", "as long as producers and sequences");
      return env.Undefined();
    }
    Napi::Uint8Array answers = Napi::Uint8Array::New(env, producers->size());
    ids_.admit(*producers, *sequences, *digests, {answers.Data(), answers.ElementLength()});
    report(env);
    return answers;
  }

  Napi::Value advance(const Napi::CallbackInfo& info) {
    ids_.advance();
    return info.Env().Undefined();
  }

  Napi::Value forget(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    const auto age = whole_argument(info[0], "age", 63);
    if (!age) return env.Undefined();
    const auto slots = whole_argument(info[1], "slots");
    if (!slots) return env.Undefined();
    const bool done = ids_.forget(static_cast<unsigned>(*age), static_cast<size_t>(*slots));
    report(env);
    return Napi::Boolean::New(env, done);
  }

  Napi::Value begin_save(const Napi::CallbackInfo& info) {
    ids_.begin_save();
    return info.Env().Undefined();
  }

  Napi::Value save(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    const auto bytes = whole_argument(info[0], "bytes");
    if (!bytes) return env.Undefined();
    const std::vector<uint64_t> piece = ids_.save(static_cast<size_t>(*bytes));
    if (piece.empty()) return env.Null();
    return Napi::Buffer<uint8_t>::Copy(env, reinterpret_cast<const uint8_t*>(piece.data()),
                                       piece.size() * sizeof(uint64_t));
  }

  Napi::Value load(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    const auto bytes = bytes_argument(info[0], "piece");
    if (!bytes) return env.Undefined();
    if (bytes->size() % sizeof(uint64_t) != 0) return Napi::Boolean::New(env, false);
    // A view may begin anywhere.
    std::vector<uint64_t> piece(bytes->size() / sizeof(uint64_t));
    if (!piece.empty()) std::memcpy(piece.data(), bytes->data(), bytes->size());
    const bool good = ids_.load(piece);
    report(env);
    return Napi::Boolean::New(env, good);
  }

  void report(Napi::Env env) {
    const auto held = static_cast<int64_t>(ids_.bytes());
    Napi::MemoryManagement::AdjustExternalMemory(env, held - reported_);
    reported_ = held;
  }

  Napi::Value size(const Napi::CallbackInfo& info) {
    return Napi::Number::New(info.Env(), static_cast<double>(ids_.size()));
  }

  Napi::Value bytes(const Napi::CallbackInfo& info) {
    return Napi::Number::New(info.Env(), static_cast<double>(ids_.bytes()));
  }

  SeenIds ids_;
  int64_t reported_ = 0;
};

}  // namespace

void init_seen_ids(Napi::Env env, Napi::Object exports) { SeenIdsObject::init(env, exports); }

}  // namespace usher::binding
