// XXH64, the 64-bit xxHash, as its published specification defines it (xxhash_spec.md, section "XXH64
// algorithm description"): what makes two jobs the same job. Not a cryptographic hash, and never used as one.
#pragma once

#include <cstdint>
#include <span>

namespace usher {

uint64_t xxh64(std::span<const uint8_t> data, uint64_t seed = 0) noexcept;

// 16 lower-case hexadecimal digits, most significant first.
void write_hex16(uint64_t value, uint8_t* to) noexcept;

}  // namespace usher
