#include "segment-failure.h"

#include <algorithm>

#include "text.h"

namespace usher {

std::string_view name_of(SegmentError error) noexcept {
  switch (error) {
    case SegmentError::none: return "none";
    case SegmentError::xml_malformed: return "xml_malformed";
    case SegmentError::xml_forbidden: return "xml_forbidden";
    case SegmentError::schema_violated: return "schema_violated";
    case SegmentError::segment_corrupt: return "segment_corrupt";
  }
  return "none";
}

Place locate(std::span<const uint8_t> document, size_t offset) noexcept {
  const size_t length = std::min(offset, document.size());
  size_t line = 1;
  size_t line_start = 0;
  for (size_t i = 0; i < length; i++) {
    const uint8_t byte = document[i];
    if (byte != '\n' && byte != '\r') continue;
    if (byte == '\r' && i + 1 < document.size() && document[i + 1] == '\n') {
      // The pair is one line end; an offset between its bytes still belongs to the line before.
      if (++i >= length) break;
    }
    line++;
    line_start = i + 1;
  }
  return {line, length - line_start + 1};
}

std::string quoted(std::string_view text) {
  constexpr size_t shown_max = 60;
  const std::string_view shown = cut_text(text, shown_max);
  std::string out = "'";
  for (const char c : shown) {
    const auto byte = static_cast<uint8_t>(c);
    out += byte < 0x20 || byte == 0x7f ? '.' : c;
  }
  if (shown.size() < text.size()) out += "…";
  return out + "'";
}

}  // namespace usher
