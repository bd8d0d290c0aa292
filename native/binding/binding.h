// What the files of the binding share: how a feature is registered, and how arguments are checked. Nothing
// here or in any binding may be a mutable global: every worker thread loads the addon for itself.
#pragma once

#include <napi.h>

#include <cstdint>
#include <optional>
#include <span>
#include <string>

namespace usher::binding {

// Each adds its functions and classes to the addon's exports.
void init_base(Napi::Env env, Napi::Object exports);
void init_file_work(Napi::Env env, Napi::Object exports);
void init_ingest(Napi::Env env, Napi::Object exports);
void init_transform(Napi::Env env, Napi::Object exports);
void init_line_index(Napi::Env env, Napi::Object exports);
void init_seen_ids(Napi::Env env, Napi::Object exports);

// The checks throw a TypeError that names the argument, into JavaScript, and return nothing: the caller
// returns at once.

std::nullopt_t refuse_argument(Napi::Env env, const char* name, const char* expected);
// A Uint8Array (or Buffer), valid for as long as the call lasts.
std::optional<std::span<const uint8_t>> bytes_argument(Napi::Value value, const char* name);
std::optional<std::string> text_argument(Napi::Value value, const char* name);
// A whole number from 0 to `max`, at most 2^53 − 1.
std::optional<uint64_t> whole_argument(Napi::Value value, const char* name, uint64_t max = 9007199254740991);
// A finite number.
std::optional<double> number_argument(Napi::Value value, const char* name);
// An Error with the errno's name as its code, and the operation as its syscall.
Napi::Error errno_error(Napi::Env env, const char* operation, int error);
void throw_errno(Napi::Env env, const char* operation, int error);

}  // namespace usher::binding
