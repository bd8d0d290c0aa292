// The two small files of a run, written so that they are whole or not there: `NAME.run`, made by link(2),
// which only one runner can do, and `NAME.end`, made by rename(2). Both are lines of `key value`.
#pragma once

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <string>
#include <string_view>

namespace usher {

/// Closes what it holds. Where the error of closing matters, close() is called and looked at.
class Descriptor {
 public:
  explicit Descriptor(int fd) noexcept : fd_(fd) {}
  ~Descriptor() { (void)close(); }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  [[nodiscard]] int get() const noexcept { return fd_; }
  [[nodiscard]] bool open() const noexcept { return fd_ >= 0; }
  /// 0 or an errno. Never retried: after EINTR Linux has closed it all the same.
  int close() noexcept {
    if (fd_ < 0) return 0;
    const int result = ::close(fd_) == 0 ? 0 : errno;
    fd_ = -1;
    return result == EINTR ? 0 : result;
  }

 private:
  int fd_;
};

inline int write_all(int fd, std::string_view bytes) noexcept {
  while (!bytes.empty()) {
    const ssize_t put = ::write(fd, bytes.data(), bytes.size());
    if (put < 0) {
      if (errno == EINTR) continue;
      return errno;
    }
    bytes.remove_prefix(static_cast<std::size_t>(put));
  }
  return 0;
}

/// A new file with these bytes on stable storage, under a name that is the caller's alone. 0 or an errno; on
/// an error the file is removed again as well as that goes.
inline int write_private(int directory, const std::string& name, std::string_view bytes) noexcept {
  Descriptor file(::openat(directory, name.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640));
  if (!file.open()) return errno;
  int error = write_all(file.get(), bytes);
  if (error == 0 && ::fsync(file.get()) != 0) error = errno;
  const int closing = file.close();
  if (error == 0) error = closing;
  if (error != 0) (void)::unlinkat(directory, name.c_str(), 0);
  return error;
}

enum class Publish { done, taken, failed };

/// Gives the private file its public name unless the name is taken. What link(2) reports can be wrong on NFS
/// (a lost reply, resent), so the inode decides.
inline Publish link_exclusively(int directory, const std::string& from, const std::string& to,
                                int& error) noexcept {
  const int result = ::linkat(directory, from.c_str(), directory, to.c_str(), 0) == 0 ? 0 : errno;
  struct stat mine {};
  struct stat theirs {};
  if (::fstatat(directory, from.c_str(), &mine, AT_SYMLINK_NOFOLLOW) != 0) {
    error = errno;
    return Publish::failed;
  }
  if (::fstatat(directory, to.c_str(), &theirs, AT_SYMLINK_NOFOLLOW) != 0) {
    error = result != 0 ? result : errno;
    return Publish::failed;
  }
  if (mine.st_dev == theirs.st_dev && mine.st_ino == theirs.st_ino) return Publish::done;
  return Publish::taken;
}

/// 2026-11-23T04:00:00.123Z
inline std::string utc_now() noexcept {
  timespec now {};
  ::clock_gettime(CLOCK_REALTIME, &now);
  tm parts {};
  ::gmtime_r(&now.tv_sec, &parts);
  char text[80];
  const char* format = "%04d-%02d-%02dT%02d:%02d:%02d.%03ldZ";
  const int length = std::snprintf(text, sizeof text, format, parts.tm_year + 1900, parts.tm_mon + 1,
                                   parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec, now.tv_nsec / 1000000);
  return length > 0 ? std::string(text) : std::string();
}

/// The value of a record is the rest of its line, so it mustn't hold a line feed.
inline std::string one_line(std::string_view text) noexcept {
  std::string line(text);
  for (char& c : line) {
    if (c == '\n' || c == '\r') c = ' ';
  }
  return line;
}

}  // namespace usher
