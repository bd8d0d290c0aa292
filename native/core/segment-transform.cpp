#include "segment-transform.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string_view>

namespace usher {
namespace {

constexpr std::string_view closing_tag = "</segment>\n";
}  // namespace

int SegmentTransform::read(int fd, bool direct) noexcept {
  clear();
  struct stat about {};
  if (fstat(fd, &about) != 0) return errno;
  const size_t size = static_cast<size_t>(about.st_size < 0 ? 0 : about.st_size);
  if (direct && size >= direct_bytes_min) begin_direct(fd);
  // A block beyond the size that it was said to have: it may have grown.
  size_t wanted = (size / block_bytes + 1) * block_bytes;
  for (;;) {
    uint8_t* const to = xml_.room(wanted);
    if (to == nullptr) {
      clear();
      return ENOMEM;
    }
    const ssize_t got = pread(fd, to, wanted, static_cast<off_t>(xml_.size()));
    if (got < 0) {
      const int error = errno;
      if (error == EINTR || (error == EINVAL && end_direct(fd))) continue;
      clear();
      return error;
    }
    if (got == 0) {
      // Nobody reads it again soon, and pages that have just been used are cheaper to the next segment than fresh ones.
      static_cast<void>(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED));
      return 0;
    }
    xml_.end_at(to + got);
    // The end, most likely; from within a block only the cache reads on.
    if (xml_.size() % block_bytes != 0) end_direct(fd);
    wanted = static_cast<size_t>(got) < wanted ? wanted - static_cast<size_t>(got) : block_bytes;
  }
}

int SegmentTransform::close_after(size_t bytes) noexcept {
  if (bytes > xml_.size()) return EINVAL;
  xml_.end_at(xml_.data() + bytes);
  uint8_t* const to = xml_.room(closing_tag.size());
  if (to == nullptr) return ENOMEM;
  std::memcpy(to, closing_tag.data(), closing_tag.size());
  xml_.end_at(to + closing_tag.size());
  return 0;
}

TransformOutcome SegmentTransform::run() noexcept {
  // Lines come out longer than jobs go in; where that isn't enough the buffer grows.
  if (!lines_) lines_.emplace(xml_.size() + xml_.size() / 2);
  return transform(xml_.bytes(), *lines_);
}

std::span<const uint8_t> SegmentTransform::lines() noexcept {
  if (!lines_) return {};
  return {lines_->data(), lines_->size()};
}

int SegmentTransform::write(int fd) noexcept {
  const std::span<const uint8_t> all = lines();
  for (size_t done = 0; done < all.size();) {
    const ssize_t put = pwrite(fd, all.data() + done, all.size() - done, static_cast<off_t>(done));
    if (put < 0) {
      if (errno == EINTR) continue;
      return errno;
    }
    // A file system that takes nothing and says no error would be asked for ever.
    if (put == 0) return EIO;
    done += static_cast<size_t>(put);
  }
  return 0;
}

void SegmentTransform::clear() noexcept {
  if (xml_.capacity() > kept_bytes_max) xml_.release();
  xml_.clear();
  if (lines_ && lines_->capacity() > kept_bytes_max) lines_.reset();
  if (lines_) lines_->truncate(0);
}

}  // namespace usher
