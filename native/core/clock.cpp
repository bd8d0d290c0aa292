#include "clock.h"

#include <cstring>
#include <ctime>

namespace usher {

int64_t boot_ns() noexcept {
  timespec now;
  // Can't fail: the clock exists since Linux 2.6.39.
  clock_gettime(CLOCK_BOOTTIME, &now);
  return int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

int64_t monotonic_ns() noexcept {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

ClockReading read_clocks() noexcept {
  const auto read = [](clockid_t clock) {
    timespec now;
    // Can't fail: both exist since Linux 2.6.28.
    clock_gettime(clock, &now);
    return int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
  };
  // A thread may lose its processor between two readings: of several tries the one in which least time passed counts.
  ClockReading best{};
  int64_t least = INT64_MAX;
  for (int tries = 0; tries < 5; ++tries) {
    const int64_t before = read(CLOCK_MONOTONIC_RAW);
    const int64_t steered = read(CLOCK_MONOTONIC);
    const int64_t passed = read(CLOCK_MONOTONIC_RAW) - before;
    if (passed >= least) continue;
    least = passed;
    best = {steered, before + passed / 2};
  }
  return best;
}

std::string_view WallClock::now() noexcept {
  timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  return format(now.tv_sec, now.tv_nsec);
}

std::string_view WallClock::format(int64_t seconds, int64_t nanoseconds) noexcept {
  const auto digits = [this](size_t at, size_t count, int64_t value) {
    for (size_t i = count; i-- > 0; value /= 10) text_[at + i] = static_cast<char>('0' + value % 10);
  };
  if (seconds != second_) {
    const time_t time = static_cast<time_t>(seconds);
    tm date;
    if (gmtime_r(&time, &date) == nullptr) date = tm{};
    std::memcpy(text_, "0000-00-00T00:00:00.000Z", text_bytes);
    digits(0, 4, date.tm_year + 1900);
    digits(5, 2, date.tm_mon + 1);
    digits(8, 2, date.tm_mday);
    digits(11, 2, date.tm_hour);
    digits(14, 2, date.tm_min);
    digits(17, 2, date.tm_sec);
    second_ = seconds;
    millisecond_ = -1;
  }
  if (const int64_t millisecond = nanoseconds / 1'000'000; millisecond != millisecond_) {
    digits(20, 3, millisecond);
    millisecond_ = millisecond;
  }
  return {text_, text_bytes};
}

}  // namespace usher
