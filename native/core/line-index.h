// The columns of a .jsonl file that usher wrote: where lines begin, whose jobs they hold, with which digest
// and for which cluster. Matches the fixed beginning and end of each line and never parses what is between; a
// line that isn't of this form, or a file that ends within one, is refused whole.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace usher {

struct LineIndex {
  std::vector<uint64_t> producers;
  std::vector<uint64_t> sequences;
  std::vector<uint64_t> digests;
  // One more than lines; the last is the length of the data.
  std::vector<double> offsets;
  std::vector<std::string> clusters;
  // Indices into `clusters`.
  std::vector<uint16_t> cluster_of;
  // Empty: all lines are of the form. Otherwise what is wrong, with the number of the line.
  std::string failure;
};

LineIndex index_lines(std::span<const uint8_t> jsonl) noexcept;

}  // namespace usher
