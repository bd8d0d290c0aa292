// The character classes of XML 1.0 (fifth edition), and characters in UTF-8 that is known to be valid.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

namespace usher::xml {

// Production 3, S.
constexpr bool is_space(uint8_t byte) noexcept {
  return byte == ' ' || byte == '\t' || byte == '\n' || byte == '\r';
}

struct Character {
  uint32_t code;
  size_t length;
};

Character character_at(const uint8_t* at) noexcept;

// Of NCName in Namespaces in XML: productions 4 and 4a without the colon.
bool is_name_character(Character c, bool start) noexcept;

// Production 2, Char.
constexpr bool is_xml_character(uint32_t c) noexcept {
  return c == 0x9 || c == 0xa || c == 0xd || (c >= 0x20 && c <= 0xd7ff) || (c >= 0xe000 && c <= 0xfffd) ||
         (c >= 0x10000 && c <= 0x10ffff);
}

void append_utf8(std::string& to, uint32_t c);

// §2.11: CR LF and a lone CR become LF.
void append_normalised(std::string& to, const uint8_t* from, const uint8_t* end);

inline std::string_view view(const uint8_t* from, const uint8_t* to) noexcept {
  return {reinterpret_cast<const char*>(from), static_cast<size_t>(to - from)};
}

// The first such byte, or the end.
inline const uint8_t* find_byte(const uint8_t* from, const uint8_t* to, uint8_t byte) noexcept {
  if (from == to) return to;
  const void* found = std::memchr(from, byte, static_cast<size_t>(to - from));
  return found == nullptr ? to : static_cast<const uint8_t*>(found);
}

// `lower` is in lower case.
inline bool equal_in_ascii(std::string_view text, std::string_view lower) noexcept {
  return std::equal(text.begin(), text.end(), lower.begin(), lower.end(),
                    [](char a, char b) { return (a >= 'A' && a <= 'Z' ? a + 32 : a) == b; });
}

}  // namespace usher::xml
