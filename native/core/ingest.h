// The accepting path in one piece: the loops that hold the producers' connections, the queue that their sessions fill, the
// segment writer behind it, and the answers on their way back. What the owner should know of is gathered until it is
// collected. It must never let an answer out that the writer hasn't given.
//
//   loops (threads) → queue → writer (thread) → answers → loops
//                                             → events → the owner's thread
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "answers.h"
#include "file-ops.h"
#include "group-queue.h"
#include "segment-writer.h"
#include "session.h"
#include "socket-loop.h"

namespace usher {

struct IngestOptions {
  SegmentWriterOptions writer;
  SessionLimits limits;
  SocketLimits sockets;
  // Of socket loops.
  uint32_t threads;
  ServerIdentity identity;
  ClusterNames clusters;
  // Large commits go past the page cache.
  bool direct_io;
  std::vector<FileFault> faults;
};

// What happened since the last one was collected.
struct IngestEvents {
  struct Published {
    uint64_t segment;
    uint32_t jobs;
    uint64_t bytes;
  };
  struct CutOff {
    uint64_t connection;
    Code code;
    std::string peer;
  };
  // Somebody who makes many mistakes makes no more work than this.
  static constexpr size_t cut_off_max = 100;

  std::vector<Published> published;
  std::vector<uint64_t> abandoned;
  std::vector<CutOff> cut_off;
  // Beyond those.
  uint64_t cut_off_more = 0;
  uint64_t accepted = 0;
  uint64_t opened = 0;
  uint64_t turned_away = 0;
  // Of accepting connections; error 0 with an operation: it works again.
  const char* accept_operation = nullptr;
  int accept_error = 0;
  Code failure = Code::none;
  const char* failed_operation = "";
  int failed_error = 0;
  bool recovered = false;
  bool retired = false;
  // The goodbye has been said, and every connection has gone.
  bool emptied = false;
  bool stopped = false;
};

class IngestSink {
 public:
  virtual ~IngestSink() = default;
  // There are events. Called on any of the threads, once until they have been collected.
  virtual void events_ready() noexcept = 0;
};

class Ingest final : private SegmentWriterListener, private SocketLoopListener {
 public:
  // A group is at most about this large, however large segments may be: it bounds how much one sync covers,
  // and the memory of the buffers.
  static constexpr uint64_t group_bytes_max = 4 * 1024 * 1024;

  Ingest(IngestOptions options, IngestSink& sink) noexcept;
  // Whatever wasn't answered stays unanswered. Closes every connection; waits for all threads.
  ~Ingest() override = default;

  FileFailure start() noexcept;
  // Accepts connections on a numeric address, once. `port` 0 takes any free one, and becomes it.
  FileFailure listen(const std::string& address, uint16_t& port) noexcept;
  // Accepts no more connections and no more jobs, and says so; events say `emptied`. Once.
  void say_goodbye(Farewell farewell) noexcept;
  void presence_written(int64_t at_boot_ns) noexcept { writer_.presence_written(at_boot_ns); }
  // On the owner's thread.
  IngestEvents collect() noexcept;
  // Commits and seals what there is; the last events say `stopped`.
  void stop() noexcept { queue_.stop(); }

  uint64_t connections() const noexcept { return sockets_.connections.load(std::memory_order_relaxed); }
  uint64_t accepted_jobs() const noexcept { return accepted_jobs_.load(std::memory_order_relaxed); }
  uint64_t refused_jobs() const noexcept { return shared_.refused_jobs.load(std::memory_order_relaxed); }
  // XML of accepted jobs.
  uint64_t jobs_bytes() const noexcept { return jobs_bytes_.load(std::memory_order_relaxed); }
  uint64_t uncommitted_bytes() const noexcept { return queue_.uncommitted_bytes(); }
  uint64_t partial_bytes() const noexcept { return shared_.partial_bytes.load(std::memory_order_relaxed); }
  const SegmentWriterStats& writer_stats() const noexcept { return writer_.stats(); }

 private:
  // Of the writer.
  void committed(const Group& group) noexcept override;
  void refused(const Group& group, Code code) noexcept override;
  void uncommitted(uint64_t bytes) noexcept override;
  void published(uint64_t segment, uint32_t jobs, uint64_t bytes) noexcept override;
  void abandoned(uint64_t segment) noexcept override;
  void failing(Code code, const char* operation, int error) noexcept override;
  void recovered() noexcept override;
  void retired() noexcept override;
  void stopped() noexcept override;
  // Of the loops.
  void cut_off(uint64_t connection, Code code, std::string peer) noexcept override;
  void accepting(const char* operation, int error) noexcept override;
  void emptied() noexcept override;

  // Hands to each loop what `append` writes for the shares of its connections.
  template <class Append>
  void answer(const Group& group, Append append) noexcept;
  // Lets `change` add to the events, and tells the sink unless it knows.
  template <class Change>
  void happen(Change change) noexcept;

  IngestSink& sink_;
  std::unique_ptr<FileOps> ops_;
  GroupQueue queue_;
  SessionShared shared_;
  SocketsShared sockets_;
  std::atomic<uint64_t> accepted_jobs_{0};
  std::atomic<uint64_t> jobs_bytes_{0};
  std::atomic<uint32_t> loops_emptied_{0};
  // Of what has been collected.
  uint64_t told_accepted_ = 0;
  uint64_t told_opened_ = 0;
  uint64_t told_turned_away_ = 0;
  std::mutex events_mutex_;
  IngestEvents events_;
  // The sink has been told and collect() hasn't been called yet.
  bool ready_ = false;
  // Their threads use all of the above.
  std::vector<std::unique_ptr<SocketLoop>> loops_;
  // Its thread uses the loops as well, and ends first.
  SegmentWriter writer_;
};

}  // namespace usher
