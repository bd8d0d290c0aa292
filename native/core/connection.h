// One producer's connection as a socket loop keeps it: the socket, its session, what is still to be sent, and since when
// what is being waited for. Belongs to the loop's thread; closes the socket when it goes.
#pragma once

#include <unistd.h>

#include <cstddef>
#include <cstdint>

#include "answers.h"
#include "session.h"

namespace usher {

struct Connection {
  Connection(SessionShared& shared, uint64_t number_, int fd_, int64_t now_ns) noexcept
      : session(shared, number_), number(number_), fd(fd_), opened_ns(now_ns), heard_ns(now_ns) {}
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;
  ~Connection() { close(); }

  void close() noexcept {
    // Nothing that was to be written is lost by an error here: answers are repeated by resending.
    if (fd >= 0) ::close(fd);
    fd = -1;
  }
  bool closed() const noexcept { return fd < 0; }
  size_t unsent() const noexcept { return output.size() - sent; }

  Session session;
  const uint64_t number;
  int fd;
  // Counts among those that are limited; false for one that is turned away because of that limit.
  bool counted = true;
  // The kernel may have something to read: bytes, the end, or an error.
  bool readable = false;
  // The producer has ended its side, or the connection has failed: the kernel will not say so again.
  bool hung_up = false;
  // The kernel takes no more bytes at the moment.
  bool blocked = false;
  // In the loop's list of those to be read from, or to be written to.
  bool queued = false;
  bool dirty = false;
  // Nothing is taken from it any more; once everything is sent, no more is written either.
  bool leaving = false;
  bool write_ended = false;
  // The producer has ended its side, and all of it has been read.
  bool read_ended = false;
  // All times are monotonic.
  int64_t opened_ns;
  // When bytes last arrived.
  int64_t heard_ns;
  // When the frame that is incomplete now began; 0: between frames.
  int64_t frame_ns = 0;
  // When one that leaves is closed whatever it does.
  int64_t leave_by_ns = 0;
  OutputBytes output;
  // Bytes of `output` that the kernel has taken.
  size_t sent = 0;
};

}  // namespace usher
