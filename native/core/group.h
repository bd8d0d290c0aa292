// One group commit in the making: the XML of its jobs, and who is owed an answer for which of them. A group
// is filled under the queue's mutex, and then belongs to the segment writer until it is done with.
#pragma once

#include <cstdint>
#include <vector>

#include "direct-io.h"

namespace usher {

inline constexpr uint32_t no_run = UINT32_MAX;

// Consecutive sequences of one connection, in the order in which they came.
struct Run {
  uint64_t first;
  uint32_t count;
  // The connection's next run in `Group::runs`, or no_run.
  uint32_t next;
};

// What one connection is owed when the group is done.
struct Share {
  uint64_t connection;
  // Sizes of the frames whose last job stands in this group.
  uint64_t credit;
  uint32_t jobs;
  uint32_t first_run;
  uint32_t last_run;
};

struct Group {
  // Told apart by numbers that are never reused, so that a session knows whether its share is in here.
  uint64_t serial = 0;
  // Written to the file from where it is.
  BlockBuffer xml;
  uint32_t jobs = 0;
  std::vector<Share> shares;
  std::vector<Run> runs;

  uint32_t add_share(uint64_t connection) noexcept {
    shares.push_back({connection, 0, 0, no_run, no_run});
    return static_cast<uint32_t>(shares.size() - 1);
  }

  void add_job(uint32_t share_index, uint64_t sequence) noexcept {
    Share& share = shares[share_index];
    jobs++;
    share.jobs++;
    if (share.last_run != no_run) {
      Run& last = runs[share.last_run];
      // A wrap past the last sequence begins a new run: a range on the wire never wraps.
      if (sequence == last.first + last.count && sequence != 0 && last.count != UINT32_MAX) {
        last.count++;
        return;
      }
      last.next = static_cast<uint32_t>(runs.size());
    } else {
      share.first_run = static_cast<uint32_t>(runs.size());
    }
    share.last_run = static_cast<uint32_t>(runs.size());
    runs.push_back({sequence, 1, no_run});
  }

  void clear() noexcept {
    xml.clear();
    jobs = 0;
    shares.clear();
    runs.clear();
  }
};

}  // namespace usher
