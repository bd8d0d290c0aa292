// Ingest as a JavaScript class: starts it, configures it, stops it, and hands over what is to be known of it. What its
// threads have to say crosses by a thread-safe function, at most one call of it waiting, with everything that happened until
// it is delivered. No bytes of producers and no answers come by here.
#include <algorithm>
#include <memory>

#include "../core/ingest.h"
#include "binding.h"
#include "ingest-options.h"

namespace usher::binding {
namespace {

class IngestObject;
void deliver(Napi::Env env, Napi::Function callback, IngestObject* object, void*);
using EventsFunction = Napi::TypedThreadSafeFunction<IngestObject, void, deliver>;

class IngestObject final : public Napi::ObjectWrap<IngestObject>, private IngestSink {
 public:
  static void init(Napi::Env env, Napi::Object exports) {
    exports.Set("Ingest", DefineClass(env, "Ingest",
                                      {
                                          InstanceMethod<&IngestObject::listen>("listen"),
                                          InstanceMethod<&IngestObject::goodbye>("goodbye"),
                                          InstanceMethod<&IngestObject::presence_written>("presenceWritten"),
                                          InstanceMethod<&IngestObject::stats>("stats"),
                                          InstanceMethod<&IngestObject::stop>("stop"),
                                      }));
  }

  explicit IngestObject(const Napi::CallbackInfo& info) : Napi::ObjectWrap<IngestObject>(info) {
    const Napi::Env env = info.Env();
    auto options = read_ingest_options(info[0]);
    if (!options) return;
    if (!info[1].IsFunction()) {
      refuse_argument(env, "onEvents", "a function");
      return;
    }
    ingest_ = std::make_unique<Ingest>(std::move(*options), static_cast<IngestSink&>(*this));
    events_ = EventsFunction::New(env, info[1].As<Napi::Function>(), "usher.ingest", 0, 1, this);
    if (env.IsExceptionPending()) {
      ingest_.reset();
      return;
    }
    // Runs before the thread-safe function is torn down, because it is added after it.
    napi_add_env_cleanup_hook(env, at_exit, this);
    if (const FileFailure failure = ingest_->start(); failure) {
      end();
      throw_errno(env, failure.operation, failure.error);
      return;
    }
    // Nothing but stop() ends it, not even being forgotten: it still owes answers.
    Ref();
  }

  ~IngestObject() override {
    if (ingest_ != nullptr) end();
  }

  void deliver_events(Napi::Env env, Napi::Function callback);

 private:
  void events_ready() noexcept override {
    // Full it can't be, and when it is closing nobody is left to be told.
    events_.NonBlockingCall();
  }

  static void at_exit(void* object) {
    // The process or the worker exits without stop(). What was acknowledged is on disk; the thread must be
    // gone before what it calls is.
    static_cast<IngestObject*>(object)->ingest_.reset();
  }

  // Ends the thread and lets go of the thread-safe function.
  void end() {
    napi_remove_env_cleanup_hook(Env(), at_exit, this);
    ingest_.reset();
    events_.Release();
  }

  bool running(const Napi::CallbackInfo& info) {
    if (ingest_ != nullptr && !stopping_) return true;
    Napi::Error::New(info.Env(), "the ingest has been stopped").ThrowAsJavaScriptException();
    return false;
  }

  Napi::Value listen(const Napi::CallbackInfo& info);
  void goodbye(const Napi::CallbackInfo& info);
  void presence_written(const Napi::CallbackInfo& info);
  Napi::Value stats(const Napi::CallbackInfo& info);
  void stop(const Napi::CallbackInfo& info);

