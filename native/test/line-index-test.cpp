#include "../core/line-index.h"

#include <string>

#include "../core/transform.h"
#include "check.h"
#include "segment-model.h"

namespace usher {
namespace {

using namespace usher::test;

std::string lines_of(std::string_view xml) {
  const Transformed result = transform(as_bytes(xml));
  CHECK(!result.failure);
  return {reinterpret_cast<const char*>(result.jsonl.get()), result.bytes};
}

std::string with_cluster(uint64_t sequence, std::string_view cluster, std::string_view traceparent = "") {
  std::string job = job_line(sequence);
  job.replace(job.find("main"), 4, cluster);
  if (!traceparent.empty()) job.insert(job.find('>'), " traceparent=\"" + std::string(traceparent) + "\"");
  return job;
}

}  // namespace

TEST("reads the columns of the lines that the transform wrote") {
  const std::string lines = lines_of(
      segment_head + with_cluster(0, "main") +
      with_cluster(UINT64_MAX, "a&quot;b\\c", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01") +
      with_cluster(7, "main") + segment_tail);
  const LineIndex index = index_lines(as_bytes(lines));
  CHECK_EQ(index.failure, std::string());
  if (!CHECK_EQ(index.producers.size(), 3u)) return;
  CHECK_EQ(index.producers[2], 0x9f8c2e71a4b0d3e5u);
  CHECK_EQ(index.sequences[0], 0u);
  CHECK_EQ(index.sequences[1], UINT64_MAX);
  CHECK_EQ(index.sequences[2], 7u);
  if (!CHECK_EQ(index.clusters.size(), 2u)) return;
  CHECK_EQ(index.clusters[0], std::string("main"));
  CHECK_EQ(index.clusters[1], std::string("a\"b\\c"));
  CHECK_EQ(index.cluster_of[1], 1u);
  CHECK_EQ(index.cluster_of[2], 0u);
  CHECK_EQ(index.digests[0], index.digests[2]);
  CHECK(index.digests[0] != index.digests[1]);
  if (!CHECK_EQ(index.offsets.size(), 4u)) return;
  CHECK_EQ(index.offsets[0], 0.0);
  for (size_t i = 1; i < 4; i++) CHECK_EQ(lines[static_cast<size_t>(index.offsets[i]) - 1], '\n');
  CHECK_EQ(index.offsets[3], static_cast<double>(lines.size()));
}

TEST("takes an empty file for no lines") {
  const LineIndex index = index_lines({});
  CHECK_EQ(index.failure, std::string());
  CHECK_EQ(index.offsets.size(), 1u);
}

TEST("refuses a file that is cut at any byte but a line's end") {
  const std::string lines = lines_of(segment_head + job_line(1) + job_line(2) + segment_tail);
  for (size_t length = 1; length < lines.size(); length++) {
    const LineIndex index = index_lines(as_bytes(lines).first(length));
    CHECK_EQ(index.failure.empty(), lines[length - 1] == '\n');
    if (!index.failure.empty()) CHECK(index.producers.empty() && index.offsets.empty());
  }
}

TEST("names the line that isn't of the form that usher writes") {
  const std::string line = lines_of(segment_head + job_line(1) + segment_tail);
  const auto failure_with = [&line](std::string_view from, std::string_view to) {
    std::string changed = line;
    changed.replace(changed.find(from), from.size(), to);
    return index_lines(as_bytes(line + changed)).failure;
  };
  for (const auto& [from, to] :
       {std::pair("{\"id\"", "{ \"id\""), std::pair("9f8c", "9F8C"), std::pair("-1\"", "-01\""),
        std::pair("-1\"", "-18446744073709551616\""), std::pair("\"digest\"", "\"hash\""),
        std::pair("2026-11", "2026-13"), std::pair("\"cluster\":\"main\"", "\"cluster\":\"\""),
        std::pair("\"spec\":{", "\"spec\":["), std::pair("}}\n", "} }\n"),
        std::pair("\"index\":0", "\"index\":")}) {
    CHECK(failure_with(from, to).starts_with("line 2 (byte " + std::to_string(line.size()) + ")"));
  }
}

}  // namespace usher
