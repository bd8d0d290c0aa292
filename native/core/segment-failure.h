// Why a segment can't be read: a code of src/base/errors.ts, a sentence for people, and where. A value, never
// an exception; whoever produces one stops reading.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace usher {

enum class SegmentError : uint8_t { none, xml_malformed, xml_forbidden, schema_violated, segment_corrupt };

// The code as src/base/errors.ts spells it.
std::string_view name_of(SegmentError error) noexcept;

// 1-based. Lines end at LF, CR LF or CR, as XML's line-end normalisation has them; columns count bytes.
struct Place {
  size_t line = 0;
  size_t column = 0;
};

Place locate(std::span<const uint8_t> document, size_t offset) noexcept;

struct SegmentFailure {
  SegmentError code = SegmentError::none;
  std::string reason;
  Place place;
  // In bytes from the start of the document.
  size_t offset = 0;

  explicit operator bool() const noexcept { return code != SegmentError::none; }
};

// Text of a document as a reason may quote it: cut short, and nothing in it that isn't printable.
std::string quoted(std::string_view text);

}  // namespace usher
