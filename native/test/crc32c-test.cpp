#include "../core/crc32c.h"

#include <cstring>
#include <memory>
#include <numeric>
#include <vector>

#include "check.h"

using namespace usher;
using namespace usher::test;

namespace {

std::span<const uint8_t> as_bytes(std::string_view text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

// Bit by bit, straight from the definition.
uint32_t crc32c_by_bits(std::span<const uint8_t> data, uint32_t seed) {
  uint32_t crc = ~seed;
  for (const uint8_t byte : data) {
    crc ^= byte;
    for (int bit = 0; bit < 8; bit++) crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0x82f63b78u : 0);
  }
  return ~crc;
}

std::vector<uint8_t> random_bytes(Random& random, size_t length) {
  std::vector<uint8_t> bytes(length);
  for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random.next());
  return bytes;
}

}  // namespace

TEST("crc32c gives the values of RFC 3720 appendix B.4") {
  std::vector<uint8_t> zeroes(32, 0);
  std::vector<uint8_t> ones(32, 0xff);
  std::vector<uint8_t> rising(32);
  std::iota(rising.begin(), rising.end(), uint8_t{0});
  const std::vector<uint8_t> falling(rising.rbegin(), rising.rend());
  const std::vector<uint8_t> read_command = {
      0x01, 0xc0, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
      0x14, 0x00, 0x00, 0x00, 0x00, 0x00, 0x04, 0x00, 0x00, 0x00, 0x00, 0x14, 0x00, 0x00, 0x00, 0x18,
      0x28, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00};
  for (const auto crc : {crc32c, crc32c_portable}) {
    CHECK_EQ(crc(zeroes, 0), 0x8a9136aau);
    CHECK_EQ(crc(ones, 0), 0x62a8ab43u);
    CHECK_EQ(crc(rising, 0), 0x46dd794eu);
    CHECK_EQ(crc(falling, 0), 0x113fdb5cu);
    CHECK_EQ(crc(read_command, 0), 0xd9963a56u);
    CHECK_EQ(crc(as_bytes("123456789"), 0), 0xe3069283u);
    CHECK_EQ(crc({}, 0), 0u);
    CHECK_EQ(crc({}, 0x12345678u), 0x12345678u);
  }
}

TEST("crc32c is the same in hardware, in tables and by definition at any length, alignment and seed") {
  Random random(seed());
  for (int round = 0; round < 3000; round++) {
    const size_t length = random.below(random.one_in(10) ? 12'000 : 900);
    const size_t shift = random.below(16);
    const auto bytes = random_bytes(random, shift + length);
    const std::span<const uint8_t> data(bytes.data() + shift, length);
    const auto before = static_cast<uint32_t>(random.next());
    const uint32_t expected = crc32c_by_bits(data, before);
    if (!CHECK_EQ(crc32c(data, before), expected)) break;
    if (!CHECK_EQ(crc32c_portable(data, before), expected)) break;
  }
}

TEST("crc32c of a part seeds that of the rest, wherever the data is cut") {
  Random random(seed() + 1);
  const auto bytes = random_bytes(random, 3500);
  const uint32_t whole = crc32c(bytes);
  for (size_t cut = 0; cut <= bytes.size(); cut++) {
    const std::span<const uint8_t> data(bytes);
    const uint32_t joined = crc32c(data.subspan(cut), crc32c(data.first(cut)));
    const uint32_t mixed = crc32c_portable(data.subspan(cut), crc32c(data.first(cut)));
    if (!CHECK_EQ(joined, whole) || !CHECK_EQ(mixed, whole)) break;
  }
}

TEST("crc32c reads no byte outside of its data") {
  // Memory of exactly the size, for the sanitizer to watch.
  for (size_t length = 0; length < 600; length++) {
    const auto exact = std::make_unique<uint8_t[]>(length);
    std::memset(exact.get(), 0x5a, length);
    CHECK_EQ(crc32c({exact.get(), length}), crc32c_portable({exact.get(), length}));
  }
}
