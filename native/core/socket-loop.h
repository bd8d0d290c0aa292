// One thread that accepts connections, reads from them, feeds their sessions and sends what is answered. There may be several
// loops, each with its own listening socket, all with one queue of the segment writer behind them.
//
// A turn: what the kernel and the other threads have to say; accept; read from those that have something; wake the writer,
// once, for all that came; send, with one call for each connection; now and then look at the clock.
//
//   accepted → fed → … → leaving (its session is closed, or its end of the stream is) → all sent → closed
//   too slow, too many, in the way of a stop → told why → leaving
//
// epoll tells changes only (EPOLLET), so a socket is registered once and what is known of it is kept here. One connection gets
// one read of bounded size in a turn, and goes to the end of the row. When too much waits for its sync, nothing is read: TCP
// slows the producers then.
//
// It must never block but in epoll_wait, never send an ack of its own, and never let one connection's fate touch another's.
#pragma once

#include <pthread.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "connection.h"
#include "segment-directory.h"
#include "session.h"

namespace usher {

struct SocketLimits {
  // Of all loops together.
  uint64_t connections_max;
  int64_t hello_timeout_ns;
  int64_t frame_timeout_ns;
  int64_t idle_timeout_ns;
  // Answers that a producer may leave unread.
  size_t output_bytes_max;
  // XML that waits for its sync, beyond which nothing is read.
  uint64_t uncommitted_bytes_max;
};

// What all loops share. Outlives them.
struct SocketsShared {
  SocketsShared(SessionShared& sessions_, const SocketLimits& limits_) noexcept : sessions(sessions_), limits(limits_) {}

  SessionShared& sessions;
  const SocketLimits limits;
  std::atomic<uint64_t> connections{0};
  std::atomic<uint64_t> opened{0};
  std::atomic<uint64_t> turned_away{0};
  // A loop has stopped reading: whoever frees room calls room() of every loop.
  std::atomic<bool> out_of_room{false};
};

// What connections of one loop are owed after a group commit.
struct AnswerBatch {
  // Bytes for one connection: from the end of the one before it to `end`.
  struct Answer {
    uint64_t connection;
    size_t end;
    uint32_t jobs;
    uint64_t credit;
  };
  OutputBytes bytes;
  std::vector<Answer> answers;
};

// Said to every producer when usher takes no more jobs.
struct Farewell {
  Code code;
  std::string reason;
  std::vector<std::string> addresses;
  // Monotonic: who hasn't gone by then is cut off.
  int64_t until_ns;
};

// Called on the loop's thread.
class SocketLoopListener {
 public:
  virtual ~SocketLoopListener() = default;
  // A connection that is told `code` and closed. `peer`: address and port.
  virtual void cut_off(uint64_t connection, Code code, std::string peer) noexcept = 0;
  // Connections can't be accepted for now; it is tried again. Once until that has worked: error 0.
  virtual void accepting(const char* operation, int error) noexcept = 0;
  // The farewell has been said, and the last connection has gone.
  virtual void emptied() noexcept = 0;
};

class SocketLoop {
 public:
  // Connections get the numbers that leave `index` when divided by `count`.
  SocketLoop(SocketsShared& shared, uint32_t index, uint32_t count, SocketLoopListener& listener) noexcept;
  SocketLoop(const SocketLoop&) = delete;
  SocketLoop& operator=(const SocketLoop&) = delete;
  // Sends what is answered, as far as the kernel takes it, closes every connection and waits for the thread.
  ~SocketLoop();

  FileFailure start() noexcept;

  // From any thread.

  // Owns `fd`, a listening socket that doesn't block. Once.
  void listen(int fd) noexcept;
  // Answers of connections that are gone are dropped.
  void answer(AnswerBatch batch) noexcept;
  // Less waits for its sync than before.
  void room() noexcept;
  // Accepts no more, says it to every connection. Once.
  void say(std::shared_ptr<const Farewell> farewell) noexcept;

  uint32_t index() const noexcept { return index_; }

 private:
  struct Inbox {
    std::vector<AnswerBatch> batches;
    std::shared_ptr<const Farewell> farewell;
    int listener_fd = -1;
    bool room = false;
    bool stop = false;
    bool empty() const noexcept { return batches.empty() && !farewell && listener_fd < 0 && !room && !stop; }
  };

  static void* run_thread(void* loop) noexcept;
  void run() noexcept;
  // Lets `change` add to the inbox, and wakes the thread if it sleeps.
  template <class Change>
  void tell(Change change) noexcept;
  void wait() noexcept;
  bool may_sleep() const noexcept;
  int sleep_ms() const noexcept;
  bool farewell_over() const noexcept;
  // False: told to stop.
  bool take_inbox() noexcept;
  void take(const AnswerBatch& batch) noexcept;
  void accept_some() noexcept;
  int open(int fd) noexcept;
  void begin_farewell() noexcept;
  void bid_farewell(Connection& connection) noexcept;
  void read_ready() noexcept;
  bool has_room() noexcept;
  size_t read(Connection& connection) noexcept;
  void feed(Connection& connection, std::span<const uint8_t> bytes) noexcept;
  void send_dirty() noexcept;
  void send(Connection& connection) noexcept;
  void sweep() noexcept;
  void fail(Connection& connection, Code code) noexcept;
  void leave(Connection& connection) noexcept;
  void close(Connection& connection) noexcept;
  void close_listener() noexcept;
  void forget_closed() noexcept;
  void queue(Connection& connection) noexcept;
  void mark_dirty(Connection& connection) noexcept;

  SocketsShared& shared_;
  const uint32_t index_;
  const uint32_t count_;
  SocketLoopListener& listener_;
  int epoll_fd_ = -1;
  int wake_fd_ = -1;
  pthread_t thread_{};
  bool running_ = false;

  std::mutex inbox_mutex_;
  Inbox inbox_;
  // The thread is in epoll_wait, or about to be: only then is it worth a system call to wake it.
  bool asleep_ = false;

  // Of the thread alone.
  int64_t now_ns_ = 0;
  uint64_t connections_opened_ = 0;
  std::unordered_map<uint64_t, std::unique_ptr<Connection>> connections_;
  // Closed in this turn; forgotten at its end, when no list names them any more.
  std::vector<Connection*> closed_;
  std::vector<Connection*> ready_;
  std::vector<Connection*> dirty_;
  std::unique_ptr<uint8_t[]> buffer_;
  int listener_fd_ = -1;
  // Somebody may be waiting to be accepted.
  bool listener_ready_ = false;
  bool accept_failing_ = false;
  int64_t accept_again_ns_ = 0;
  size_t lingering_turned_away_ = 0;
  bool out_of_room_ = false;
  int64_t sweep_ns_ = 0;
  std::shared_ptr<const Farewell> farewell_;
  bool emptied_ = false;
};

}  // namespace usher
