#include "deadline.h"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <ctime>
#include <mutex>

namespace usher {
namespace {

struct ProcessTimer {
  std::mutex mutex;
  bool created = false;
  timer_t timer{};
};

ProcessTimer& process_timer() noexcept {
  static ProcessTimer instance;
  return instance;
}

int set(const ProcessTimer& process, int64_t at_boot_ns) noexcept {
  itimerspec when{};
  when.it_value.tv_sec = static_cast<time_t>(at_boot_ns / 1'000'000'000);
  when.it_value.tv_nsec = static_cast<long>(at_boot_ns % 1'000'000'000);
  return timer_settime(process.timer, TIMER_ABSTIME, &when, nullptr) == 0 ? 0 : errno;
}

}  // namespace

int arm_deadline(int64_t at_boot_ns) noexcept {
  ProcessTimer& process = process_timer();
  const std::lock_guard guard(process.mutex);
  if (!process.created) {
    sigevent event{};
    event.sigev_notify = SIGEV_SIGNAL;
    event.sigev_signo = SIGKILL;
    if (timer_create(CLOCK_BOOTTIME, &event, &process.timer) != 0) return errno;
    process.created = true;
  }
  // Zero would disarm: the very first nanosecond is as good as any other moment of the past.
  return set(process, std::max<int64_t>(at_boot_ns, 1));
}

int disarm_deadline() noexcept {
  ProcessTimer& process = process_timer();
  const std::lock_guard guard(process.mutex);
  return process.created ? set(process, 0) : 0;
}

}  // namespace usher
