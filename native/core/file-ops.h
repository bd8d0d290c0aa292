// The file operations of the segment writer, so that tests can make each of them fail, hang or lie. Every one
// reports 0 or an errno; nothing here decides what a failure means.
#pragma once

#include <sys/uio.h>

#include <cstdint>
#include <string>
#include <vector>

namespace usher {

enum class FileOperation : uint8_t { open, write, fdatasync, close, link, syncdir };
inline constexpr size_t file_operation_count = 6;
const char* name_of(FileOperation operation) noexcept;

// An errno's name ("ENOSPC").
std::string errno_name(int error);

// Used by one thread.
class FileOps {
 public:
  // `direct`: large writes may go past the page cache.
  explicit FileOps(bool direct = true) noexcept : direct_(direct) {}
  virtual ~FileOps() = default;

  // A new file under `name`, for writing; the name must not exist. `fd` is only set on success.
  virtual int open_new(int directory, const char* name, int& fd) noexcept;
  // What is written from now on goes past the page cache, in blocks of aligned memory, at multiples of blocks. False: it
  // doesn't, because the file system can't or nobody wants it.
  virtual bool begin_direct(int fd) noexcept;
  // May write less than asked for; `written` says how much.
  virtual int write_some(int fd, const iovec* parts, int count, uint64_t offset, size_t& written) noexcept;
  virtual int fdatasync(int fd) noexcept;
  virtual int close(int fd) noexcept;
  virtual int link(int directory, const char* from, const char* to) noexcept;
  virtual int syncdir(int directory) noexcept;
  virtual int free_bytes(int directory, uint64_t& bytes) noexcept;

  // All of it: goes on after short writes and interruptions, and through the page cache where the file system says only now
  // that it can't do without. `parts` is changed.
  int write_all(int fd, iovec* parts, int count, uint64_t offset) noexcept;

 private:
  const bool direct_;
};

// The nth call of an operation (1-based) and the times − 1 calls after it fail with `error`. A failing write
// leaves half of its bytes in the file (of its blocks, past the page cache), as a full disk does.
struct FileFault {
  FileOperation operation;
  uint64_t nth;
  uint64_t times;
  int error;
};

class FaultyFileOps final : public FileOps {
 public:
  explicit FaultyFileOps(std::vector<FileFault> faults, bool direct = true) noexcept
      : FileOps(direct), faults_(std::move(faults)) {}

  int open_new(int directory, const char* name, int& fd) noexcept override;
  int write_some(int fd, const iovec* parts, int count, uint64_t offset, size_t& written) noexcept override;
  int fdatasync(int fd) noexcept override;
  int close(int fd) noexcept override;
  int link(int directory, const char* from, const char* to) noexcept override;
  int syncdir(int directory) noexcept override;

 private:
  int fault(FileOperation operation) noexcept;

  std::vector<FileFault> faults_;
  uint64_t calls_[file_operation_count] = {};
};

}  // namespace usher
