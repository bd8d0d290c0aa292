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
  size_t closed;  // behind the root's end
};

enum class Seal { none, with_group, later };

// Padded as the writer does it, and as it did before it wrote whole blocks.
Segment segment_of(const std::vector<unsigned>& groups, Seal seal, bool padded) {
  Segment segment{segment_head, {}, std::string::npos};
  const auto end_write = [&segment, padded] {
    if (padded) segment.text += padding_behind(segment.text);
  };
  const auto close = [&segment] {
    segment.text += segment_tail;
    segment.closed = segment.text.size() - 1;
  };
  uint64_t jobs = 0;
  for (const unsigned size : groups) {
    for (unsigned i = 0; i < size; i++) {
      segment.text += job_line(
          ++jobs, "<executable>/bin/sh</executable><arguments><argument>two\nlines</argument></arguments>");
    }
    segment.text += mark_behind(segment.text, jobs);
    segment.groups.push_back({segment.text.size() - 1, jobs});
    if (seal == Seal::with_group && segment.groups.size() == groups.size()) close();
    end_write();
  }
  if (seal != Seal::later) return segment;
  close();
  end_write();
  return segment;
}

}  // namespace

TEST("finds all jobs of a sealed segment and says that it is sealed") {
  for (const bool padded : {false, true}) {
    for (const Seal seal : {Seal::with_group, Seal::later}) {
      const Segment segment = segment_of({1, 3, 2}, seal, padded);
      const SegmentRecovery found = recover_segment(as_bytes(segment.text));
      CHECK_EQ(found.bytes, segment.groups.back().end);
      CHECK_EQ(found.jobs, 6u);
      CHECK(found.sealed);
      CHECK(!found.corrupt);
    }
  }
}

TEST("doesn't call a segment sealed that anything but white space and the closing tag stands in behind the last mark") {
  const Segment segment = segment_of({1}, Seal::with_group, true);
  for (const std::string_view more : {"x", "<job ", "</segment>", ""}) {
    for (const size_t at : {segment.groups.back().end + 1, segment.closed, segment.closed + 9, segment.text.size()}) {
      std::string text = segment.text;
      // Nothing stands for a zero byte.
      text.insert(at, more.empty() ? std::string(1, '\0') : std::string(more));
      CHECK(!recover_segment(as_bytes(text)).sealed);
    }
  }
  CHECK(!recover_segment(as_bytes(segment.text.substr(0, segment.closed - 1))).sealed);
}

TEST("keeps exactly the whole commits of a segment torn at any byte") {
  for (const bool padded : {false, true}) {
    const Segment segment = segment_of({1, 3, 2}, padded ? Seal::later : Seal::with_group, padded);
    for (size_t length = 0; length <= segment.text.size(); length++) {
      const SegmentRecovery found = recover_segment(as_bytes(segment.text).first(length));
      Group last{0, 0};
      for (const Group& group : segment.groups) {
        if (group.end <= length) last = group;
      }
      CHECK_EQ(found.bytes, last.end);
      CHECK_EQ(found.jobs, last.jobs);
      CHECK(!found.corrupt);
      CHECK_EQ(found.sealed, length >= segment.closed);
      if (found.bytes == 0 || (length != found.bytes && length % 64 != 0)) continue;
      const std::string whole = segment.text.substr(0, found.bytes) + "\n</segment>\n";
      const Transformed result = transform(as_bytes(whole));
      CHECK(!result.failure);
      CHECK_EQ(result.jobs, last.jobs);
    }
  }
}

TEST("takes a last group that was written only in part for a torn tail, wherever bytes of it are missing") {
  for (const bool padded : {false, true}) {
    const Segment segment = segment_of({2, 2}, Seal::none, padded);
    const Group first = segment.groups.front();
    for (size_t at = first.end + 1; at < segment.groups.back().end; at++) {
      std::string torn = segment.text;
      torn[at] = '\0';
      const SegmentRecovery found = recover_segment(as_bytes(torn));
      CHECK_EQ(found.bytes, first.end);
      CHECK_EQ(found.jobs, 2u);
      CHECK(!found.corrupt);
    }
  }
}

TEST("calls any changed bit before the last mark but one corrupt, and keeps nothing behind it") {
  for (const bool padded : {false, true}) {
    const Segment segment = segment_of({1, 1, 1}, Seal::with_group, padded);
    const Group first = segment.groups.front();
    for (size_t at = 0; at < segment.groups[1].end; at++) {
      for (int bit = 0; bit < 8; bit++) {
        // Much of a padded segment is the same byte again and again.
        if (padded && static_cast<size_t>(bit) != at % 8) continue;
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
