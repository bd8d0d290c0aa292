// CRC-32C three ways: SSE4.2 in three streams, ARMv8 in one, and tables (slicing by eight). The processor is
// asked once, when the program is loaded; before that the portable way answers.
#include "crc32c.h"

#include <array>
#include <cstddef>
#include <cstring>

// USHER_PORTABLE leaves out all that is special to a processor, so that tests reach the portable paths.
#if defined(__x86_64__) && !defined(USHER_PORTABLE)
#define USHER_CRC_SSE42 1
#include <immintrin.h>
#elif defined(__aarch64__) && defined(__linux__) && !defined(USHER_PORTABLE)
#define USHER_CRC_ARMV8 1
#include <sys/auxv.h>
#endif

namespace usher {
namespace {

// The polynomial of Castagnoli, bits reversed: bit 31 stands for x^0, bit 0 for x^31.
constexpr uint32_t polynomial = 0x82f63b78u;

constexpr uint32_t times_x(uint32_t value) noexcept {
  return (value >> 1) ^ ((value & 1) != 0 ? polynomial : 0);
}

// tables[k][b]: the CRC of byte b with k zero bytes behind it.
constexpr std::array<std::array<uint32_t, 256>, 8> make_tables() noexcept {
  std::array<std::array<uint32_t, 256>, 8> tables{};
  for (uint32_t byte = 0; byte < 256; byte++) {
    uint32_t crc = byte;
    for (int bit = 0; bit < 8; bit++) crc = times_x(crc);
    tables[0][byte] = crc;
  }
  for (size_t k = 1; k < 8; k++) {
    for (size_t byte = 0; byte < 256; byte++) {
      const uint32_t shorter = tables[k - 1][byte];
      tables[k][byte] = (shorter >> 8) ^ tables[0][shorter & 0xff];
    }
  }
  return tables;
}

constexpr auto tables = make_tables();

uint64_t load64(const uint8_t* from) noexcept {
  uint64_t value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

#if USHER_CRC_SSE42

// x^exponent modulo the polynomial.
constexpr uint32_t power_of_x(size_t exponent) noexcept {
  uint32_t value = 0x80000000u;
  for (size_t i = 0; i < exponent; i++) value = times_x(value);
  return value;
}

// crc32 has a latency of three cycles and a throughput of one: three independent streams of `stream_bytes`
// each keep it busy. Their CRCs are joined by moving the first two on over what follows them: a carry-less
// product of two reversed 32-bit polynomials, taken as the next eight bytes, comes out of crc32 multiplied by
// x^33 as well.
template <size_t stream_bytes>
__attribute__((target("sse4.2,pclmul"))) inline const uint8_t* three_streams(const uint8_t* at, size_t& left,
                                                                              uint32_t& crc) noexcept {
  constexpr uint32_t over_one = power_of_x(stream_bytes * 8 - 33);
  constexpr uint32_t over_two = power_of_x(stream_bytes * 16 - 33);
  while (left >= 3 * stream_bytes) {
    uint64_t a = crc;
    uint64_t b = 0;
    uint64_t c = 0;
    for (size_t i = 0; i < stream_bytes; i += 8) {
      a = _mm_crc32_u64(a, load64(at + i));
      b = _mm_crc32_u64(b, load64(at + stream_bytes + i));
      c = _mm_crc32_u64(c, load64(at + 2 * stream_bytes + i));
    }
    const __m128i factors = _mm_set_epi64x(over_one, over_two);
    const __m128i moved_a = _mm_clmulepi64_si128(_mm_cvtsi64_si128(static_cast<int64_t>(a)), factors, 0x00);
    const __m128i moved_b = _mm_clmulepi64_si128(_mm_cvtsi64_si128(static_cast<int64_t>(b)), factors, 0x10);
    const auto moved = static_cast<uint64_t>(_mm_cvtsi128_si64(_mm_xor_si128(moved_a, moved_b)));
    crc = static_cast<uint32_t>(_mm_crc32_u64(0, moved) ^ c);
    at += 3 * stream_bytes;
    left -= 3 * stream_bytes;
  }
  return at;
}

__attribute__((target("sse4.2,pclmul"))) uint32_t crc32c_hardware(const uint8_t* at, size_t left,
                                                                   uint32_t crc) noexcept {
  at = three_streams<1024>(at, left, crc);
  at = three_streams<128>(at, left, crc);
  for (; left >= 8; at += 8, left -= 8) crc = static_cast<uint32_t>(_mm_crc32_u64(crc, load64(at)));
  for (; left > 0; at++, left--) crc = _mm_crc32_u8(crc, *at);
  return crc;
}

bool detect() noexcept {
  __builtin_cpu_init();
  return __builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("pclmul");
}

#elif USHER_CRC_ARMV8

// As assembly, since compilers disagree on how to enable the intrinsics for one function alone.
uint32_t crc32c_hardware(const uint8_t* at, size_t left, uint32_t crc) noexcept {
  for (; left >= 8; at += 8, left -= 8) {
    __asm__(".arch_extension crc\n\tcrc32cx %w0, %w0, %x1" : "+r"(crc) : "r"(load64(at)));
  }
  for (; left > 0; at++, left--) {
    __asm__(".arch_extension crc\n\tcrc32cb %w0, %w0, %w1" : "+r"(crc) : "r"(uint32_t{*at}));
  }
  return crc;
}

bool detect() noexcept {
  constexpr unsigned long crc32_capability = 1ul << 7;  // HWCAP_CRC32 of the kernel's interface
  return (getauxval(AT_HWCAP) & crc32_capability) != 0;
}

#endif

#if USHER_CRC_SSE42 || USHER_CRC_ARMV8
const bool has_hardware = detect();
#endif

}  // namespace

uint32_t crc32c_portable(std::span<const uint8_t> data, uint32_t seed) noexcept {
  const uint8_t* at = data.data();
  size_t left = data.size();
  uint32_t crc = ~seed;
  for (; left >= 8; at += 8, left -= 8) {
    const uint64_t next = load64(at) ^ crc;
    crc = tables[7][next & 0xff] ^ tables[6][(next >> 8) & 0xff] ^ tables[5][(next >> 16) & 0xff] ^
          tables[4][(next >> 24) & 0xff] ^ tables[3][(next >> 32) & 0xff] ^ tables[2][(next >> 40) & 0xff] ^
          tables[1][(next >> 48) & 0xff] ^ tables[0][next >> 56];
  }
  for (; left > 0; at++, left--) crc = (crc >> 8) ^ tables[0][(crc ^ *at) & 0xff];
  return ~crc;
}

uint32_t crc32c(std::span<const uint8_t> data, uint32_t seed) noexcept {
#if USHER_CRC_SSE42 || USHER_CRC_ARMV8
#if defined(USHER_NEEDLESS_PASS)
  // For native/bench/guard alone, which must notice.
  [[maybe_unused]] const volatile uint32_t needless = crc32c_hardware(data.data(), data.size(), seed);
#endif
  if (has_hardware) [[likely]] return ~crc32c_hardware(data.data(), data.size(), ~seed);
#endif
  return crc32c_portable(data, seed);
}

}  // namespace usher
