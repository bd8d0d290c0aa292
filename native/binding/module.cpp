// The addon as Node loads it, once for each environment (the main thread and every worker). Its interface to
// TypeScript is src/base/native.ts.
#include "binding.h"

namespace {

Napi::Object init(Napi::Env env, Napi::Object exports) {
  usher::binding::init_base(env, exports);
  usher::binding::init_ingest(env, exports);
  usher::binding::init_transform(env, exports);
  usher::binding::init_file_work(env, exports);
  usher::binding::init_line_index(env, exports);
  usher::binding::init_seen_ids(env, exports);
  return exports;
}

}  // namespace

NODE_API_MODULE(NODE_GYP_MODULE_NAME, init)
