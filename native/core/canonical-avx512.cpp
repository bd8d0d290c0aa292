// 32 bytes at a time, where comparing yields a bit for each. Twice as many at a time were slower: fields are short, and
// what is stored in vain straddles cache lines.
#include "canonical-includes.h"

#if USHER_X86_KERNELS

#define USHER_TARGET [[gnu::target("avx512f,avx512bw,avx512vl,avx2,bmi,bmi2,popcnt")]]

namespace usher {
namespace {

struct Block {
  static constexpr size_t bytes = 32;

  USHER_TARGET [[gnu::always_inline]] static size_t copy(const uint8_t* in, uint8_t* to) noexcept {
    const __m256i block = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(in));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), block);
    // `<` and `>` differ in bit 1, `"` and `&` in bit 2.
    const uint32_t special =
        _mm256_cmplt_epu8_mask(block, _mm256_set1_epi8(0x20)) |
        _mm256_cmpeq_epi8_mask(_mm256_or_si256(block, _mm256_set1_epi8(2)), _mm256_set1_epi8('>')) |
        _mm256_cmpeq_epi8_mask(_mm256_or_si256(block, _mm256_set1_epi8(4)), _mm256_set1_epi8('&')) |
        _mm256_cmpeq_epi8_mask(block, _mm256_set1_epi8('\\'));
    return static_cast<size_t>(std::countr_zero(special));
  }
};

}  // namespace
}  // namespace usher

#include "canonical-kernel.h"

namespace usher {

constinit const CanonicalKernel canonical_avx512 = {"avx512", read_jobs};

}  // namespace usher

#endif
