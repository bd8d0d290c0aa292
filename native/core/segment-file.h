// One segment file while it is written, in the form of docs/store.md: XML header, jobs, a commit mark after
// each group, closing tag, and white space up to the next whole block after each write. Knows the format and the running
// CRC; every call is one operation on the file, and what a failure means is for the segment writer to decide. It must
// never write to a block again.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "direct-io.h"
#include "file-ops.h"
#include "group.h"

namespace usher {

// Who writes: the attributes of every <segment>.
struct SegmentStamp {
  std::string store;
  std::string host;
  std::string instance;
  uint32_t pid;
  std::string version;
  std::string config;
};

std::string segment_name(uint64_t number);
std::string private_segment_name(uint64_t number);

class SegmentFile {
 public:
  // Owns `fd`.
  SegmentFile(FileOps& ops, uint64_t number, int fd) noexcept : ops_(ops), number_(number), fd_(fd) {}
  SegmentFile(const SegmentFile&) = delete;
  SegmentFile& operator=(const SegmentFile&) = delete;
  // Closes what is still open, without looking: whoever cares has called close().
  ~SegmentFile();

  // Writes the group with its mark, in one write: before it the header if it is the first, behind it the
  // closing tag if `seal`. `opened`: the wall clock, for the header. Nothing is synced. After a failure the
  // file must not be written again. What is written behind the jobs stands in the group's memory meanwhile.
  int write_group(Group& group, const SegmentStamp& stamp, std::string_view opened, bool seal) noexcept;
  // The closing tag alone.
  int write_end() noexcept;
  int sync() noexcept { return ops_.fdatasync(fd_); }
  int close() noexcept;

  uint64_t number() const noexcept { return number_; }
  // Of everything written.
  uint64_t bytes() const noexcept { return bytes_; }
  uint32_t jobs() const noexcept { return jobs_; }

 private:
  // To the running CRC and sum.
  void count(std::span<const uint8_t> bytes) noexcept;

  FileOps& ops_;
  const uint64_t number_;
  int fd_;
  uint64_t bytes_ = 0;
  uint32_t jobs_ = 0;
  uint32_t crc_ = 0;
  // Past the page cache, from the first large group on.
  bool direct_ = false;
};

}  // namespace usher
