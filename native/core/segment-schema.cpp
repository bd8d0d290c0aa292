#include "segment-schema.h"

#include <cstddef>
#include <limits>

namespace usher {
namespace {

constexpr bool is_space(char c) noexcept { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }
constexpr bool is_digit(char c) noexcept { return c >= '0' && c <= '9'; }
constexpr bool is_hex(char c) noexcept { return is_digit(c) || (c >= 'a' && c <= 'f'); }

// 'h' in the pattern stands for a hexadecimal digit, 'd' for a decimal one, the rest for themselves.
template <size_t n>
bool matches(std::string_view text, const char (&pattern)[n]) noexcept {
  if (text.size() != n - 1) return false;
  for (size_t i = 0; i < n - 1; i++) {
    const char want = pattern[i];
    if (want == 'h' ? !is_hex(text[i]) : want == 'd' ? !is_digit(text[i]) : text[i] != want) return false;
  }
  return true;
}

}  // namespace

bool is_white_space(std::string_view text) noexcept {
  for (const char c : text) {
    if (!is_space(c)) return false;
  }
  return true;
}

std::string_view trimmed(std::string_view text) noexcept {
  while (!text.empty() && is_space(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_space(text.back())) text.remove_suffix(1);
  return text;
}

std::optional<uint64_t> parse_integer(std::string_view text, uint64_t min, uint64_t max) noexcept {
  text = trimmed(text);
  if (text.empty() || (text.front() == '0' && text.size() > 1)) return std::nullopt;
  uint64_t value = 0;
  for (const char c : text) {
    if (!is_digit(c)) return std::nullopt;
    const auto digit = static_cast<uint64_t>(c - '0');
    if (value > (std::numeric_limits<uint64_t>::max() - digit) / 10) return std::nullopt;
    value = value * 10 + digit;
  }
  if (value < min || value > max) return std::nullopt;
  return value;
}

std::optional<bool> parse_boolean(std::string_view text) noexcept {
  text = trimmed(text);
  if (text == "true") return true;
  if (text == "false") return false;
  return std::nullopt;
}

bool is_instance(std::string_view text) noexcept {
  for (const char c : text) {
    const bool letter = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
    if (!letter && !is_digit(c) && c != '.' && c != '_' && c != '-') return false;
  }
  return !text.empty();
}

bool is_job_id(std::string_view text) noexcept {
  if (text.size() < 18 || text.size() > 37 || !matches(text.substr(0, 17), "hhhhhhhhhhhhhhhh-")) return false;
  const std::string_view sequence = text.substr(17);
  if (sequence.front() == '0' && sequence.size() > 1) return false;
  for (const char c : sequence) {
    if (!is_digit(c)) return false;
  }
  return sequence.size() < 20 || sequence <= "18446744073709551615";
}

bool is_timestamp(std::string_view text) noexcept {
  if (!matches(text, "dddd-dd-ddTdd:dd:dd.dddZ")) return false;
  const auto number = [text](size_t at, size_t length) {
    int value = 0;
    for (size_t i = at; i < at + length; i++) value = value * 10 + (text[i] - '0');
    return value;
  };
  constexpr int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
  const int year = number(0, 4);
  const int month = number(5, 2);
  const int day = number(8, 2);
  if (year < 1 || month < 1 || month > 12 || day < 1) return false;
  const bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
  if (day > days[month - 1] + (month == 2 && leap ? 1 : 0)) return false;
  // XML Schema has the end of a day as an instant of its own.
  if (text.substr(11) == "24:00:00.000Z") return true;
  return number(11, 2) < 24 && number(14, 2) < 60 && number(17, 2) < 60;
}

bool is_traceparent(std::string_view text) noexcept {
  if (!matches(text, "hh-hhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhh-hhhhhhhhhhhhhhhh-hh")) return false;
  const auto is_zero = [text](size_t at, size_t length) {
    return text.substr(at, length).find_first_not_of('0') == std::string_view::npos;
  };
  return !text.starts_with("ff") && !is_zero(3, 32) && !is_zero(36, 16);
}

}  // namespace usher
