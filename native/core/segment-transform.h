// One segment after the other from a file to JSON lines in another, in memory that is kept between them: neither
// the XML nor the lines pass through JavaScript. Used by one thread. It decides nothing about names or syncing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "direct-io.h"
#include "json-buffer.h"
#include "segment-recovery.h"
#include "transform.h"

namespace usher {

class SegmentTransform {
 public:
  // Buffers that a segment made larger than this are given back after it.
  static constexpr size_t kept_bytes_max = size_t{32} << 20;

  // Reads the whole file, from its beginning to its end: past the page cache if `direct` is wanted, possible and worth it.
  // 0 or an errno; then nothing is held.
  int read(int fd, bool direct) noexcept;
  std::span<const uint8_t> xml() const noexcept { return xml_.bytes(); }

  SegmentRecovery recover() const noexcept { return recover_segment(xml_.bytes()); }
  // The segment was never sealed: its first `bytes` bytes count, and the closing tag that it lacks. 0 or an errno.
  int close_after(size_t bytes) noexcept;

  // What there is now to JSON lines; they are held until the next segment is read.
  TransformOutcome run() noexcept;
  std::span<const uint8_t> lines() noexcept;

  // All lines from the file's beginning on. 0 or an errno.
  int write(int fd) noexcept;

  // Lets go of both, and of memory beyond what is kept.
  void clear() noexcept;

 private:
  BlockBuffer xml_;
  std::optional<JsonBuffer> lines_;
};

}  // namespace usher
