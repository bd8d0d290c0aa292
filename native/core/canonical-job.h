// The fast way from XML to JSON: jobs exactly as usher's own segment writer writes them, matched as bytes
// instead of being parsed. It knows no failures: whatever isn't in that form is left to the XML reader, which
// decides. So everything taken here must be taken there too, with the same bytes as the result.
//
// There is one kernel for each set of vector instructions, all from canonical-kernel.h; which of them a
// processor has is found out once, when the program runs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "json-buffer.h"

namespace usher {

// The fast way reads fixed pieces without asking for the end: so many bytes of the document stand behind its
// last job.
inline constexpr size_t canonical_margin = 1024;
// With longer provenance the slack of the buffer would not hold what is written without asking.
inline constexpr size_t canonical_provenance_max = 2048;

// What goes on from one job of a segment to the next.
struct CanonicalRun {
  // What each line of the segment ends with, up to its index.
  std::string_view provenance;
  // Jobs before the next one: its index.
  uint64_t jobs = 0;
  // A producer with its hyphen and a time that were found to be good; most jobs have those of the job before.
  // Empty where there was none.
  uint8_t producer[17] = {};
  uint8_t time[24] = {};
};

struct CanonicalKernel {
  const char* name;
  // `in` points behind a token in the default namespace of segments; everything up to `end` is known to be
  // valid UTF-8 of XML characters. Writes the lines of all jobs that follow in the canonical form, each with at
  // most one line feed before it, counts them, and returns where the last of them ends.
  const uint8_t* (*read_jobs)(const uint8_t* in, const uint8_t* end, CanonicalRun& run, JsonBuffer& out) noexcept;
};

// Those that this processor can run, the fastest first. The portable one is always the last.
std::span<const CanonicalKernel* const> canonical_kernels() noexcept;

inline const CanonicalKernel* best_canonical_kernel() noexcept { return canonical_kernels().front(); }

}  // namespace usher
