// CRC-32C (Castagnoli), as RFC 3720 appendix B.4 defines it: of frames on the wire and of commits in
// segments.
#pragma once

#include <cstdint>
#include <span>

namespace usher {

// `seed` is the CRC of what stood before: crc32c(b, crc32c(a)) is crc32c of a followed by b. Uses the
// processor's instructions where it has them.
uint32_t crc32c(std::span<const uint8_t> data, uint32_t seed = 0) noexcept;

// The same in portable code.
uint32_t crc32c_portable(std::span<const uint8_t> data, uint32_t seed = 0) noexcept;

}  // namespace usher
