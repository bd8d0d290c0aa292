// Fuzzes the recovery of torn segments. No fuzzer finds a CRC, so the input is a recipe: 0x01 stands for a
// true mark of what stands so far, 0x02 for a whole job line, anything else for itself. Marks made so must be
// found again.
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

#include "../core/crc32c.h"
#include "../core/segment-recovery.h"
#include "../core/transform.h"

using namespace usher;

namespace {

void demand(bool good, const char* what) {
  if (good) return;
  std::fprintf(stderr, "broken: %s\n", what);
  std::abort();
}

std::span<const uint8_t> as_bytes(std::string_view text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

uint64_t jobs_in(std::string_view text) {
  uint64_t jobs = text.starts_with("<job ") ? 1 : 0;
  for (size_t at = 0; (at = text.find("\n<job ", at)) != std::string_view::npos; at++) jobs++;
  return jobs;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string text;
  size_t marked = 0;
  uint64_t jobs_marked = 0;
  for (size_t i = 0; i < size; i++) {
    if (data[i] == 2) {
      text += "<job id=\"9f8c2e71a4b0d3e5-17\"></job>\n";
    } else if (data[i] == 1 && (text.empty() || text.back() == '\n')) {
      char mark[120];
      const uint64_t jobs = jobs_in(text);
      const int length =
          std::snprintf(mark, sizeof mark, "<?usher-commit jobs=\"%llu\" bytes=\"%zu\" crc32c=\"%08x\"?>",
                        static_cast<unsigned long long>(jobs), text.size(), crc32c(as_bytes(text)));
      text.append(mark, static_cast<size_t>(length));
      marked = text.size();
      jobs_marked = jobs;
      text += '\n';
    } else {
      text += static_cast<char>(data[i]);
    }
  }
  const SegmentRecovery found = recover_segment(as_bytes(text));
  demand(found.bytes <= text.size(), "the prefix is within the document");
  demand(found.bytes >= marked, "the last mark that was made is found");
  if (found.bytes == marked) demand(found.jobs == jobs_marked, "its jobs are counted");
  if (found.bytes > 0) {
    // A prefix says of itself what was said of it, and closing it seals it.
    const std::string closed = text.substr(0, found.bytes) + "\n</segment>\n";
    const SegmentRecovery again = recover_segment(as_bytes(closed));
    demand(again.bytes == found.bytes && again.jobs == found.jobs, "a prefix recovers to itself");
    demand(again.sealed == !again.corrupt, "a closed prefix is sealed");
  }
  // Damage to one byte never makes more of a segment than there was.
  if (!text.empty()) {
    std::string damaged = text;
    const size_t at = size * 7919 % text.size();
    damaged[at] = static_cast<char>(damaged[at] ^ 0x10);
    const SegmentRecovery less = recover_segment(as_bytes(damaged));
    demand(less.bytes <= found.bytes || less.bytes <= at, "no mark behind a changed byte is true");
  }
  static_cast<void>(transform(as_bytes(text)));
  return 0;
}
