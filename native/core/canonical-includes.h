// What canonical-kernel.h needs, included before anything is compiled for one processor alone: inline functions of
// other headers must stay runnable everywhere.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

#include "canonical-job.h"
#include "json-buffer.h"
#include "segment-schema.h"
#include "xxh64.h"

// USHER_PORTABLE leaves out all that is special to a processor, so that tests reach the portable paths.
#if defined(__x86_64__) && !defined(USHER_PORTABLE)
#define USHER_X86_KERNELS 1
#include <immintrin.h>
#elif defined(__aarch64__) && !defined(USHER_PORTABLE)
#define USHER_NEON_KERNEL 1
#include <arm_neon.h>
#endif

namespace usher {

#if USHER_X86_KERNELS
extern const CanonicalKernel canonical_avx512;
extern const CanonicalKernel canonical_avx2;
extern const CanonicalKernel canonical_sse42;
#elif USHER_NEON_KERNEL
extern const CanonicalKernel canonical_neon;
#endif
extern const CanonicalKernel canonical_portable;

}  // namespace usher
