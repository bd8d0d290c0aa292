// The fast way from XML to JSON: one job exactly as usher's own segment writer writes it, matched as bytes
// instead of being parsed. It knows no failures: whatever isn't in that form is left to the XML reader, which
// decides. So everything taken here must be taken there too, with the same bytes as the result.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "json-buffer.h"

namespace usher {

// The fast way reads fixed pieces without asking for the end: so many bytes of the document stand behind its
// last job.
inline constexpr size_t canonical_margin = 1024;
// With longer provenance the slack of the buffer would not hold what is written without asking.
inline constexpr size_t canonical_provenance_max = 2048;

// `in` points at `<` of a job in the default namespace of segments; everything up to `end` is known to be
// valid UTF-8 of XML characters. Writes the line and returns where the job ends; or nullptr, and the buffer
// is as it was.
const uint8_t* read_canonical_job(const uint8_t* in, const uint8_t* end, std::string_view provenance,
                                  uint64_t index, JsonBuffer& out) noexcept;

}  // namespace usher
