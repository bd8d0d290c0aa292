// Time as usher uses it: a clock that goes on during suspend and never jumps, for leases and ages; and the
// wall clock, for people only. Nothing is ever decided by the wall clock.
#pragma once

#include <cstdint>
#include <string_view>

namespace usher {

// CLOCK_BOOTTIME.
int64_t boot_ns() noexcept;
// CLOCK_MONOTONIC, which stands still during suspend: for time-outs of connections, whose peers' silence a suspend is not.
int64_t monotonic_ns() noexcept;
inline double boot_ms() noexcept { return static_cast<double>(boot_ns()) / 1e6; }

// The clock that time synchronisation steers (its rate is boot_ns()'s, but for suspend) and the hardware's, which nobody
// steers, read at one moment: how they go apart is the rate at which this host's leases run wrong.
struct ClockReading {
  int64_t steered_ns;  // CLOCK_MONOTONIC
  int64_t raw_ns;      // CLOCK_MONOTONIC_RAW
};
ClockReading read_clocks() noexcept;

// The wall clock as ISO 8601 with milliseconds in UTC, 24 bytes ("2026-11-23T04:00:00.123Z"). Used by one
// thread at a time; what now() returned is overwritten by the next call.
class WallClock {
 public:
  static constexpr size_t text_bytes = 24;

  std::string_view now() noexcept;
  // The same for a given time, for tests.
  std::string_view format(int64_t seconds, int64_t nanoseconds) noexcept;

 private:
  // The second that `text_` holds; formatting a date is only done when it changes.
  int64_t second_ = INT64_MIN;
  int64_t millisecond_ = -1;
  char text_[text_bytes] = {};
};

}  // namespace usher
