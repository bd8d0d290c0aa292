// A segment as XML → the same jobs as JSON lines, in one pass (docs/store.md, "Segments" and "JSON lines"). A
// pure function: the same bytes in give the same bytes out, wherever and by whomever it is called. A segment
// is taken whole or not at all.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "canonical-job.h"
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

// Tests choose the kernel; with nullptr everything goes through the XML reader.
Transformed transform(std::span<const uint8_t> xml,
                      const CanonicalKernel* kernel = best_canonical_kernel()) noexcept;

struct TransformOutcome {
  SegmentFailure failure;
  uint64_t jobs = 0;
};

// The same into a buffer of the caller's, who may keep it from one segment to the next: fresh memory costs as much as
// reading the XML does. What was in it is gone; on failure it is empty.
TransformOutcome transform(std::span<const uint8_t> xml, JsonBuffer& lines,
                           const CanonicalKernel* kernel = best_canonical_kernel()) noexcept;

}  // namespace usher
