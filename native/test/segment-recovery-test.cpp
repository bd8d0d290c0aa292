#include "../core/segment-recovery.h"

#include <string>
#include <vector>

#include "../core/transform.h"
#include "check.h"
#include "segment-model.h"

namespace usher {
namespace {

using namespace usher::test;

struct Group {
  size_t end;  // of its mark, without the line feed
  uint64_t jobs;
};

struct Segment {
  std::string text;
  std::vector<Group> groups;
};

Segment segment_of(const std::vector<unsigned>& groups, bool sealed) {
  Segment segment{segment_head, {}};
  uint64_t jobs = 0;
  for (const unsigned size : groups) {
    for (unsigned i = 0; i < size; i++) {
      segment.text += job_line(
          ++jobs, "<executable>/bin/sh</executable><arguments><argument>two\nlines</argument></arguments>");
    }
    segment.text += mark_behind(segment.text, jobs);
    segment.groups.push_back({segment.text.size() - 1, jobs});
  }
  if (sealed) segment.text += segment_tail;
  return segment;
}

}  // namespace

TEST("finds all jobs of a sealed segment and says that it is sealed") {
  const Segment segment = segment_of({1, 3, 2}, true);
  const SegmentRecovery found = recover_segment(as_bytes(segment.text));
  CHECK_EQ(found.bytes, segment.groups.back().end);
  CHECK_EQ(found.jobs, 6u);
  CHECK(found.sealed);
  CHECK(!found.corrupt);
}

TEST("keeps exactly the whole commits of a segment torn at any byte") {
  const Segment segment = segment_of({1, 3, 2}, true);
  for (size_t length = 0; length <= segment.text.size(); length++) {
    const SegmentRecovery found = recover_segment(as_bytes(segment.text).first(length));
    Group last{0, 0};
    for (const Group& group : segment.groups) {
      if (group.end <= length) last = group;
    }
    CHECK_EQ(found.bytes, last.end);
    CHECK_EQ(found.jobs, last.jobs);
    CHECK(!found.corrupt);
    CHECK_EQ(found.sealed, length + 1 >= segment.text.size());
    if (found.bytes == 0) continue;
    const std::string whole = segment.text.substr(0, found.bytes) + "\n</segment>\n";
    const Transformed result = transform(as_bytes(whole));
    CHECK(!result.failure);
    CHECK_EQ(result.jobs, last.jobs);
  }
}

TEST("takes a last group that was written only in part for a torn tail, wherever bytes of it are missing") {
  const Segment segment = segment_of({2, 2}, false);
  const Group first = segment.groups.front();
  for (size_t at = first.end + 1; at < segment.text.size() - 1; at++) {
    std::string torn = segment.text;
    torn[at] = '\0';
    const SegmentRecovery found = recover_segment(as_bytes(torn));
    CHECK_EQ(found.bytes, first.end);
    CHECK_EQ(found.jobs, 2u);
    CHECK(!found.corrupt);
  }
}

TEST("calls any changed bit before the last mark but one corrupt, and keeps nothing behind it") {
  const Segment segment = segment_of({1, 1, 1}, true);
  const Group first = segment.groups.front();
  for (size_t at = 0; at < segment.groups[1].end; at++) {
    for (int bit = 0; bit < 8; bit++) {
      std::string damaged = segment.text;
      damaged[at] = static_cast<char>(damaged[at] ^ (1 << bit));
      const SegmentRecovery found = recover_segment(as_bytes(damaged));
      if (!CHECK(found.corrupt)) return;
      CHECK(!found.sealed);
      CHECK_EQ(found.bytes, at <= first.end ? 0u : first.end);
      const Transformed result = transform(as_bytes(damaged));
      if (!CHECK_EQ(name_of(result.failure.code), name_of(SegmentError::segment_corrupt))) return;
    }
  }
}

TEST("finds nothing to keep in documents without a mark") {
  for (const std::string& text : {std::string(), std::string("\n"), segment_head, segment_head + segment_tail,
                                  segment_head + job_line(1) + segment_tail}) {
    const SegmentRecovery found = recover_segment(as_bytes(text));
    CHECK_EQ(found.bytes, 0u);
    CHECK_EQ(found.jobs, 0u);
    CHECK(!found.sealed);
    CHECK(!found.corrupt);
  }
}

TEST("doesn't believe a mark that counts other jobs than stand before it") {
  std::string text = segment_head + job_line(1);
  text += mark_behind(text, 2);
  CHECK_EQ(recover_segment(as_bytes(text)).bytes, 0u);
}

}  // namespace usher
