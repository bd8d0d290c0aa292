// 16 bytes at a time.
#include "canonical-includes.h"

#if USHER_NEON_KERNEL

#define USHER_TARGET

namespace usher {
namespace {

struct Block {
  static constexpr size_t bytes = 16;

  [[gnu::always_inline]] static size_t copy(const uint8_t* in, uint8_t* to) noexcept {
    const uint8x16_t block = vld1q_u8(in);
    vst1q_u8(to, block);
    const uint8x16_t controls = vcltq_u8(block, vdupq_n_u8(0x20));
    // `<` and `>` differ in bit 1, `"` and `&` in bit 2.
    const uint8x16_t angles = vceqq_u8(vorrq_u8(block, vdupq_n_u8(2)), vdupq_n_u8('>'));
    const uint8x16_t quotes = vceqq_u8(vorrq_u8(block, vdupq_n_u8(4)), vdupq_n_u8('&'));
    const uint8x16_t slashes = vceqq_u8(block, vdupq_n_u8('\\'));
    const uint8x16_t found = vorrq_u8(vorrq_u8(controls, angles), vorrq_u8(quotes, slashes));
    // There is no movemask: a narrowing shift leaves four bits of each byte.
    const uint8x8_t nibbles = vshrn_n_u16(vreinterpretq_u16_u8(found), 4);
    const uint64_t mask = vget_lane_u64(vreinterpret_u64_u8(nibbles), 0);
    return static_cast<size_t>(std::countr_zero(mask)) / 4;
  }
};

}  // namespace
}  // namespace usher

#include "canonical-kernel.h"

namespace usher {

constinit const CanonicalKernel canonical_neon = {"neon", read_jobs};

}  // namespace usher

#endif
