// Fuzzes the transform, the XML reader under it, and the index of lines behind it. Whatever comes in, the
// fast way and the XML reader must agree to the byte, and what they write must be lines that index_lines
// takes.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "../core/line-index.h"
#include "../core/transform.h"

using namespace usher;

namespace {

void demand(bool good, const char* what) {
  if (good) return;
  std::fprintf(stderr, "broken: %s\n", what);
  std::abort();
}

std::string_view lines_of(const Transformed& result) {
  return {reinterpret_cast<const char*>(result.jsonl.get()), result.bytes};
}

void demand_agreement(std::span<const uint8_t> xml, const CanonicalKernel* kernel) {
  const Transformed fast = transform(xml, kernel);
  const Transformed general = transform(xml, nullptr);
  demand(fast.failure.code == general.failure.code, "both ways fail the same");
  demand(fast.failure.offset == general.failure.offset, "both ways fail at the same place");
  demand(fast.failure.reason == general.failure.reason, "both ways fail for the same reason");
  demand(fast.jobs == general.jobs, "both ways count the same jobs");
  demand(lines_of(fast) == lines_of(general), "both ways write the same lines");
  if (fast.failure) {
    demand(fast.bytes == 0 && fast.jobs == 0, "nothing comes of a segment that fails");
    demand(fast.failure.offset <= xml.size(), "the failure is within the document");
    demand(fast.failure.place.line > 0 && fast.failure.place.column > 0, "the place counts from one");
    return;
  }
  const LineIndex index = index_lines({fast.jsonl.get(), fast.bytes});
  demand(index.failure.empty(), "the lines are of the form that is indexed");
  demand(index.producers.size() == fast.jobs, "there is one line a job");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  for (const CanonicalKernel* kernel : canonical_kernels()) demand_agreement({data, size}, kernel);
  // The fast way only works where enough of the document follows.
  std::vector<uint8_t> padded(data, data + size);
  const std::string comment = "<!--" + std::string(1500, ' ') + "-->";
  padded.insert(padded.end(), comment.begin(), comment.end());
  for (const CanonicalKernel* kernel : canonical_kernels()) demand_agreement(padded, kernel);
  // Line indices of anything must come back, too.
  static_cast<void>(index_lines({data, size}));
  return 0;
}
