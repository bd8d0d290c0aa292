// Where sessions and the segment writer meet. Sessions, on any threads, append XML to the open group, a frame
// at a time; the writer takes groups in order. While it writes and syncs one, the next fills: that is group
// commit. A group never gets much larger than a fixed size, whatever is fed: what follows goes to the next
// one. Buffers are reused. Whoever appends says when it has appended what there is, wake(): until then the writer sleeps on,
// so that what arrived together is committed together.
//
// The queue never refuses for lack of space: whoever feeds looks at uncommitted_bytes() and stops reading.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <string_view>
#include <vector>

#include "clock.h"
#include "group.h"
#include "wire.h"

namespace usher {

// Where a session's share in the open group is; kept by the session between frames.
struct ShareCursor {
  uint64_t group_serial = 0;
  uint32_t share = 0;
};

class GroupQueue {
 public:
  explicit GroupQueue(size_t group_bytes_max) noexcept : group_bytes_max_(group_bytes_max) { open_ = fresh(); }

  // Holds the queue while one frame is appended.
  class Appender {
   public:
    Appender(GroupQueue& queue, uint64_t connection, ShareCursor& cursor) noexcept
        : queue_(queue), lock_(queue.mutex_), connection_(connection), cursor_(cursor) {}
    Appender(const Appender&) = delete;
    Appender& operator=(const Appender&) = delete;
    ~Appender();

    // With what jobs are refused at the moment, Code::none if they are taken.
    Code refusal() const noexcept { return queue_.refusal_.load(std::memory_order_relaxed); }
    // The wall clock, read once for each Appender.
    std::string_view now() noexcept {
      if (now_.empty()) now_ = queue_.clock_.now();
      return now_;
    }
    // Where the XML of one job may be written; nullptr when there is no memory.
    uint8_t* room(size_t bytes) noexcept {
      if (queue_.open_->xml.size() >= queue_.group_bytes_max_) queue_.rotate();
      return queue_.open_->xml.room(bytes);
    }
    // The job written to room() ends here.
    void add(const uint8_t* end, uint64_t sequence) noexcept {
      Group& group = *queue_.open_;
      if (cursor_.group_serial != group.serial) {
        cursor_.group_serial = group.serial;
        cursor_.share = group.add_share(connection_);
      }
      const size_t before = group.xml.size();
      group.xml.end_at(end);
      bytes_ += group.xml.size() - before;
      group.add_job(cursor_.share, sequence);
      last_ = &group;
      jobs_++;
    }
    uint32_t jobs() const noexcept { return jobs_; }
    // Credit to be given back when the last job added is answered. There must be one.
    void owe(uint64_t credit) noexcept { last_->shares[cursor_.share].credit += credit; }

   private:
    GroupQueue& queue_;
    std::unique_lock<std::mutex> lock_;
    uint64_t connection_;
    ShareCursor& cursor_;
    std::string_view now_;
    // Where the last job went; not the open group if a new one was begun for a job that was then refused.
    Group* last_ = nullptr;
    uint64_t bytes_ = 0;
    uint32_t jobs_ = 0;
  };

  // The writer's side.

  // The next group with jobs, or nullptr if there is none before `until_boot_ns`, the queue is told to stop,
  // or it is woken.
  Group* take(int64_t until_boot_ns) noexcept;
  // Whether a group with jobs waits.
  bool waiting() noexcept;
  // The group is answered and its buffers are free again. Returns the bytes that are still uncommitted.
  uint64_t done(Group* group) noexcept;
  // From now on jobs are refused with this code; Code::none: taken again.
  void refuse(Code code) noexcept;
  Code refusal() const noexcept { return refusal_.load(std::memory_order_relaxed); }

  // Either side.

  // There may be jobs: the writer is woken if it sleeps.
  void wake() noexcept;
  void stop() noexcept;
  bool stopping() const noexcept { return stopping_.load(std::memory_order_acquire); }
  // XML appended and not done with.
  uint64_t uncommitted_bytes() const noexcept { return uncommitted_bytes_.load(); }

 private:
  // Free groups kept, and the buffer size beyond which none is kept (after a job far larger than others).
  static constexpr size_t free_groups_max = 2;

  Group* fresh() noexcept;
  void rotate() noexcept;
  bool has_jobs() const noexcept { return !closed_.empty() || open_->jobs > 0; }

  const size_t group_bytes_max_;
  std::mutex mutex_;
  std::condition_variable changed_;
  // The writer sleeps in take(): only then is it worth a system call to wake it.
  bool asleep_ = false;
  uint64_t serials_ = 0;
  std::vector<std::unique_ptr<Group>> groups_;
  std::vector<Group*> free_;
  std::deque<Group*> closed_;
  Group* open_;
  WallClock clock_;
  std::atomic<Code> refusal_{Code::none};
  std::atomic<bool> stopping_{false};
  std::atomic<uint64_t> uncommitted_bytes_{0};
};

}  // namespace usher
