// One loop for checking and both ways of escaping. A block of bytes is copied as it is and asked at the same
// time where its first byte stands that is more than plain ASCII text; only such bytes are looked at one by
// one.
#include "text.h"

#include <bit>
#include <cstring>

#if defined(__SSE2__) && !defined(USHER_PORTABLE)
#include <emmintrin.h>
#elif defined(__aarch64__) && !defined(USHER_PORTABLE)
#include <arm_neon.h>
#endif

namespace usher {
namespace {

enum class Mode { check, element, attribute };

// A Block holds `bytes` bytes. special<mode>() has `bits` bits for each, in their order, of which the lowest
// that is set is exact: control characters and everything beyond ASCII, `&`, `<`, `>` where text is escaped,
// `"` in attributes.
#if defined(__SSE2__) && !defined(USHER_PORTABLE)

struct Block {
  static constexpr size_t bytes = 16;
  static constexpr size_t bits = 1;
  using Mask = uint32_t;
  __m128i value;

  static Block load(const uint8_t* from) noexcept {
    return {_mm_loadu_si128(reinterpret_cast<const __m128i*>(from))};
  }
  void store(uint8_t* to) const noexcept { _mm_storeu_si128(reinterpret_cast<__m128i*>(to), value); }

  template <Mode mode>
  Mask special() const noexcept {
    // Compared as signed numbers, bytes of 0x80 and above are below 0x20 too.
    __m128i found = _mm_cmplt_epi8(value, _mm_set1_epi8(0x20));
    if constexpr (mode != Mode::check) {
      // `<` and `>` differ in bit 1, `"` and `&` in bit 2.
      const __m128i angles = _mm_cmpeq_epi8(_mm_or_si128(value, _mm_set1_epi8(2)), _mm_set1_epi8('>'));
      const __m128i quotes = mode == Mode::attribute ? _mm_or_si128(value, _mm_set1_epi8(4)) : value;
      const __m128i ampersands = _mm_cmpeq_epi8(quotes, _mm_set1_epi8('&'));
      found = _mm_or_si128(found, _mm_or_si128(angles, ampersands));
    }
    return static_cast<Mask>(_mm_movemask_epi8(found));
  }
};

#elif defined(__aarch64__) && !defined(USHER_PORTABLE)

struct Block {
  static constexpr size_t bytes = 16;
  static constexpr size_t bits = 4;
  using Mask = uint64_t;
  uint8x16_t value;

  static Block load(const uint8_t* from) noexcept { return {vld1q_u8(from)}; }
  void store(uint8_t* to) const noexcept { vst1q_u8(to, value); }

  template <Mode mode>
  Mask special() const noexcept {
    uint8x16_t found = vcltq_s8(vreinterpretq_s8_u8(value), vdupq_n_s8(0x20));
    if constexpr (mode != Mode::check) {
      const uint8x16_t angles = vceqq_u8(vorrq_u8(value, vdupq_n_u8(2)), vdupq_n_u8('>'));
      const uint8x16_t quotes = mode == Mode::attribute ? vorrq_u8(value, vdupq_n_u8(4)) : value;
      found = vorrq_u8(found, vorrq_u8(angles, vceqq_u8(quotes, vdupq_n_u8('&'))));
    }
    // There is no movemask: a narrowing shift leaves four bits of each byte.
    const uint8x8_t nibbles = vshrn_n_u16(vreinterpretq_u16_u8(found), 4);
    return vget_lane_u64(vreinterpret_u64_u8(nibbles), 0);
  }
};

#else

struct Block {
  static constexpr size_t bytes = 8;
  static constexpr size_t bits = 8;
  using Mask = uint64_t;
  static constexpr uint64_t ones = 0x0101010101010101u;
  uint64_t value;

  static_assert(std::endian::native == std::endian::little, "usher runs on little-endian machines");

  static Block load(const uint8_t* from) noexcept {
    Block block;
    std::memcpy(&block.value, from, bytes);
    return block;
  }
  void store(uint8_t* to) const noexcept { std::memcpy(to, &value, bytes); }

  // Bit 7 of each byte that is below `limit` (at most 0x80); a borrow can only spoil bytes behind a true hit.
  static uint64_t below(uint64_t bytes_, uint8_t limit) noexcept { return (bytes_ - ones * limit) & ~bytes_; }

