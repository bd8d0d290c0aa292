// 16 bytes at a time.
#include "canonical-includes.h"

#if USHER_X86_KERNELS

#define USHER_TARGET [[gnu::target("sse4.2,popcnt")]]

namespace usher {
namespace {

struct Block {
  static constexpr size_t bytes = 16;

  USHER_TARGET [[gnu::always_inline]] static size_t copy(const uint8_t* in, uint8_t* to) noexcept {
    const __m128i block = _mm_loadu_si128(reinterpret_cast<const __m128i*>(in));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to), block);
    const __m128i controls = _mm_cmpeq_epi8(_mm_min_epu8(block, _mm_set1_epi8(0x1f)), block);
    // A table by the lower four bits, of what each of them may stand for; `\\` has those of `<` and is asked for itself.
    const __m128i candidates = _mm_setr_epi8(1, 0, '"', 0, 0, 0, '&', 0, 0, 0, 0, 0, '<', 0, '>', 0);
    const __m128i markup = _mm_cmpeq_epi8(_mm_shuffle_epi8(candidates, block), block);
    const __m128i slashes = _mm_cmpeq_epi8(block, _mm_set1_epi8('\\'));
    const __m128i found = _mm_or_si128(_mm_or_si128(controls, markup), slashes);
    const auto mask = static_cast<uint32_t>(_mm_movemask_epi8(found));
    return static_cast<size_t>(std::countr_zero(mask | 1u << bytes));
  }
};

}  // namespace
}  // namespace usher

#include "canonical-kernel.h"

namespace usher {

constinit const CanonicalKernel canonical_sse42 = {"sse42", read_jobs};

}  // namespace usher

#endif
