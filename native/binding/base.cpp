// Checksums, the clock, the deadline and the one socket option that Node has no name for.
#include <sys/socket.h>

#include <cerrno>
#include <climits>
#include <cmath>

#include "../core/clock.h"
#include "../core/crc32c.h"
#include "../core/deadline.h"
#include "../core/xxh64.h"
#include "binding.h"

namespace usher::binding {
namespace {

using Crc = uint32_t (*)(std::span<const uint8_t>, uint32_t) noexcept;

template <Crc crc>
Napi::Value checksum(const Napi::CallbackInfo& info) {
  const auto data = bytes_argument(info[0], "data");
  if (!data) return {};
  uint32_t seed = 0;
  if (!info[1].IsUndefined()) {
    const auto given = whole_argument(info[1], "seed", UINT32_MAX);
    if (!given) return {};
    seed = static_cast<uint32_t>(*given);
  }
  return Napi::Number::New(info.Env(), crc(*data, seed));
}

Napi::Value digest(const Napi::CallbackInfo& info) {
  const auto data = bytes_argument(info[0], "data");
  if (!data) return {};
  return Napi::BigInt::New(info.Env(), xxh64(*data));
}

Napi::Value boot_time(const Napi::CallbackInfo& info) { return Napi::Number::New(info.Env(), boot_ms()); }

Napi::Value clock_reading(const Napi::CallbackInfo& info) {
  const ClockReading reading = read_clocks();
  auto result = Napi::Object::New(info.Env());
  result.Set("steeredMs", static_cast<double>(reading.steered_ns) / 1e6);
  result.Set("rawMs", static_cast<double>(reading.raw_ns) / 1e6);
  return result;
}

void arm(const Napi::CallbackInfo& info) {
  const auto at_ms = number_argument(info[0], "atBootMs");
  if (!at_ms) return;
  // Milliseconds that overflow as nanoseconds are centuries away: that is no deadline.
  if (std::fabs(*at_ms) > 9e12) {
    refuse_argument(info.Env(), "atBootMs", "a boot time in milliseconds");
    return;
  }
  const int error = arm_deadline(static_cast<int64_t>(*at_ms * 1e6));
  if (error != 0) throw_errno(info.Env(), "timer_settime", error);
}

void disarm(const Napi::CallbackInfo& info) {
  const int error = disarm_deadline();
  if (error != 0) throw_errno(info.Env(), "timer_settime", error);
}

void abort_on_close(const Napi::CallbackInfo& info) {
  const auto fd = whole_argument(info[0], "fd", INT_MAX);
  if (!fd) return;
  const linger abort{1, 0};
  if (setsockopt(static_cast<int>(*fd), SOL_SOCKET, SO_LINGER, &abort, sizeof abort) != 0) {
    throw_errno(info.Env(), "setsockopt", errno);
  }
}

}  // namespace

void init_base(Napi::Env env, Napi::Object exports) {
  exports.Set("crc32c", Napi::Function::New<checksum<crc32c>>(env, "crc32c"));
  exports.Set("crc32cPortable", Napi::Function::New<checksum<crc32c_portable>>(env, "crc32cPortable"));
  exports.Set("xxh64", Napi::Function::New<digest>(env, "xxh64"));
  exports.Set("bootMs", Napi::Function::New<boot_time>(env, "bootMs"));
  exports.Set("clockReading", Napi::Function::New<clock_reading>(env, "clockReading"));
  exports.Set("armDeadline", Napi::Function::New<arm>(env, "armDeadline"));
  exports.Set("disarmDeadline", Napi::Function::New<disarm>(env, "disarmDeadline"));
  exports.Set("abortOnClose", Napi::Function::New<abort_on_close>(env, "abortOnClose"));
}

}  // namespace usher::binding
