// The deadline against processes that can't or won't end by themselves.
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <ctime>

#include "../core/clock.h"
#include "../core/deadline.h"
#include "check.h"

namespace usher::test {
namespace {

constexpr int64_t ms = 1'000'000;

// Runs `body` in a child and returns its wait status.
template <class Body>
int in_child(Body body) {
  const pid_t child = fork();
  if (child == 0) {
    body();
    _exit(0);
  }
  int status = 0;
  CHECK_EQ(waitpid(child, &status, 0), child);
  return status;
}

bool killed(int status) { return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL; }

void sleep_until(int64_t at_boot_ns) {
  const timespec until{static_cast<time_t>(at_boot_ns / 1'000'000'000), static_cast<long>(at_boot_ns % 1'000'000'000)};
  while (clock_nanosleep(CLOCK_BOOTTIME, TIMER_ABSTIME, &until, nullptr) != 0) {
  }
}

TEST("a stopped process is killed at its deadline") {
  CHECK(killed(in_child([] {
    if (arm_deadline(boot_ns() + 30 * ms) != 0) _exit(1);
    raise(SIGSTOP);
  })));
}

TEST("a process that only computes is killed at its deadline") {
  CHECK(killed(in_child([] {
    if (arm_deadline(boot_ns() + 30 * ms) != 0) _exit(1);
    while (boot_ns() != 0) {
    }
  })));
}

TEST("a deadline in the past kills at once") {
  for (const int64_t at : {boot_ns() - ms, int64_t{0}, int64_t{-5}}) {
    CHECK(killed(in_child([at] {
      arm_deadline(at);
      while (true) pause();
    })));
  }
}

TEST("arming again moves the deadline, disarming ends it") {
  const int status = in_child([] {
    const int64_t start = boot_ns();
    if (disarm_deadline() != 0) _exit(1);
    for (int i = 0; i < 100; i++) {
      if (arm_deadline(start + 20 * ms) != 0) _exit(1);
    }
    if (arm_deadline(start + 60'000 * ms) != 0) _exit(1);
    sleep_until(start + 40 * ms);
    if (arm_deadline(start + 60 * ms) != 0 || disarm_deadline() != 0) _exit(1);
    sleep_until(start + 80 * ms);
    _exit(7);
  });
  CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 7);
}

TEST("an earlier deadline replaces a later one") {
  CHECK(killed(in_child([] {
    arm_deadline(boot_ns() + 60'000 * ms);
    if (arm_deadline(boot_ns() + 20 * ms) != 0) _exit(1);
    while (true) pause();
  })));
}

TEST("the wall clock is written as ISO 8601 in UTC, whatever was written before") {
  WallClock clock;
  CHECK_EQ(clock.format(0, 0), "1970-01-01T00:00:00.000Z");
  CHECK_EQ(clock.format(1795406400, 123'999'999), "2026-11-23T04:00:00.123Z");
  CHECK_EQ(clock.format(1795406400, 7'000'000), "2026-11-23T04:00:00.007Z");
  CHECK_EQ(clock.format(1795406401, 7'000'000), "2026-11-23T04:00:01.007Z");
  CHECK_EQ(clock.format(951782399, 999'000'000), "2000-02-28T23:59:59.999Z");
  CHECK_EQ(clock.now().size(), WallClock::text_bytes);
}

}  // namespace
}  // namespace usher::test
