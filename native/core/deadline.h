// The kernel's deadline of this process: a timer that SIGKILLs it at a given boot time, whether it runs,
// sleeps, is stopped or hangs in a system call. There is one per process, because what it ends is the
// process; that makes it the one piece of state in the core that is global. Threads may call it at any time.
#pragma once

#include <cstdint>

namespace usher {

// Both return 0 or an errno. Arming again replaces the deadline; one in the past kills at once.
int arm_deadline(int64_t at_boot_ns) noexcept;
int disarm_deadline() noexcept;

}  // namespace usher
