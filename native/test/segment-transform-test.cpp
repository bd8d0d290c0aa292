#include "../core/segment-transform.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <string>

#include "check.h"
#include "segment-model.h"

namespace usher {
namespace {

using namespace usher::test;

enum class In { memory, folder };

// A file without a name.
class File {
 public:
  explicit File(std::string_view content = {}, In in = In::memory)
      : fd_(in == In::memory ? memfd_create("segment", 0) : open("/tmp", O_TMPFILE | O_RDWR, 0600)) {
    CHECK(fd_ >= 0);
    CHECK_EQ(::write(fd_, content.data(), content.size()), static_cast<ssize_t>(content.size()));
  }
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  ~File() { close(fd_); }

  int fd() const { return fd_; }
  std::string content() const {
    std::string content(static_cast<size_t>(lseek(fd_, 0, SEEK_END)), '\0');
    CHECK_EQ(pread(fd_, content.data(), content.size(), 0), static_cast<ssize_t>(content.size()));
    return content;
  }

 private:
  int fd_;
};

std::string segment_of(uint64_t jobs) {
  std::string xml = segment_head;
  for (uint64_t job = 1; job <= jobs; job++) xml += job_line(job);
  return xml + mark_behind(xml, jobs);
}

std::string lines_of(std::string_view xml) {
  const Transformed result = transform(as_bytes(xml));
  CHECK(!result.failure);
  return {reinterpret_cast<const char*>(result.jsonl.get()), result.bytes};
}

}  // namespace

TEST("makes the same lines of a file as of its bytes, whatever was held before") {
  SegmentTransform segment;
  for (const uint64_t jobs : {3u, 4000u, 1u, 0u, 200u}) {
    const std::string xml = segment_of(jobs) + segment_tail;
    CHECK_EQ(segment.read(File(xml).fd(), true), 0);
    CHECK_EQ(segment.xml().size(), xml.size());
    const TransformOutcome outcome = segment.run();
    CHECK(!outcome.failure);
    CHECK_EQ(outcome.jobs, jobs);
    const File to;
    CHECK_EQ(segment.write(to.fd()), 0);
    CHECK(to.content() == lines_of(xml));
  }
}

TEST("reads a large file past the page cache to the same bytes, wherever it ends") {
  SegmentTransform segment;
  const File here({}, In::folder);
  const bool possible = begin_direct(here.fd());
  std::string content;
  while (content.size() < 3 * direct_bytes_min) content += job_line(content.size());
  for (const size_t size : {size_t{2 * direct_bytes_min}, size_t{direct_bytes_min}, size_t{direct_bytes_min + 1},
                            size_t{direct_bytes_min + 2 * block_bytes - 1}, size_t{direct_bytes_min - 1}}) {
    for (const bool direct : {true, false}) {
      const std::string_view whole = std::string_view(content).substr(0, size);
      const File file(whole, In::folder);
      CHECK_EQ(segment.read(file.fd(), direct), 0);
      const std::span<const uint8_t> held = segment.xml();
      CHECK(std::string_view(reinterpret_cast<const char*>(held.data()), held.size()) == whole);
      // Within a block it ends by way of the cache.
      CHECK_EQ(is_direct(file.fd()), possible && direct && size >= direct_bytes_min && size % block_bytes == 0);
    }
  }
}

TEST("closes a segment that was never sealed behind its last whole commit") {
  const std::string whole = segment_of(2);
  SegmentTransform segment;
  CHECK_EQ(segment.read(File(whole + "<job id=\"9f8c2e").fd(), true), 0);
  const SegmentRecovery recovery = segment.recover();
  CHECK(!recovery.sealed && !recovery.corrupt);
  CHECK_EQ(recovery.jobs, 2u);
  CHECK_EQ(segment.close_after(recovery.bytes), 0);
  CHECK_EQ(segment.run().jobs, 2u);
  const File to;
  CHECK_EQ(segment.write(to.fd()), 0);
  CHECK(to.content() == lines_of(whole + segment_tail));
  CHECK_EQ(segment.close_after(segment.xml().size() + 1), EINVAL);
}

TEST("holds nothing of a segment that failed or was let go of") {
  SegmentTransform segment;
  CHECK_EQ(segment.read(File(segment_of(2) + segment_tail).fd(), true), 0);
  CHECK(!segment.run().failure);
  CHECK(!segment.lines().empty());
  CHECK_EQ(segment.read(File("<a/>").fd(), true), 0);
  CHECK(static_cast<bool>(segment.run().failure));
  CHECK(segment.lines().empty());
  segment.clear();
  CHECK_EQ(segment.xml().size(), 0u);
  const File to;
  CHECK_EQ(segment.write(to.fd()), 0);
  CHECK(to.content().empty());
}

TEST("gives the errno of a file that can't be read or written") {
  SegmentTransform segment;
  CHECK_EQ(segment.read(-1, true), EBADF);
  CHECK_EQ(segment.read(File(segment_of(2) + segment_tail).fd(), true), 0);
  CHECK(!segment.run().failure);
  CHECK_EQ(segment.write(-1), EBADF);
  const int full = open("/dev/full", O_WRONLY);
  if (CHECK(full >= 0)) CHECK_EQ(segment.write(full), ENOSPC);
  close(full);
}

}  // namespace usher
