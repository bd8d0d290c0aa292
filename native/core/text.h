// Text as usher takes it: UTF-8 of the characters that XML 1.0 can carry. Checks it and escapes it for
// elements and attributes as docs/store.md says, both in one pass over the bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace usher {

enum class TextStatus : uint8_t { ok, not_utf8, not_xml };

struct TextCheck {
  TextStatus status;
  // First byte of the first bad sequence; the length of the text where it is ok.
  size_t offset;
};

TextCheck check_text(std::span<const uint8_t> text) noexcept;

struct TextWritten {
  // One past the last byte of the escaped text (of the good part of it, if status isn't ok).
  uint8_t* end;
  TextStatus status;
  // As in TextCheck.
  size_t offset;
};

// The longest escapes, in bytes for one byte: `&amp;` and `&#13;` in elements, `&quot;` in attributes.
inline constexpr size_t element_text_growth = 5;
inline constexpr size_t attribute_text_growth = 6;
// The writers store whole vectors: this many bytes past the end of their output may be overwritten.
inline constexpr size_t text_slack_bytes = 16;

// Check and escape `text` to `out`, which has room for length × growth + text_slack_bytes. `readable_end` (at
// or after the end of the text, in the same buffer) says how far may be read: the more, the faster its last
// bytes go.
TextWritten write_element_text(std::span<const uint8_t> text, const uint8_t* readable_end,
                               uint8_t* out) noexcept;
TextWritten write_attribute_text(std::span<const uint8_t> text, const uint8_t* readable_end,
                                 uint8_t* out) noexcept;

// The longest prefix of at most `bytes_max` bytes that doesn't cut a character of valid UTF-8.
constexpr std::string_view cut_text(std::string_view text, size_t bytes_max) noexcept {
  if (text.size() <= bytes_max) return text;
  size_t length = bytes_max;
  while (length > 0 && (static_cast<uint8_t>(text[length]) & 0xc0) == 0x80) length--;
  return text.substr(0, length);
}

}  // namespace usher
