// Jobs to measure with, the same on every machine: each corpus is made from a fixed seed, as frames that a
// producer would send and as the segment that comes of them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "../core/job-xml.h"

namespace usher::bench {

struct Corpus {
  std::string_view name;
  size_t jobs = 0;
  // JOBS frames, one behind the other, as on the wire.
  std::vector<uint8_t> frames;
  // Of these frames, as the segment writer writes it: a commit mark behind each frame.
  std::string xml;
};

inline constexpr std::string_view corpus_names[] = {"small", "rich", "escapes", "swf"};

ClusterNames corpus_clusters();

// small: 250 bytes a job, as the load generator sends them. rich: arguments, environment and resources.
// escapes: text that XML and JSON escape, and beyond ASCII. swf: what a line of a workload becomes. Ends the
// program where the kernels refuse one of the jobs.
Corpus make_corpus(std::string_view name, size_t jobs);

}  // namespace usher::bench
