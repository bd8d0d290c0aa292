// Which kernels this processor can run.
#include "canonical-job.h"

#include "canonical-includes.h"

namespace usher {
namespace {

struct Kernels {
  const CanonicalKernel* kernels[4];
  size_t count = 0;

  void add(const CanonicalKernel& kernel) noexcept { kernels[count++] = &kernel; }
};

Kernels detect() noexcept {
  Kernels found;
#if USHER_X86_KERNELS
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2") &&
                    __builtin_cpu_supports("popcnt");
  if (avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512vl")) {
    found.add(canonical_avx512);
  }
  if (avx2) found.add(canonical_avx2);
  if (__builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("popcnt")) found.add(canonical_sse42);
#elif USHER_NEON_KERNEL
  // Every processor of this architecture has it.
  found.add(canonical_neon);
#endif
  found.add(canonical_portable);
  return found;
}

}  // namespace

std::span<const CanonicalKernel* const> canonical_kernels() noexcept {
  static const Kernels found = detect();
  return {found.kernels, found.count};
}

}  // namespace usher
