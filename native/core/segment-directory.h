// The directory of an instance's segments, and what is done to names in it: creating, publishing, probing.
// This instance is its only writer. It must never take a link's word for what happened: the inode behind
// the public name is looked at. It must never replace a file.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <string>

#include "file-ops.h"
#include "segment-file.h"

namespace usher {

// What failed at what; error 0: nothing.
struct FileFailure {
  const char* operation = nullptr;
  int error = 0;
  explicit operator bool() const noexcept { return error != 0; }
};

struct FileIdentity {
  dev_t device = 0;
  ino_t inode = 0;
};

class SegmentDirectory {
 public:
  SegmentDirectory(FileOps& ops, std::string path) noexcept : ops_(ops), path_(std::move(path)) {}
  SegmentDirectory(const SegmentDirectory&) = delete;
  SegmentDirectory& operator=(const SegmentDirectory&) = delete;
  ~SegmentDirectory();

  // Opens the directory, or opens it again: a handle can go stale on a share.
  FileFailure open() noexcept;
  // An empty segment under its private name. `number` is advanced past names that exist. The entry is only
  // durable after sync().
  FileFailure create(uint64_t& number, std::unique_ptr<SegmentFile>& file, FileIdentity& identity) noexcept;
  // Gives the segment its public name, or finds that it has it. Only durable after sync().
  FileFailure publish(uint64_t number, const FileIdentity& identity) noexcept;
  FileFailure sync() noexcept;
  // For files that hold nothing anybody was promised; whether it works is no matter.
  void remove_private(uint64_t number) noexcept;
  FileFailure free_bytes(uint64_t& bytes) noexcept;
  // A file is created, written, synced, closed and removed.
  FileFailure probe() noexcept;

 private:
  FileOps& ops_;
  const std::string path_;
  int fd_ = -1;
};

}  // namespace usher
