// A segment as XML → the same jobs as JSON lines, in one pass (docs/store.md, "Segments" and "JSON lines"). A
// pure function: the same bytes in give the same bytes out, wherever and by whomever it is called. A segment
// is taken whole or not at all.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "json-buffer.h"
#include "segment-failure.h"

namespace usher {

struct Transformed {
  SegmentFailure failure;
  // Empty (null) on failure, and where there are no jobs.
  OwnedBytes jsonl;
  size_t bytes = 0;
  uint64_t jobs = 0;
};

// `general_only` leaves out the fast way, for tests that compare the two.
Transformed transform(std::span<const uint8_t> xml, bool general_only = false) noexcept;

}  // namespace usher
