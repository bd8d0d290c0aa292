// The accepting path in one piece: sessions, the queue they fill, the segment writer, and the answers on
// their way back. Everything is called from one thread, the owner's, but for the sink, which the writer's
// thread calls when there is something to collect. It must never let an answer out that the writer hasn't
// given.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "answers.h"
#include "file-ops.h"
#include "group-queue.h"
#include "segment-writer.h"
#include "session.h"

namespace usher {

struct IngestOptions {
  SegmentWriterOptions writer;
  SessionLimits limits;
  ServerIdentity identity;
  ClusterNames clusters;
  uint64_t uncommitted_bytes_max;
  std::vector<FileFault> faults;
};

struct FeedResult {
  bool close;
  bool pause;
  size_t partial_bytes;
  bool greeted;
};

// What happened since the last one was collected.
struct IngestEvents {
  // Bytes for one connection: from the end of the output before it to `end`.
  struct Output {
    uint64_t connection;
    size_t end;
    uint32_t jobs;
    uint64_t credit;
  };
  struct Published {
    uint64_t segment;
    uint32_t jobs;
    uint64_t bytes;
  };
  OutputBytes bytes;
  std::vector<Output> outputs;
  std::vector<uint64_t> closes;
  std::vector<Published> published;
  std::vector<uint64_t> abandoned;
  uint64_t accepted = 0;
  Code failure = Code::none;
  const char* failed_operation = "";
  int failed_error = 0;
  bool recovered = false;
  bool resume = false;
  bool retired = false;
  bool stopped = false;
};

class IngestSink {
 public:
  virtual ~IngestSink() = default;
  // There are events. Called on the writer's thread, once until they have been collected.
  virtual void events_ready() noexcept = 0;
};

class Ingest final : private SegmentWriterListener {
 public:
  // A group is at most about this large, however large segments may be: it bounds how much one sync covers,
  // and the memory of the buffers.
  static constexpr uint64_t group_bytes_max = 4 * 1024 * 1024;

  Ingest(IngestOptions options, IngestSink& sink) noexcept;
  // Whatever wasn't answered stays unanswered. Waits for the writer.
  ~Ingest() override = default;

  FileFailure start() noexcept { return writer_.start(); }
  uint64_t open() noexcept;
  // False: there is no such connection.
  bool feed(uint64_t connection, std::span<const uint8_t> bytes, OutputBytes& out, FeedResult& result) noexcept;
  void close(uint64_t connection) noexcept { sessions_.erase(connection); }
  bool say_goodbye(uint64_t connection, Code code, std::string_view reason, std::span<const std::string> addresses,
                   OutputBytes& out) noexcept;
  void presence_written(int64_t at_boot_ns) noexcept { writer_.presence_written(at_boot_ns); }
  // Answers of connections that are gone are dropped.
  IngestEvents collect() noexcept;
  // Commits and seals what there is; the last events say `stopped`.
  void stop() noexcept { queue_.stop(); }

  size_t connections() const noexcept { return sessions_.size(); }
  uint64_t accepted_jobs() const noexcept { return accepted_jobs_.load(std::memory_order_relaxed); }
  uint64_t refused_jobs() const noexcept { return shared_.refused_jobs.load(std::memory_order_relaxed); }
  // XML of accepted jobs.
  uint64_t jobs_bytes() const noexcept { return jobs_bytes_.load(std::memory_order_relaxed); }
  uint64_t uncommitted_bytes() const noexcept { return queue_.uncommitted_bytes(); }
  uint64_t partial_bytes() const noexcept { return shared_.partial_bytes.load(std::memory_order_relaxed); }
  const SegmentWriterStats& writer_stats() const noexcept { return writer_.stats(); }

 private:
  void committed(const Group& group) noexcept override;
  void refused(const Group& group, Code code) noexcept override;
  void uncommitted(uint64_t bytes) noexcept override;
  void published(uint64_t segment, uint32_t jobs, uint64_t bytes) noexcept override;
  void abandoned(uint64_t segment) noexcept override;
  void failing(Code code, const char* operation, int error) noexcept override;
  void recovered() noexcept override;
  void retired() noexcept override;
  void stopped() noexcept override;

  // Lets `change` add to the events, and tells the sink unless it knows.
  template <class Change>
  void happen(Change change) noexcept;

  IngestSink& sink_;
  const uint64_t uncommitted_bytes_max_;
  std::unique_ptr<FileOps> ops_;
  GroupQueue queue_;
  SessionShared shared_;
  std::unordered_map<uint64_t, std::unique_ptr<Session>> sessions_;
  uint64_t last_connection_ = 0;
  std::atomic<bool> paused_{false};
  std::atomic<uint64_t> accepted_jobs_{0};
  std::atomic<uint64_t> jobs_bytes_{0};
  std::mutex events_mutex_;
  IngestEvents events_;
  // The sink has been told and collect() hasn't been called yet.
  bool ready_ = false;
  // Last: its thread uses all of the above, and ends first.
  SegmentWriter writer_;
};

}  // namespace usher
