#include "commit-mark.h"

#include <cstring>

#include "crc32c.h"
#include "segment-failure.h"

namespace usher {
namespace {

constexpr std::string_view mark_start = "<?usher-commit ";
constexpr std::string_view job_start = "<job ";
constexpr size_t crc_digits = 8;

bool take(std::string_view& text, std::string_view literal) noexcept {
  if (!text.starts_with(literal)) return false;
  text.remove_prefix(literal.size());
  return true;
}

// Decimal without leading zeros, up to 18 digits, which fit.
bool take_number(std::string_view& text, uint64_t& number) noexcept {
  number = 0;
  size_t length = 0;
  for (; length < text.size() && length < 18 && text[length] >= '0' && text[length] <= '9'; length++) {
    number = number * 10 + static_cast<uint64_t>(text[length] - '0');
  }
  if (length == 0 || (length > 1 && text[0] == '0')) return false;
  text.remove_prefix(length);
  return true;
}

bool take_crc(std::string_view& text, uint32_t& crc) noexcept {
  if (text.size() < crc_digits) return false;
  crc = 0;
  for (const char c : text.substr(0, crc_digits)) {
    uint32_t digit;
    if (c >= '0' && c <= '9') digit = static_cast<uint32_t>(c - '0');
    else if (c >= 'a' && c <= 'f') digit = static_cast<uint32_t>(c - 'a' + 10);
    else return false;
    crc = crc << 4 | digit;
  }
  text.remove_prefix(crc_digits);
  return true;
}

bool begins_as_mark(std::string_view line) noexcept { return line.starts_with(mark_start.substr(0, 14)); }

bool ends_as_mark(std::string_view line) noexcept {
  constexpr std::string_view before = "crc32c=\"";
  constexpr std::string_view after = "\"?>";
  constexpr size_t length = before.size() + crc_digits + after.size();
  if (line.size() < length || !line.ends_with(after)) return false;
  return line.substr(line.size() - length).starts_with(before);
}

}  // namespace

std::optional<CommitMark> parse_commit_mark(std::string_view text) noexcept {
  CommitMark mark{};
  if (!take(text, mark_start) || !take(text, "jobs=\"") || !take_number(text, mark.jobs) ||
      !take(text, "\" bytes=\"") || !take_number(text, mark.bytes) || !take(text, "\" crc32c=\"") ||
      !take_crc(text, mark.crc32c) || text != "\"?>") {
    return std::nullopt;
  }
  return mark;
}

bool CommitMarkChecker::is_true(size_t offset, std::string_view text, uint64_t jobs,
                                std::string* why) noexcept {
  crc_ = crc32c(document_.subspan(checked_, offset - checked_), crc_);
  checked_ = offset;
  const std::optional<CommitMark> mark = parse_commit_mark(text);
  if (mark && mark->bytes == offset && mark->crc32c == crc_ && mark->jobs == jobs) return true;
  if (why == nullptr) return false;
  *why =
      "the commit mark " + quoted(text.size() > 4 ? text.substr(2, text.size() - 4) : text) + " is false: ";
  if (!mark) {
    *why += "it isn't of the form that usher writes";
  } else if (mark->bytes != offset) {
    *why += std::to_string(offset) + " bytes stand before it";
  } else if (mark->crc32c != crc_) {
    char digits[9];
    for (int i = 0; i < 8; i++) digits[i] = "0123456789abcdef"[(crc_ >> (28 - 4 * i)) & 15];
    digits[8] = '\0';
    *why += std::string("the CRC-32C of the bytes before it is ") + digits;
  } else {
    *why += std::to_string(jobs) + (jobs == 1 ? " job stands" : " jobs stand") + " before it";
  }
  return false;
}

bool CommitMarkScanner::next(std::string* why) noexcept {
  while (line_ < document_.size()) {
    const uint8_t* from = document_.data() + line_;
    const size_t left = document_.size() - line_;
    const void* found = std::memchr(from, '\n', left);
    const size_t length =
        found == nullptr ? left : static_cast<size_t>(static_cast<const uint8_t*>(found) - from);
    const std::string_view line(reinterpret_cast<const char*>(from), length);
    const size_t start = line_;
    line_ += length + 1;
    if (line.starts_with(job_start)) jobs_++;
    if (!begins_as_mark(line) && !ends_as_mark(line)) continue;
    offset_ = start;
    end_ = start + length;
    true_ = checker_.is_true(start, line, jobs_, why);
    return true;
  }
  return false;
}

}  // namespace usher
