#include "line-index.h"

#include <cstddef>
#include <cstring>
#include <optional>
#include <string_view>

#include "segment-schema.h"

namespace usher {
namespace {

constexpr size_t clusters_max = 65536;

bool take(std::string_view& text, std::string_view literal) noexcept {
  if (!text.starts_with(literal)) return false;
  text.remove_prefix(literal.size());
  return true;
}

bool take_hex16(std::string_view& text, uint64_t& value) noexcept {
  if (text.size() < 16) return false;
  value = 0;
  for (const char c : text.substr(0, 16)) {
    uint64_t digit;
    if (c >= '0' && c <= '9') digit = static_cast<uint64_t>(c - '0');
    else if (c >= 'a' && c <= 'f') digit = static_cast<uint64_t>(c - 'a' + 10);
    else return false;
    value = value << 4 | digit;
  }
  text.remove_prefix(16);
  return true;
}

// 64 bits in canonical decimal, up to a quote that is taken too.
bool take_sequence(std::string_view& text, uint64_t& value) noexcept {
  const size_t length = text.substr(0, 21).find('"');
  if (length == std::string_view::npos || length == 0 || (length > 1 && text[0] == '0')) return false;
  value = 0;
  for (const char c : text.substr(0, length)) {
    if (c < '0' || c > '9') return false;
    const auto digit = static_cast<uint64_t>(c - '0');
    if (value > (UINT64_MAX - digit) / 10) return false;
    value = value * 10 + digit;
  }
  text.remove_prefix(length + 1);
  return true;
}

// Up to the quote that ends a JSON string; what is between is returned as it is written.
std::optional<std::string_view> take_string(std::string_view& text) noexcept {
  for (size_t i = 0; i < text.size(); i++) {
    if (text[i] == '\\') {
      i++;
    } else if (text[i] == '"') {
      const std::string_view inside = text.substr(0, i);
      text.remove_prefix(i + 1);
      return inside;
    }
  }
  return std::nullopt;
}

// Of the escapes that usher writes; nothing for others.
std::optional<std::string> unescaped(std::string_view text) noexcept {
  std::string out;
  for (size_t i = 0; i < text.size(); i++) {
    if (text[i] != '\\') {
      out += text[i];
      continue;
    }
    if (++i == text.size()) return std::nullopt;
    switch (text[i]) {
      case '"':
      case '\\': out += text[i]; break;
      case 't': out += '\t'; break;
      case 'n': out += '\n'; break;
      case 'r': out += '\r'; break;
      default: return std::nullopt;
    }
  }
  return out;
}

// `,"index":7}}` and something before it.
bool ends_as_line(std::string_view text) noexcept {
  if (!text.ends_with("}}")) return false;
  text.remove_suffix(2);
  size_t digits = 0;
  while (digits < text.size() && text[text.size() - 1 - digits] >= '0' &&
         text[text.size() - 1 - digits] <= '9')
    digits++;
  text.remove_suffix(digits);
  return digits > 0 && text.ends_with(",\"index\":");
}

class Indexer {
 public:
  explicit Indexer(LineIndex& index) noexcept : index_(index) {}

  // nullptr, or what the line has not.
  const char* add(std::string_view line) noexcept {
    if (!ends_as_line(line)) return "its provenance at the end";
    uint64_t producer = 0;
    uint64_t sequence = 0;
    uint64_t digest = 0;
    if (!take(line, "{\"id\":\"") || !take_hex16(line, producer) || !take(line, "-") ||
        !take_sequence(line, sequence)) {
      return "a job id at its beginning";
    }
    if (!take(line, ",\"digest\":\"") || !take_hex16(line, digest) || !take(line, "\"")) return "a digest";
    if (!take(line, ",\"accepted\":\"") || !is_timestamp(line.substr(0, 24)))
      return "the time of its acceptance";
    line.remove_prefix(24);
    if (!take(line, "\"")) return "the time of its acceptance";
    if (take(line, ",\"traceparent\":\"")) {
      if (!is_traceparent(line.substr(0, 55))) return "a true traceparent";
      line.remove_prefix(55);
      if (!take(line, "\"")) return "a true traceparent";
    }
    if (!take(line, ",\"cluster\":\"")) return "a cluster";
    const std::optional<std::string_view> cluster = take_string(line);
    if (!cluster || cluster->empty()) return "a cluster";
    if (!take(line, ",\"spec\":{")) return "a spec behind its cluster";
    const std::optional<uint16_t> place = cluster_place(*cluster);
    if (!place) return "a cluster that can be told apart";
    index_.producers.push_back(producer);
    index_.sequences.push_back(sequence);
    index_.digests.push_back(digest);
    index_.cluster_of.push_back(*place);
    return nullptr;
  }

 private:
  std::optional<uint16_t> cluster_place(std::string_view written) noexcept {
    // There are few, and mostly it is that of the line before.
    if (!written_.empty() && written_[last_] == written) return static_cast<uint16_t>(last_);
    for (last_ = 0; last_ < written_.size(); last_++) {
      if (written_[last_] == written) return static_cast<uint16_t>(last_);
    }
    last_ = 0;
    std::optional<std::string> name = unescaped(written);
    if (!name || written_.size() == clusters_max) return std::nullopt;
    index_.clusters.push_back(std::move(*name));
    written_.emplace_back(written);
    last_ = written_.size() - 1;
    return static_cast<uint16_t>(last_);
  }

  LineIndex& index_;
  // The clusters as JSON writes them; usher writes each in one way only.
  std::vector<std::string> written_;
  size_t last_ = 0;
};

}  // namespace

LineIndex index_lines(std::span<const uint8_t> jsonl) noexcept {
  LineIndex index;
  Indexer indexer(index);
  size_t at = 0;
  while (at < jsonl.size()) {
    const uint8_t* from = jsonl.data() + at;
    const auto* end = static_cast<const uint8_t*>(std::memchr(from, '\n', jsonl.size() - at));
    const char* missing = "a line feed at its end";
    if (end != nullptr) {
      missing = indexer.add({reinterpret_cast<const char*>(from), static_cast<size_t>(end - from)});
    }
    if (missing != nullptr) {
      LineIndex failed;
      failed.failure = "line " + std::to_string(index.offsets.size() + 1) + " (byte " + std::to_string(at) +
                       ") lacks " + missing + ": it isn't a JSON line of usher's";
      return failed;
    }
    index.offsets.push_back(static_cast<double>(at));
    at += static_cast<size_t>(end - from) + 1;
  }
  index.offsets.push_back(static_cast<double>(at));
  return index;
}

}  // namespace usher
