// 32 bytes at a time.
#include "canonical-includes.h"

#if USHER_X86_KERNELS

#define USHER_TARGET [[gnu::target("avx2,bmi,bmi2,popcnt")]]

namespace usher {
namespace {

struct Block {
  static constexpr size_t bytes = 32;

  USHER_TARGET [[gnu::always_inline]] static size_t copy(const uint8_t* in, uint8_t* to) noexcept {
    const __m256i block = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(in));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), block);
    const __m256i controls = _mm256_cmpeq_epi8(_mm256_min_epu8(block, _mm256_set1_epi8(0x1f)), block);
    // `<` and `>` differ in bit 1, `"` and `&` in bit 2.
    const __m256i angles = _mm256_cmpeq_epi8(_mm256_or_si256(block, _mm256_set1_epi8(2)), _mm256_set1_epi8('>'));
    const __m256i quotes = _mm256_cmpeq_epi8(_mm256_or_si256(block, _mm256_set1_epi8(4)), _mm256_set1_epi8('&'));
    const __m256i slashes = _mm256_cmpeq_epi8(block, _mm256_set1_epi8('\\'));
    const __m256i found = _mm256_or_si256(_mm256_or_si256(controls, angles), _mm256_or_si256(quotes, slashes));
    const auto mask = static_cast<uint32_t>(_mm256_movemask_epi8(found));
    return static_cast<size_t>(std::countr_zero(uint64_t{mask} | uint64_t{1} << bytes));
  }
};

}  // namespace
}  // namespace usher

#include "canonical-kernel.h"

namespace usher {

constinit const CanonicalKernel canonical_avx2 = {"avx2", read_jobs};

}  // namespace usher

#endif
