#include "xxh64.h"

#include <bit>
#include <cstring>

namespace usher {
namespace {

constexpr uint64_t prime1 = 0x9e3779b185ebca87u;
constexpr uint64_t prime2 = 0xc2b2ae3d27d4eb4fu;
constexpr uint64_t prime3 = 0x165667b19e3779f9u;
constexpr uint64_t prime4 = 0x85ebca77c2b2ae63u;
constexpr uint64_t prime5 = 0x27d4eb2f165667c5u;

template <class T>
T load(const uint8_t* from) noexcept {
  static_assert(std::endian::native == std::endian::little, "the specification reads little-endian words");
  T value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

constexpr uint64_t round(uint64_t accumulator, uint64_t lane) noexcept {
  return std::rotl(accumulator + lane * prime2, 31) * prime1;
}

constexpr uint64_t merge(uint64_t hash, uint64_t accumulator) noexcept {
  return (hash ^ round(0, accumulator)) * prime1 + prime4;
}

}  // namespace

uint64_t xxh64(std::span<const uint8_t> data, uint64_t seed) noexcept {
  const uint8_t* at = data.data();
  size_t left = data.size();
  uint64_t hash;
  if (left >= 32) {
    uint64_t a = seed + prime1 + prime2;
    uint64_t b = seed + prime2;
    uint64_t c = seed;
    uint64_t d = seed - prime1;
    do {
      a = round(a, load<uint64_t>(at));
      b = round(b, load<uint64_t>(at + 8));
      c = round(c, load<uint64_t>(at + 16));
      d = round(d, load<uint64_t>(at + 24));
      at += 32;
      left -= 32;
    } while (left >= 32);
    hash = std::rotl(a, 1) + std::rotl(b, 7) + std::rotl(c, 12) + std::rotl(d, 18);
    hash = merge(merge(merge(merge(hash, a), b), c), d);
  } else {
    hash = seed + prime5;
  }
  hash += data.size();
  for (; left >= 8; at += 8, left -= 8) {
    hash = std::rotl(hash ^ round(0, load<uint64_t>(at)), 27) * prime1 + prime4;
  }
  if (left >= 4) {
    hash = std::rotl(hash ^ (load<uint32_t>(at) * prime1), 23) * prime2 + prime3;
    at += 4;
    left -= 4;
  }
  for (; left > 0; at++, left--) hash = std::rotl(hash ^ (*at * prime5), 11) * prime1;
  hash = (hash ^ (hash >> 33)) * prime2;
  hash = (hash ^ (hash >> 29)) * prime3;
  return hash ^ (hash >> 32);
}

void write_hex16(uint64_t value, uint8_t* to) noexcept {
  for (int i = 0; i < 16; i++) {
    to[i] = static_cast<uint8_t>("0123456789abcdef"[(value >> (60 - 4 * i)) & 15]);
  }
}

}  // namespace usher
