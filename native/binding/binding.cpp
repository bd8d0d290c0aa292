#include "binding.h"

#include <cmath>

#include "../core/file-ops.h"

namespace usher::binding {

std::nullopt_t refuse_argument(Napi::Env env, const char* name, const char* expected) {
  Napi::TypeError::New(env, std::string(name) + " must be " + expected).ThrowAsJavaScriptException();
  return std::nullopt;
}

std::optional<std::span<const uint8_t>> bytes_argument(Napi::Value value, const char* name) {
  if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != napi_uint8_array) {
    return refuse_argument(value.Env(), name, "a Uint8Array");
  }
  const auto array = value.As<Napi::Uint8Array>();
  return std::span<const uint8_t>(array.Data(), array.ElementLength());
}

std::optional<std::string> text_argument(Napi::Value value, const char* name) {
  if (!value.IsString()) return refuse_argument(value.Env(), name, "a string");
  return value.As<Napi::String>().Utf8Value();
}

std::optional<double> number_argument(Napi::Value value, const char* name) {
  if (!value.IsNumber()) return refuse_argument(value.Env(), name, "a number");
  const double number = value.As<Napi::Number>().DoubleValue();
  if (!std::isfinite(number)) return refuse_argument(value.Env(), name, "a finite number");
  return number;
}

std::optional<uint64_t> whole_argument(Napi::Value value, const char* name, uint64_t max) {
  const double number = value.IsNumber() ? value.As<Napi::Number>().DoubleValue() : -1.0;
  if (!(number >= 0) || number > static_cast<double>(max) || number != std::floor(number)) {
    const std::string expected = "a whole number from 0 to " + std::to_string(max);
    return refuse_argument(value.Env(), name, expected.c_str());
  }
  return static_cast<uint64_t>(number);
}

Napi::Error errno_error(Napi::Env env, const char* operation, int error) {
  const std::string code = errno_name(error);
  Napi::Error made = Napi::Error::New(env, std::string(operation) + " failed: " + code);
  made.Set("code", Napi::String::New(env, code));
  made.Set("syscall", Napi::String::New(env, operation));
  return made;
}

void throw_errno(Napi::Env env, const char* operation, int error) {
  errno_error(env, operation, error).ThrowAsJavaScriptException();
}

}  // namespace usher::binding
