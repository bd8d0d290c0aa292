// indexLines (src/base/native.ts). Lines that aren't usher's throw an Error with the code `segment_corrupt`.
#include <napi.h>

#include <cstdint>
#include <cstring>
#include <vector>

#include "../core/line-index.h"
#include "binding.h"

namespace usher::binding {
namespace {

template <class Array, class T>
Array column(Napi::Env env, const std::vector<T>& values) {
  Array array = Array::New(env, values.size());
  if (!values.empty()) std::memcpy(array.Data(), values.data(), values.size() * sizeof(T));
  return array;
}

Napi::Value index(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const auto jsonl = bytes_argument(info[0], "jsonl");
  if (!jsonl) return env.Undefined();
  const LineIndex index = index_lines(*jsonl);
  if (!index.failure.empty()) {
    Napi::Error error = Napi::Error::New(env, index.failure);
    error.Set("code", Napi::String::New(env, "segment_corrupt"));
    error.ThrowAsJavaScriptException();
    return env.Undefined();
  }
  Napi::Object result = Napi::Object::New(env);
  result.Set("count", Napi::Number::New(env, static_cast<double>(index.producers.size())));
  result.Set("producers", column<Napi::BigUint64Array>(env, index.producers));
  result.Set("sequences", column<Napi::BigUint64Array>(env, index.sequences));
  result.Set("digests", column<Napi::BigUint64Array>(env, index.digests));
  result.Set("offsets", column<Napi::Float64Array>(env, index.offsets));
  result.Set("clusterOf", column<Napi::Uint16Array>(env, index.cluster_of));
  Napi::Array clusters = Napi::Array::New(env, index.clusters.size());
  for (uint32_t i = 0; i < index.clusters.size(); i++)
    clusters.Set(i, Napi::String::New(env, index.clusters[i]));
  result.Set("clusters", clusters);
  return result;
}

}  // namespace

void init_line_index(Napi::Env env, Napi::Object exports) {
  exports.Set("indexLines", Napi::Function::New<index>(env, "indexLines"));
}

}  // namespace usher::binding
