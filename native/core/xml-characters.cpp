#include "xml-characters.h"

#include <array>

namespace usher::xml {
namespace {

enum : uint8_t { name_start = 1, name_part = 2 };

constexpr std::array<uint8_t, 128> ascii_names = [] {
  std::array<uint8_t, 128> table{};
  for (size_t c = 'a'; c <= 'z'; c++) table[c] = table[c - 32] = name_start | name_part;
  table['_'] = name_start | name_part;
  for (size_t c = '0'; c <= '9'; c++) table[c] = name_part;
  table['-'] = table['.'] = name_part;
  return table;
}();

struct Range {
  uint32_t first, last;
};

// NameStartChar beyond ASCII, and what NameChar adds to it (productions 4 and 4a).
constexpr Range start_ranges[] = {
    {0xc0, 0xd6},     {0xd8, 0xf6},     {0xf8, 0x2ff},    {0x370, 0x37d},
    {0x37f, 0x1fff},  {0x200c, 0x200d}, {0x2070, 0x218f}, {0x2c00, 0x2fef},
    {0x3001, 0xd7ff}, {0xf900, 0xfdcf}, {0xfdf0, 0xfffd}, {0x10000, 0xeffff},
};
constexpr Range part_ranges[] = {{0xb7, 0xb7}, {0x300, 0x36f}, {0x203f, 0x2040}};

template <size_t n>
constexpr bool in(uint32_t c, const Range (&ranges)[n]) noexcept {
  return std::any_of(ranges, ranges + n, [c](Range range) { return c >= range.first && c <= range.last; });
}

}  // namespace

Character character_at(const uint8_t* at) noexcept {
  const auto tail = [at](size_t i) { return static_cast<uint32_t>(at[i] & 0x3f); };
  if (at[0] < 0x80) return {at[0], 1};
  if (at[0] < 0xe0) return {(at[0] & 0x1fu) << 6 | tail(1), 2};
  if (at[0] < 0xf0) return {(at[0] & 0x0fu) << 12 | tail(1) << 6 | tail(2), 3};
  return {(at[0] & 0x07u) << 18 | tail(1) << 12 | tail(2) << 6 | tail(3), 4};
}

bool is_name_character(Character c, bool start) noexcept {
  if (c.code < 0x80) return (ascii_names[c.code] & (start ? name_start : name_part)) != 0;
  return in(c.code, start_ranges) || (!start && in(c.code, part_ranges));
}

void append_utf8(std::string& to, uint32_t c) {
  const auto put = [&to](uint32_t byte) { to += static_cast<char>(byte); };
  if (c < 0x80) {
    put(c);
  } else if (c < 0x800) {
    put(0xc0 | c >> 6), put(0x80 | (c & 0x3f));
  } else if (c < 0x10000) {
    put(0xe0 | c >> 12), put(0x80 | (c >> 6 & 0x3f)), put(0x80 | (c & 0x3f));
  } else {
    put(0xf0 | c >> 18), put(0x80 | (c >> 12 & 0x3f)), put(0x80 | (c >> 6 & 0x3f)), put(0x80 | (c & 0x3f));
  }
}

void append_normalised(std::string& to, const uint8_t* from, const uint8_t* end) {
  while (from < end) {
    const uint8_t* cr = find_byte(from, end, '\r');
    to.append(view(from, cr));
    if (cr == end) return;
    to += '\n';
    from = cr + 1;
    if (from < end && *from == '\n') from++;
  }
}

}  // namespace usher::xml
