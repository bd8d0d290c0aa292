// The usher side of one connection as docs/protocol.md describes it. Takes the bytes that arrived, cut
// anywhere, decodes whole frames where they lie, and hands the XML of their jobs to the queue of the segment
// writer.
//
//   preamble → HELLO → JOBS, PING, PONG … → GOODBYE → all answered, closed
//   anything out of line → ERROR, closed
//
// It knows nothing of sockets, threads or JavaScript: whoever owns a connection feeds its session, one call
// at a time. It must never answer a job that it handed to the queue: that is for answered(), after the sync.
#pragma once

#include <atomic>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "answers.h"
#include "byte-buffer.h"
#include "group-queue.h"
#include "job-xml.h"
#include "wire.h"

namespace usher {

struct SessionLimits {
  uint32_t frame_bytes_max;
  uint32_t frame_jobs_max;
  // Of what a job's length counts: sequence and fields.
  uint32_t job_bytes_max;
  // First credit.
  uint64_t credit_bytes;
  uint32_t idle_ms;
  // Incomplete frames of all sessions together.
  uint64_t partial_bytes_max;
};

struct ServerIdentity {
  uint8_t store_uuid[16];
  std::string instance;
  std::string host;
  std::string version;
};

// What all sessions share. Outlives them.
struct SessionShared {
  SessionShared(const SessionLimits& limits, const ServerIdentity& identity, ClusterNames clusters,
                GroupQueue& queue) noexcept;

  const SessionLimits limits;
  const ClusterNames clusters;
  // The whole frame: the same for everybody.
  OutputBytes welcome;
  GroupQueue& queue;
  std::atomic<uint64_t> partial_bytes{0};
  std::atomic<uint64_t> refused_jobs{0};
};

class Session {
 public:
  Session(SessionShared& shared, uint64_t connection) noexcept : shared_(shared), connection_(connection) {}
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;
  ~Session() { drop_partial(); }

  // Takes all of `bytes`; appends what is to be sent at once to `out`. Once closed() nothing more is taken.
  void feed(std::span<const uint8_t> bytes, OutputBytes& out) noexcept;
  // `jobs` of those handed to the queue have been answered and `credit` is being sent to the producer: called
  // when these answers are about to be sent. Appends a GOODBYE if the producer waits for one, and the session
  // is closed.
  void answered(uint32_t jobs, uint64_t credit, OutputBytes& out) noexcept;
  // Appends a GOODBYE to the producer; from now on jobs are refused with this code. One that hasn't introduced itself is
  // closed.
  void say_goodbye(Code code, std::string_view reason, std::span<const std::string> addresses,
                   OutputBytes& out) noexcept;
  // Appends an ERROR, for what the owner of the connection decides (time-outs and the like), and closes.
  void end(Code code, std::string_view message, OutputBytes& out) noexcept;

  // The connection is to be closed once what was appended to `out` has been sent.
  bool closed() const noexcept { return phase_ == Phase::closed; }
  // With which ERROR it was closed; Code::none: with none.
  Code failure() const noexcept { return failure_; }
  bool greeted() const noexcept { return greeted_; }
  size_t partial_bytes() const noexcept { return partial_.size(); }
  uint64_t unanswered_jobs() const noexcept { return unanswered_jobs_; }
  uint64_t credit() const noexcept { return credit_; }

 private:
  enum class Phase : uint8_t { preamble, hello, open, leaving, closed };
  // What one call of feed() has to say besides what it says at once.
  struct Feed {
    OutputBytes& out;
    RefusalList refusals;
    uint64_t refused = 0;
    uint64_t credit = 0;
  };

  // Bytes of the preamble or frame that begins with `have`, as far as that is known by now; 0 after an error.
  size_t unit_bytes(std::span<const uint8_t> have, Feed& feed) noexcept;
  // Of a unit of `needed` bytes, as far as that is known.
  // Whatever usher sends begins with its preamble; where none was agreed on, with the one of version 0.
  void begin_saying(OutputBytes& out) noexcept;
  bool keep_partial(std::span<const uint8_t> bytes, size_t needed, Feed& feed) noexcept;
  void drop_partial() noexcept;
  void take(std::span<const uint8_t> unit, Feed& feed) noexcept;
  void take_preamble(std::span<const uint8_t> bytes, Feed& feed) noexcept;
  void take_frame(std::span<const uint8_t> frame, Feed& feed) noexcept;
  void take_hello(const FrameHeader& header, std::span<const uint8_t> payload, Feed& feed) noexcept;
  void take_jobs(const FrameHeader& header, std::span<const uint8_t> payload, Feed& feed) noexcept;
  void take_ping(const FrameHeader& header, std::span<const uint8_t> payload, Feed& feed) noexcept;
  void take_goodbye(const FrameHeader& header, std::span<const uint8_t> payload, Feed& feed) noexcept;
  void leave_if_answered(OutputBytes& out) noexcept;
  void flush(Feed& feed) noexcept;
  void fail(Code code, std::string_view message, Feed& feed) noexcept;

  SessionShared& shared_;
  const uint64_t connection_;
  Phase phase_ = Phase::preamble;
  bool greeted_ = false;
  bool preamble_said_ = false;
  bool said_goodbye_ = false;
  // Set by say_goodbye.
  Code refusal_ = Code::none;
  Code failure_ = Code::none;
  uint64_t producer_ = 0;
  // What the producer may still send.
  uint64_t credit_ = 0;
  uint64_t unanswered_jobs_ = 0;
  ShareCursor cursor_;
  // The beginning of a frame whose end hasn't arrived; no memory at all between frames.
  ByteBuffer partial_;
};

}  // namespace usher
