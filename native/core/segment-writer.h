// Makes what sessions appended durable: takes groups from the queue, writes and syncs them to the open
// segment, has them answered, seals and publishes segments. It runs on one thread of its own; its listener is
// called there.
//
//   group → write + fdatasync → accept lease holds? → committed(group)
//   … large, old or nothing to do → closing tag in the same write → close → link → published → next segment
//   created, directory synced
//
// After any failure nothing is taken (the queue refuses) until a whole round trip to the directory has worked
// again. A file whose write, sync or close has failed is never written, trusted or published again: if it
// holds acknowledged jobs it is abandoned, its whole commits stay where they are under its private name and
// the listener is told; if not it is removed. A link or directory sync that failed is repeated until it
// works.
//
// It must never report a group committed before its sync has succeeded, nor after the accept lease has run
// out.
#pragma once

#include <pthread.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "clock.h"
#include "file-ops.h"
#include "group-queue.h"
#include "segment-directory.h"
#include "segment-file.h"

namespace usher {

struct SegmentWriterOptions {
  std::string directory;
  SegmentStamp stamp;
  uint64_t segment_bytes_max;
  int64_t segment_age_ns;
  int64_t seal_interval_ns;
  uint64_t reserve_bytes;
  int64_t accept_lease_ns;
  int64_t retry_ns;
};

// Called on the writer's thread.
class SegmentWriterListener {
 public:
  virtual ~SegmentWriterListener() = default;
  // The group is on stable storage, and acks may be given.
  virtual void committed(const Group& group) noexcept = 0;
  // None of the group's jobs is acknowledged; sending them again is the right thing to do.
  virtual void refused(const Group& group, Code code) noexcept = 0;
  // A group is done with; so many bytes wait.
  virtual void uncommitted(uint64_t bytes) noexcept = 0;
  // It has its name, which a crash may still take back: then it has the private one, with the same bytes.
  virtual void published(uint64_t segment, uint32_t jobs, uint64_t bytes) noexcept = 0;
  virtual void abandoned(uint64_t segment) noexcept = 0;
  // Also when it goes on failing with another code.
  virtual void failing(Code code, const char* operation, int error) noexcept = 0;
  virtual void recovered() noexcept = 0;
  // The accept lease had run out. The group at hand is on the store and stays unanswered.
  virtual void retired() noexcept = 0;
  // The last call.
  virtual void stopped() noexcept = 0;
};

struct SegmentWriterStats {
  std::atomic<uint64_t> commits{0};
  // Published.
  std::atomic<uint64_t> segments{0};
  // Of fdatasync.
  std::atomic<uint64_t> sync_ns{0};
};

class SegmentWriter {
 public:
  // All outlive the writer.
  SegmentWriter(SegmentWriterOptions options, GroupQueue& queue, FileOps& ops,
                SegmentWriterListener& listener) noexcept;
  SegmentWriter(const SegmentWriter&) = delete;
  SegmentWriter& operator=(const SegmentWriter&) = delete;
  // Stops the queue and waits for the thread.
  ~SegmentWriter();

  // Opens the directory and begins. Stopping is done through the queue.
  FileFailure start() noexcept;
  // A presence write that began at this boot time has succeeded. From any thread.
  void presence_written(int64_t at_boot_ns) noexcept;
  const SegmentWriterStats& stats() const noexcept { return stats_; }

 private:
  // A sealed segment on its way to its public name.
  struct Sealed {
    uint64_t number;
    uint32_t jobs;
    uint64_t bytes;
    FileIdentity identity;
    bool linked;
  };

  static void* run_thread(void* writer) noexcept;
  void run() noexcept;
  void finish() noexcept;
  int64_t next_deadline() const noexcept;
  void commit(Group& group) noexcept;
  bool has_space(uint64_t bytes_next) noexcept;
  bool seal_wanted(uint64_t bytes_next) noexcept;
  int sync() noexcept;
  void seal() noexcept;
  void publish() noexcept;
  FileFailure publish_sealed(bool create_next) noexcept;
  FileFailure create() noexcept;
  bool lease_holds() const noexcept;
  void retire() noexcept;
  void abandon() noexcept;
  void fail(FileFailure failure) noexcept;
  void try_again() noexcept;
  bool is_failing() const noexcept { return queue_.refusal() != Code::none; }

  const SegmentWriterOptions options_;
  GroupQueue& queue_;
  SegmentWriterListener& listener_;
  SegmentDirectory directory_;
  SegmentWriterStats stats_;
  std::atomic<int64_t> presence_ns_;
  // The lease ran out between two presence writes.
  std::atomic<bool> lapsed_{false};
  pthread_t thread_{};
  bool running_ = false;

  // Of the thread alone.
  std::unique_ptr<SegmentFile> segment_;
  FileIdentity identity_;
  uint64_t next_number_ = 1;
  bool acknowledged_in_segment_ = false;
  // Boot times.
  int64_t first_commit_ns_ = 0;
  int64_t last_seal_ns_;
  int64_t retry_at_ns_ = 0;
  int64_t space_checked_ns_;
  uint64_t written_since_check_ = 0;
  std::vector<Sealed> sealed_;
  bool retired_ = false;
  WallClock clock_;
};

}  // namespace usher
