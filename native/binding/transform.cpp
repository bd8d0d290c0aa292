// transform, recoverSegment, SegmentTransform and xxh64 (src/base/native.ts). The input of transform is read where
// it is; the lines are handed over in the memory they were written to.
#include <napi.h>

#include <cerrno>
#include <climits>
#include <cstdint>
#include <string>

#include "../core/segment-recovery.h"
#include "../core/segment-transform.h"
#include "../core/transform.h"
#include "../core/xxh64.h"
#include "binding.h"

namespace usher::binding {
namespace {

Napi::Value failure_value(Napi::Env env, const SegmentFailure& failure) {
  if (!failure) return env.Null();
  Napi::Object value = Napi::Object::New(env);
  value.Set("code", Napi::String::New(env, std::string(name_of(failure.code))));
  value.Set("reason", Napi::String::New(env, failure.reason));
  value.Set("line", Napi::Number::New(env, static_cast<double>(failure.place.line)));
  value.Set("column", Napi::Number::New(env, static_cast<double>(failure.place.column)));
  return value;
}

Napi::Value transform_xml(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const auto xml = bytes_argument(info[0], "xml");
  if (!xml) return env.Undefined();
  Transformed transformed = transform(*xml);
  Napi::Object result = Napi::Object::New(env);
  result.Set("failure", failure_value(env, transformed.failure));
  if (transformed.bytes == 0) {
    result.Set("jsonl", Napi::Buffer<uint8_t>::New(env, 0));
  } else {
    // Copies where the engine takes no outside memory, and frees at once then.
    result.Set("jsonl",
               Napi::Buffer<uint8_t>::NewOrCopy(env, transformed.jsonl.release(), transformed.bytes,
                                                [](Napi::Env, uint8_t* bytes) { FreeDeleter{}(bytes); }));
  }
  result.Set("jobs", Napi::Number::New(env, static_cast<double>(transformed.jobs)));
  return result;
}

Napi::Value recovery_value(Napi::Env env, const SegmentRecovery& recovery) {
  Napi::Object result = Napi::Object::New(env);
  result.Set("bytes", Napi::Number::New(env, static_cast<double>(recovery.bytes)));
  result.Set("jobs", Napi::Number::New(env, static_cast<double>(recovery.jobs)));
  result.Set("sealed", Napi::Boolean::New(env, recovery.sealed));
  result.Set("corrupt", Napi::Boolean::New(env, recovery.corrupt));
  return result;
}

Napi::Value recover(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const auto bytes = bytes_argument(info[0], "bytes");
  if (!bytes) return env.Undefined();
  return recovery_value(env, recover_segment(*bytes));
}

class SegmentTransformObject : public Napi::ObjectWrap<SegmentTransformObject> {
 public:
  explicit SegmentTransformObject(const Napi::CallbackInfo& info) : Napi::ObjectWrap<SegmentTransformObject>(info) {}

  static void init(Napi::Env env, Napi::Object exports) {
    exports.Set("SegmentTransform",
                DefineClass(env, "SegmentTransform",
                            {InstanceMethod<&SegmentTransformObject::read>("read"),
                             InstanceMethod<&SegmentTransformObject::recover>("recover"),
                             InstanceMethod<&SegmentTransformObject::close_after>("closeAfter"),
                             InstanceMethod<&SegmentTransformObject::run>("run"),
                             InstanceMethod<&SegmentTransformObject::write>("write"),
                             InstanceMethod<&SegmentTransformObject::clear>("clear")}));
  }

 private:
  Napi::Value read(const Napi::CallbackInfo& info) {
    const auto fd = whole_argument(info[0], "fd", INT_MAX);
    if (!fd) return info.Env().Undefined();
    if (!info[1].IsBoolean()) {
      refuse_argument(info.Env(), "direct", "true or false");
      return info.Env().Undefined();
    }
    const int error = segment_.read(static_cast<int>(*fd), info[1].As<Napi::Boolean>().Value());
    if (error != 0) throw_errno(info.Env(), "read", error);
    return Napi::Number::New(info.Env(), static_cast<double>(segment_.xml().size()));
  }

  Napi::Value recover(const Napi::CallbackInfo& info) { return recovery_value(info.Env(), segment_.recover()); }

  void close_after(const Napi::CallbackInfo& info) {
    const auto bytes = whole_argument(info[0], "bytes");
    if (!bytes) return;
    const int error = segment_.close_after(*bytes);
    if (error == EINVAL) refuse_argument(info.Env(), "bytes", "no more than were read");
    else if (error != 0) throw_errno(info.Env(), "malloc", error);
  }

  Napi::Value run(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    const TransformOutcome outcome = segment_.run();
    Napi::Object result = Napi::Object::New(env);
    result.Set("failure", failure_value(env, outcome.failure));
    result.Set("jobs", Napi::Number::New(env, static_cast<double>(outcome.jobs)));
    result.Set("xmlBytes", Napi::Number::New(env, static_cast<double>(segment_.xml().size())));
    result.Set("jsonBytes", Napi::Number::New(env, static_cast<double>(segment_.lines().size())));
    return result;
  }

  void write(const Napi::CallbackInfo& info) {
    const auto fd = whole_argument(info[0], "fd", INT_MAX);
    if (!fd) return;
    const int error = segment_.write(static_cast<int>(*fd));
    if (error != 0) throw_errno(info.Env(), "write", error);
  }

  void clear(const Napi::CallbackInfo&) { segment_.clear(); }

  SegmentTransform segment_;
};

Napi::Value hash(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const auto data = bytes_argument(info[0], "data");
  if (!data) return env.Undefined();
  return Napi::BigInt::New(env, xxh64(*data));
}

}  // namespace

void init_transform(Napi::Env env, Napi::Object exports) {
  exports.Set("transform", Napi::Function::New<transform_xml>(env, "transform"));
  exports.Set("recoverSegment", Napi::Function::New<recover>(env, "recoverSegment"));
  SegmentTransformObject::init(env, exports);
  exports.Set("xxh64", Napi::Function::New<hash>(env, "xxh64"));
}

}  // namespace usher::binding
