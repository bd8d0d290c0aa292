// Eight bytes at a time, in plain C++.
#include "canonical-includes.h"

#define USHER_TARGET

namespace usher {
namespace {

struct Block {
  static constexpr size_t bytes = 8;
  static constexpr uint64_t ones = 0x0101010101010101u;

  // Bit 7 of each byte that is zero; a borrow can only spoil bytes behind a true hit.
  static uint64_t zeroes(uint64_t word) noexcept { return (word - ones) & ~word; }

  [[gnu::always_inline]] static size_t copy(const uint8_t* in, uint8_t* to) noexcept {
    uint64_t block;
    std::memcpy(&block, in, bytes);
    std::memcpy(to, &block, bytes);
    // `<` and `>` differ in bit 1, `"` and `&` in bit 2; control characters are below 0x20.
    const uint64_t found = ((block - ones * 0x20) & ~block) | zeroes((block | ones * 2) ^ ones * '>') |
                           zeroes((block | ones * 4) ^ ones * '&') | zeroes(block ^ ones * '\\');
    const uint64_t mask = found & ones * 0x80;
    return static_cast<size_t>(std::countr_zero(mask)) / 8;
  }
};

}  // namespace
}  // namespace usher

#include "canonical-kernel.h"

namespace usher {

constinit const CanonicalKernel canonical_portable = {"portable", read_jobs};

}  // namespace usher
