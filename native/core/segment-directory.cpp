#include "segment-directory.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

namespace usher {
namespace {

// Not the name of a segment, so that nobody who lists the directory takes it for one.
constexpr const char* probe_name = "probe";
// As much as a commit of a few jobs, so that a disk with a block left doesn't pass for a working one.
constexpr size_t probe_bytes = 16 * 1024;
// Names taken before this many numbers have passed: something else is wrong.
constexpr int create_attempts_max = 1000;

FileFailure failure(FileOperation operation, int error) noexcept { return {name_of(operation), error}; }

}  // namespace

SegmentDirectory::~SegmentDirectory() {
  if (fd_ >= 0) ::close(fd_);
}

FileFailure SegmentDirectory::open() noexcept {
  const int fd = ::open(path_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return failure(FileOperation::open, errno);
  // The old handle was only read from: closing it can't lose anything.
  if (fd_ >= 0) ::close(fd_);
  fd_ = fd;
  return {};
}

FileFailure SegmentDirectory::create(uint64_t& number, std::unique_ptr<SegmentFile>& file,
                                     FileIdentity& identity) noexcept {
  int fd = -1;
  int error = EEXIST;
  for (int i = 0; i < create_attempts_max && error == EEXIST; i++) {
    // A name is taken where an earlier attempt reported a failure for what had happened.
    if (i > 0) number++;
    error = ops_.open_new(fd_, private_segment_name(number).c_str(), fd);
  }
  if (error != 0) return failure(FileOperation::open, error);
  struct stat status;
  if (::fstat(fd, &status) != 0) {
    error = errno;
    // The name stays taken, and its number is given up: a removal that is done late must not meet another file there.
    ops_.close(fd);
    return {"fstat", error};
  }
  identity = {status.st_dev, status.st_ino};
  file = std::make_unique<SegmentFile>(ops_, number, fd);
  return {};
}

FileFailure SegmentDirectory::publish(uint64_t number, const FileIdentity& identity) noexcept {
  const std::string name = segment_name(number);
  // Never by rename: that would replace. A request to create the private file that was reported as failed can be carried out
  // after the segment has got its name; a rename that is repeated, or late, would then put nothing in the place of jobs.
  const int error = ops_.link(fd_, private_segment_name(number).c_str(), name.c_str());
  struct stat status;
  if (::fstatat(fd_, name.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0 && status.st_dev == identity.device &&
      status.st_ino == identity.inode) {
    remove_private(number);
    return {};
  }
  return failure(FileOperation::link, error != 0 ? error : EIO);
}

FileFailure SegmentDirectory::sync() noexcept { return failure(FileOperation::syncdir, ops_.syncdir(fd_)); }

void SegmentDirectory::remove_private(uint64_t number) noexcept {
  ::unlinkat(fd_, private_segment_name(number).c_str(), 0);
}

FileFailure SegmentDirectory::free_bytes(uint64_t& bytes) noexcept {
  return {"statvfs", ops_.free_bytes(fd_, bytes)};
}

FileFailure SegmentDirectory::probe() noexcept {
  int fd = -1;
  int error = ops_.open_new(fd_, probe_name, fd);
  if (error == EEXIST) {
    // Left over from a probe that failed or a process that died.
    ::unlinkat(fd_, probe_name, 0);
    error = ops_.open_new(fd_, probe_name, fd);
  }
  if (error != 0) return failure(FileOperation::open, error);
  // As large commits are written, where that can be.
  alignas(block_bytes) static constexpr uint8_t zeroes[probe_bytes] = {};
  ops_.begin_direct(fd);
  iovec part = {const_cast<uint8_t*>(zeroes), probe_bytes};
  FileFailure found = failure(FileOperation::write, ops_.write_all(fd, &part, 1, 0));
  if (!found) found = failure(FileOperation::fdatasync, ops_.fdatasync(fd));
  error = ops_.close(fd);
  if (!found) found = failure(FileOperation::close, error);
  ::unlinkat(fd_, probe_name, 0);
  return found;
}

}  // namespace usher