  std::unique_ptr<Ingest> ingest_;
  EventsFunction events_;
  Napi::FunctionReference done_;
  bool listening_ = false;
  bool gone_ = false;
  bool stopping_ = false;
};

Napi::Value IngestObject::listen(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (!running(info)) return {};
  if (listening_) {
    Napi::Error::New(env, "the ingest listens already").ThrowAsJavaScriptException();
    return {};
  }
  const auto address = text_argument(info[0], "address");
  if (!address) return {};
  const auto wanted = whole_argument(info[1], "port", UINT16_MAX);
  if (!wanted) return {};
  auto port = static_cast<uint16_t>(*wanted);
  if (const FileFailure failure = ingest_->listen(*address, port); failure) {
    throw_errno(env, failure.operation, failure.error);
    return {};
  }
  listening_ = true;
  return Napi::Number::New(env, port);
}

void IngestObject::goodbye(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (!running(info)) return;
  if (gone_) {
    Napi::Error::New(env, "goodbye has been said").ThrowAsJavaScriptException();
    return;
  }
  const auto code = whole_argument(info[0], "code", UINT16_MAX);
  if (!code) return;
  auto reason = text_argument(info[1], "reason");
  if (!reason) return;
  if (!info[2].IsArray()) {
    refuse_argument(env, "addresses", "an array of strings");
    return;
  }
  const auto array = info[2].As<Napi::Array>();
  std::vector<std::string> addresses;
  for (uint32_t i = 0; i < array.Length(); i++) {
    auto address = text_argument(array.Get(i), "addresses");
    if (!address) return;
    addresses.push_back(std::move(*address));
  }
  const auto within_ms = whole_argument(info[3], "withinMs", UINT32_MAX);
  if (!within_ms) return;
  gone_ = true;
  ingest_->say_goodbye({static_cast<Code>(*code), std::move(*reason), std::move(addresses),
                        monotonic_ns() + static_cast<int64_t>(*within_ms) * 1'000'000});
}

void IngestObject::presence_written(const Napi::CallbackInfo& info) {
  const auto at_ms = number_argument(info[0], "atBootMs");
  if (!at_ms) return;
  if (*at_ms < 0 || *at_ms > 9e12) {
    refuse_argument(info.Env(), "atBootMs", "a boot time in milliseconds");
    return;
  }
  if (ingest_ != nullptr) ingest_->presence_written(static_cast<int64_t>(*at_ms * 1e6));
}

Napi::Value IngestObject::stats(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (ingest_ == nullptr) {
    Napi::Error::New(env, "the ingest has been stopped").ThrowAsJavaScriptException();
    return {};
  }
  const auto number = [env](uint64_t value) { return Napi::Number::New(env, static_cast<double>(value)); };
  const SegmentWriterStats& writer = ingest_->writer_stats();
  Napi::Object object = Napi::Object::New(env);
  object.Set("connections", number(ingest_->connections()));
  object.Set("acceptedJobs", number(ingest_->accepted_jobs()));
  object.Set("refusedJobs", number(ingest_->refused_jobs()));
  object.Set("jobsBytes", number(ingest_->jobs_bytes()));
  object.Set("uncommittedBytes", number(ingest_->uncommitted_bytes()));
  object.Set("partialBytes", number(ingest_->partial_bytes()));
  object.Set("commits", number(writer.commits.load()));
  object.Set("segments", number(writer.segments.load()));
  object.Set("syncMs", Napi::Number::New(env, static_cast<double>(writer.sync_ns.load()) / 1e6));
  return object;
}

void IngestObject::stop(const Napi::CallbackInfo& info) {
  if (!running(info)) return;
  if (!info[0].IsFunction()) {
    refuse_argument(info.Env(), "done", "a function");
    return;
  }
  stopping_ = true;
  done_ = Napi::Persistent(info[0].As<Napi::Function>());
  ingest_->stop();
}

Napi::Object events_object(Napi::Env env, const IngestEvents& events) {
  const auto number = [env](uint64_t value) { return Napi::Number::New(env, static_cast<double>(value)); };
  const auto numbers = [env, number](const std::vector<uint64_t>& values) {
    Napi::Array array = Napi::Array::New(env, values.size());
    for (uint32_t i = 0; i < values.size(); i++) array.Set(i, number(values[i]));
    return array;
  };
  Napi::Array cut_off = Napi::Array::New(env, events.cut_off.size());
  for (uint32_t i = 0; i < events.cut_off.size(); i++) {
    Napi::Object one = Napi::Object::New(env);
    one.Set("connection", number(events.cut_off[i].connection));
    one.Set("code", Napi::Number::New(env, static_cast<double>(events.cut_off[i].code)));
    one.Set("peer", events.cut_off[i].peer);
    cut_off.Set(i, one);
  }
  Napi::Array published = Napi::Array::New(env, events.published.size());
  for (uint32_t i = 0; i < events.published.size(); i++) {
    Napi::Object one = Napi::Object::New(env);
    one.Set("segment", number(events.published[i].segment));
    one.Set("jobs", number(events.published[i].jobs));
    one.Set("bytes", number(events.published[i].bytes));
    published.Set(i, one);
  }
  Napi::Value failure = env.Null();
  if (events.failure != Code::none) {
    Napi::Object one = Napi::Object::New(env);
    one.Set("code", events.failure == Code::store_full ? "store_full" : "store_failing");
    one.Set("operation", events.failed_operation);
    one.Set("errno", errno_name(events.failed_error));
    failure = one;
  }
  Napi::Value listener = env.Null();
  if (events.accept_operation != nullptr) {
    Napi::Object one = Napi::Object::New(env);
    one.Set("operation", events.accept_operation);
    const bool failing = events.accept_error != 0;
    one.Set("errno", failing ? Napi::Value(Napi::String::New(env, errno_name(events.accept_error))) : env.Null());
    listener = one;
  }
  Napi::Object object = Napi::Object::New(env);
  object.Set("opened", number(events.opened));
  object.Set("turnedAway", number(events.turned_away));
  object.Set("cutOff", cut_off);
  object.Set("cutOffMore", number(events.cut_off_more));
  object.Set("listener", listener);
  object.Set("published", published);
  object.Set("abandoned", numbers(events.abandoned));
  object.Set("accepted", number(events.accepted));
  object.Set("failure", failure);
  object.Set("recovered", Napi::Boolean::New(env, events.recovered));
  object.Set("emptied", Napi::Boolean::New(env, events.emptied));
  object.Set("retired", Napi::Boolean::New(env, events.retired));
  return object;
}

void IngestObject::deliver_events(Napi::Env env, Napi::Function callback) {
  if (ingest_ == nullptr) return;
  const IngestEvents events = ingest_->collect();
  const bool stopped = events.stopped;
  Napi::FunctionReference done;
  if (stopped) {
    done = std::move(done_);
    end();
    Unref();
  }
  callback.Call({events_object(env, events)});
  // After an exception in onEvents, which Node reports, no more JavaScript may be called from here.
  if (stopped && !env.IsExceptionPending()) done.Call({});
}

void deliver(Napi::Env env, Napi::Function callback, IngestObject* object, void*) {
  // Without an environment the object may be gone as well.
  if (static_cast<napi_env>(env) == nullptr) return;
  object->deliver_events(env, callback);
}

}  // namespace

void init_ingest(Napi::Env env, Napi::Object exports) { IngestObject::init(env, exports); }

}  // namespace usher::binding
