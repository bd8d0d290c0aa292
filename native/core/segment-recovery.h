// What of a segment that was never sealed can be trusted: the longest prefix that ends with a true commit
// mark holds every acknowledged job, and what follows is a torn tail (docs/store.md, "Segments"). Reads bytes
// only; whether and where they are kept is the caller's.
#pragma once

#include <cstdint>
#include <span>

namespace usher {

struct SegmentRecovery {
  // Length of that prefix, to the end of the mark's `?>`; 0 without a true mark. With `\n</segment>\n` behind
  // it the prefix is a sealed segment.
  uint64_t bytes = 0;
  uint64_t jobs = 0;
  // The document is that prefix and the closing tag, with white space around it.
  bool sealed = false;
  // A false mark with another behind it, which no torn write explains: a group is only written when the one
  // before has been synced.
  bool corrupt = false;
};

SegmentRecovery recover_segment(std::span<const uint8_t> document) noexcept;

}  // namespace usher