  template <Mode mode>
  Mask special() const noexcept {
    uint64_t found = value | below(value, 0x20);
    if constexpr (mode != Mode::check) {
      const uint64_t quotes = mode == Mode::attribute ? value | ones * 4 : value;
      found |= below((value | ones * 2) ^ ones * '>', 1) | below(quotes ^ ones * '&', 1);
    }
    return found & ones * 0x80;
  }
};

#endif

static_assert(Block::bytes <= text_slack_bytes);

// Up to Block::bytes − 1 bytes, without reading behind them and without a call.
Block load_short(const uint8_t* from, size_t length) noexcept {
  uint8_t padded[Block::bytes] = {};
  uint8_t* to = padded;
  if constexpr (Block::bytes > 8) {
    if ((length & 8) != 0) {
      std::memcpy(to, from, 8);
      to += 8;
      from += 8;
    }
  }
  if ((length & 4) != 0) {
    std::memcpy(to, from, 4);
    to += 4;
    from += 4;
  }
  if ((length & 2) != 0) {
    std::memcpy(to, from, 2);
    to += 2;
    from += 2;
  }
  if ((length & 1) != 0) *to = *from;
  return Block::load(padded);
}

struct Sequence {
  // 2 to 4; meaningless unless the status is ok.
  size_t length;
  TextStatus status;
};

bool continues(uint8_t byte) noexcept { return (byte & 0xc0) == 0x80; }

// The sequence that begins with `at[0]`, 0x80 or above: the well-formed ones of the Unicode Standard, table
// 3-7.
Sequence multibyte(const uint8_t* at, size_t left) noexcept {
  constexpr Sequence bad{0, TextStatus::not_utf8};
  const uint8_t lead = at[0];
  if (lead < 0xc2 || left < 2 || !continues(at[1])) return bad;
  if (lead < 0xe0) return {2, TextStatus::ok};
  if (left < 3 || !continues(at[2])) return bad;
  if (lead < 0xf0) {
    // No overlong forms, no surrogates.
    if ((lead == 0xe0 && at[1] < 0xa0) || (lead == 0xed && at[1] > 0x9f)) return bad;
    // U+FFFE and U+FFFF are the only ones here that XML leaves out.
    if (lead == 0xef && at[1] == 0xbf && at[2] >= 0xbe) return {3, TextStatus::not_xml};
    return {3, TextStatus::ok};
  }
  if (lead > 0xf4 || left < 4 || !continues(at[3])) return bad;
  if ((lead == 0xf0 && at[1] < 0x90) || (lead == 0xf4 && at[1] > 0x8f)) return bad;
  return {4, TextStatus::ok};
}

// Writes eight bytes, of which `length` count.
template <size_t size>
uint8_t* put_escape(uint8_t* out, const char (&escape)[size]) noexcept {
  static_assert(size - 1 <= 8);
  char padded[8] = {};
  std::memcpy(padded, escape, size - 1);
  std::memcpy(out, padded, 8);
  return out + size - 1;
}

// One ASCII character that the block calls special. nullptr: XML has no way to write it.
template <Mode mode>
uint8_t* put_special(uint8_t* out, uint8_t character) noexcept {
  switch (character) {
    case '&': return put_escape(out, "&amp;");
    case '<': return put_escape(out, "&lt;");
    case '>': return put_escape(out, "&gt;");
    case '"': return put_escape(out, "&quot;");
    case '\r': return put_escape(out, "&#13;");
    case '\t':
      if constexpr (mode == Mode::attribute) return put_escape(out, "&#9;");
      break;
    case '\n':
      if constexpr (mode == Mode::attribute) return put_escape(out, "&#10;");
      break;
    default: return nullptr;
  }
  *out = character;
  return out + 1;
}

// What ends a run of bytes that are looked at one by one.
template <Mode mode>
bool plain(uint8_t byte) noexcept {
  if (byte < 0x20 || byte >= 0x80) return false;
  if (mode == Mode::check) return true;
  return byte != '&' && byte != '<' && byte != '>' && (mode == Mode::element || byte != '"');
}

template <Mode mode>
TextWritten run(std::span<const uint8_t> text, const uint8_t* readable_end, uint8_t* out) noexcept {
  const uint8_t* at = text.data();
  const uint8_t* const end = at + text.size();
  while (at < end) {
    const auto left = static_cast<size_t>(end - at);
    const bool whole = static_cast<size_t>(readable_end - at) >= Block::bytes;
    const Block block = whole ? Block::load(at) : load_short(at, left);
    typename Block::Mask special = block.template special<mode>();
    if constexpr (mode != Mode::check) block.store(out);
    if (left < Block::bytes) special &= (typename Block::Mask{1} << left * Block::bits) - 1;
    if (special == 0) {
      const size_t taken = left < Block::bytes ? left : Block::bytes;
      at += taken;
      if constexpr (mode != Mode::check) out += taken;
      continue;
    }
    const size_t clean = static_cast<size_t>(std::countr_zero(special)) / Block::bits;
    at += clean;
    if constexpr (mode != Mode::check) out += clean;
    do {
      if (*at < 0x80) {
        if constexpr (mode == Mode::check) {
          uint8_t unused[8];
          if (put_special<mode>(unused, *at) == nullptr) {
            return {out, TextStatus::not_xml, static_cast<size_t>(at - text.data())};
          }
        } else {
          uint8_t* const next = put_special<mode>(out, *at);
          if (next == nullptr) return {out, TextStatus::not_xml, static_cast<size_t>(at - text.data())};
          out = next;
        }
        at++;
      } else {
        const Sequence sequence = multibyte(at, static_cast<size_t>(end - at));
        if (sequence.status != TextStatus::ok) {
          return {out, sequence.status, static_cast<size_t>(at - text.data())};
        }
        if constexpr (mode != Mode::check) {
          std::memcpy(out, at, 2);
          if (sequence.length > 2) out[2] = at[2];
          if (sequence.length > 3) out[3] = at[3];
          out += sequence.length;
        }
        at += sequence.length;
      }
    } while (at < end && !plain<mode>(*at));
  }
  return {out, TextStatus::ok, text.size()};
}

}  // namespace

TextCheck check_text(std::span<const uint8_t> text) noexcept {
  const TextWritten seen = run<Mode::check>(text, text.data() + text.size(), nullptr);
  return {seen.status, seen.offset};
}

TextWritten write_element_text(std::span<const uint8_t> text, const uint8_t* readable_end,
                               uint8_t* out) noexcept {
  return run<Mode::element>(text, readable_end, out);
}

TextWritten write_attribute_text(std::span<const uint8_t> text, const uint8_t* readable_end,
                                 uint8_t* out) noexcept {
  return run<Mode::attribute>(text, readable_end, out);
}

}  // namespace usher
