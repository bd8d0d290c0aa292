#include "file-ops.h"

#include <fcntl.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "direct-io.h"

namespace usher {

const char* name_of(FileOperation operation) noexcept {
  static constexpr const char* names[file_operation_count] = {"open",  "write",  "fdatasync",
                                                              "close", "link",   "syncdir"};
  return names[static_cast<size_t>(operation)];
}

std::string errno_name(int error) {
#ifdef __GLIBC__
  if (const char* name = strerrorname_np(error); name != nullptr) return name;
#endif
  return "errno " + std::to_string(error);
}

int FileOps::open_new(int directory, const char* name, int& fd) noexcept {
  int opened;
  do {
    opened = ::openat(directory, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0640);
  } while (opened < 0 && errno == EINTR);
  if (opened < 0) return errno;
  fd = opened;
  return 0;
}

bool FileOps::begin_direct(int fd) noexcept { return direct_ && usher::begin_direct(fd); }

int FileOps::write_some(int fd, const iovec* parts, int count, uint64_t offset, size_t& written) noexcept {
  const ssize_t result = ::pwritev(fd, parts, count, static_cast<off_t>(offset));
  if (result < 0) return errno;
  written = static_cast<size_t>(result);
  return 0;
}

int FileOps::fdatasync(int fd) noexcept {
  // An interrupted sync says nothing about errors it may have consumed, so it isn't repeated but reported.
  return ::fdatasync(fd) == 0 ? 0 : errno;
}

int FileOps::close(int fd) noexcept {
  // Never repeated: after EINTR the descriptor is gone too.
  return ::close(fd) == 0 ? 0 : errno;
}

int FileOps::link(int directory, const char* from, const char* to) noexcept {
  return ::linkat(directory, from, directory, to, 0) == 0 ? 0 : errno;
}

int FileOps::syncdir(int directory) noexcept { return ::fsync(directory) == 0 ? 0 : errno; }

int FileOps::free_bytes(int directory, uint64_t& bytes) noexcept {
  struct statvfs status;
  if (::fstatvfs(directory, &status) != 0) return errno;
  bytes = static_cast<uint64_t>(status.f_bavail) * status.f_frsize;
  return 0;
}

int FileOps::write_all(int fd, iovec* parts, int count, uint64_t offset) noexcept {
  while (true) {
    while (count > 0 && parts->iov_len == 0) parts++, count--;
    if (count == 0) return 0;
    size_t written = 0;
    const int error = write_some(fd, parts, count, offset, written);
    if (error == EINTR) continue;
    if (error == EINVAL && end_direct(fd)) continue;
    if (error != 0) return error;
    // A file system that takes nothing and says nothing would keep us here for ever.
    if (written == 0) return EIO;
    // The rest begins within a block: it could only be written together with what has been.
    if (written % block_bytes != 0 && is_direct(fd)) return EIO;
    offset += written;
    for (; count > 0 && written >= parts->iov_len; parts++, count--) written -= parts->iov_len;
    if (count > 0) {
      parts->iov_base = static_cast<uint8_t*>(parts->iov_base) + written;
      parts->iov_len -= written;
    }
  }
}

int FaultyFileOps::fault(FileOperation operation) noexcept {
  const uint64_t call = ++calls_[static_cast<size_t>(operation)];
  for (const FileFault& fault : faults_) {
    if (fault.operation == operation && call >= fault.nth && call - fault.nth < fault.times) return fault.error;
  }
  return 0;
}

int FaultyFileOps::open_new(int directory, const char* name, int& fd) noexcept {
  if (const int error = fault(FileOperation::open); error != 0) return error;
  return FileOps::open_new(directory, name, fd);
}

int FaultyFileOps::write_some(int fd, const iovec* parts, int count, uint64_t offset, size_t& written) noexcept {
  const int error = fault(FileOperation::write);
  if (error == 0) return FileOps::write_some(fd, parts, count, offset, written);
  size_t total = 0;
  for (int i = 0; i < count; i++) total += parts[i].iov_len;
  size_t left = total / 2;
  if (is_direct(fd)) left -= left % block_bytes;
  for (int i = 0; i < count && left > 0; i++) {
    const size_t length = parts[i].iov_len < left ? parts[i].iov_len : left;
    // What reaches the file here is torn on purpose; whether it does is no matter.
    if (::pwrite(fd, parts[i].iov_base, length, static_cast<off_t>(offset)) < 0) break;
    offset += length;
    left -= length;
  }
  return error;
}

int FaultyFileOps::fdatasync(int fd) noexcept {
  const int error = fault(FileOperation::fdatasync);
  return error != 0 ? error : FileOps::fdatasync(fd);
}

int FaultyFileOps::close(int fd) noexcept {
  const int error = fault(FileOperation::close);
  const int real = FileOps::close(fd);
  return error != 0 ? error : real;
}

int FaultyFileOps::link(int directory, const char* from, const char* to) noexcept {
  const int error = fault(FileOperation::link);
  return error != 0 ? error : FileOps::link(directory, from, to);
}

int FaultyFileOps::syncdir(int directory) noexcept {
  const int error = fault(FileOperation::syncdir);
  return error != 0 ? error : FileOps::syncdir(directory);
}

}  // namespace usher
