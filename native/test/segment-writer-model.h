// The segment writer on a real directory, for tests: file operations that are noted, held back, or done by the test itself,
// and a listener that can be waited on.
#pragma once

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "../core/direct-io.h"
#include "../core/segment-recovery.h"
#include "../core/segment-writer.h"
#include "check.h"

namespace usher::test {

inline constexpr int64_t ms = 1'000'000;

class TemporaryFolder {
 public:
  TemporaryFolder() {
    char name[] = "/tmp/usher-writer-XXXXXX";
    path_ = mkdtemp(name);
  }
  ~TemporaryFolder() {
    for (const std::string& name : names()) unlink((path_ + "/" + name).c_str());
    rmdir(path_.c_str());
  }
  const std::string& path() const { return path_; }
  std::set<std::string> names() const {
    std::set<std::string> all;
    DIR* directory = opendir(path_.c_str());
    while (const dirent* entry = readdir(directory)) {
      if (entry->d_name[0] != '.') all.insert(entry->d_name);
    }
    closedir(directory);
    return all;
  }
  std::string read(const std::string& name) const {
    std::string all;
    const int fd = ::open((path_ + "/" + name).c_str(), O_RDONLY);
    if (fd < 0) return all;
    char part[4096];
    ssize_t length;
    while ((length = ::read(fd, part, sizeof part)) > 0) all.append(part, static_cast<size_t>(length));
    ::close(fd);
    return all;
  }

 private:
  std::string path_;
};

inline SegmentRecovery recover(const std::string& document) {
  return recover_segment({reinterpret_cast<const uint8_t*>(document.data()), document.size()});
}

// The sequences of the jobs in the first `bytes` of a document.
inline std::vector<uint64_t> sequences_in(const std::string& document, size_t bytes) {
  std::vector<uint64_t> all;
  const std::string mark = "<job seq=\"";
  for (size_t at = 0; (at = document.find(mark, at)) < bytes; at += mark.size()) {
    all.push_back(std::strtoull(document.c_str() + at + mark.size(), nullptr, 10));
  }
  return all;
}

// Whether files there can be written past the page cache.
inline bool can_be_direct(const TemporaryFolder& folder) {
  const int fd = ::open(folder.path().c_str(), O_TMPFILE | O_WRONLY, 0600);
  const bool can = fd >= 0 && begin_direct(fd);
  if (fd >= 0) ::close(fd);
  return can;
}

inline bool ends_with_space(const std::string& document, const std::string& end) {
  const size_t last = document.find_last_not_of(" \n");
  return last != std::string::npos && document.substr(0, last + 1).ends_with(end) && document.ends_with("\n") &&
         document.size() % block_bytes == 0;
}

// Holds syncs back, says what was done in which order, and does what `link_` and `write_` say instead of
// its own.
class TestOps : public FileOps {
 public:
  using FileOps::FileOps;

  int write_some(int fd, const iovec* parts, int count, uint64_t offset, size_t& written) noexcept override {
    note("write");
    if (write_) return write_(fd, parts, count, offset, written);
    return FileOps::write_some(fd, parts, count, offset, written);
  }
  int fdatasync(int fd) noexcept override {
    note("fdatasync");
    std::unique_lock lock(mutex_);
    holding_ = true;
    changed_.notify_all();
    changed_.wait(lock, [this] { return !hold_; });
    holding_ = false;
    return FileOps::fdatasync(fd);
  }
  int close(int fd) noexcept override {
    note("close");
    return FileOps::close(fd);
  }
  int link(int directory, const char* from, const char* to) noexcept override {
    note("link");
    if (link_) return link_(directory, from, to);
    return FileOps::link(directory, from, to);
  }
  int syncdir(int directory) noexcept override {
    note("syncdir");
    return FileOps::syncdir(directory);
  }
  int open_new(int directory, const char* name, int& fd) noexcept override {
    note("open");
    return FileOps::open_new(directory, name, fd);
  }
  int free_bytes(int directory, uint64_t& bytes) noexcept override {
    if (free_bytes_ == UINT64_MAX) return FileOps::free_bytes(directory, bytes);
    bytes = free_bytes_;
    return 0;
  }

  void note(const char* operation) {
    const std::lock_guard guard(mutex_);
    done_ += std::string(done_.empty() ? "" : " ") + operation;
  }
  // Waits until exactly this has been done since take_done().
  void wait_done(const std::string& all) {
    while (true) {
      {
        const std::lock_guard guard(mutex_);
        if (done_ == all) return;
      }
      usleep(100);
    }
  }
  std::string take_done() {
    const std::lock_guard guard(mutex_);
    return std::exchange(done_, {});
  }
  void hold() {
    const std::lock_guard guard(mutex_);
    hold_ = true;
    holding_ = false;
  }
  void wait_held() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return holding_; });
  }
  void let_go() {
    const std::lock_guard guard(mutex_);
    hold_ = false;
    changed_.notify_all();
  }

  std::function<int(int, const iovec*, int, uint64_t, size_t&)> write_;
  std::function<int(int, const char*, const char*)> link_;
  std::atomic<uint64_t> free_bytes_{UINT64_MAX};

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::string done_;
  bool hold_ = false;
  bool holding_ = false;
};

struct Heard {
  std::vector<uint64_t> committed;
  std::map<uint64_t, Code> refused;
  // Number → jobs.
  std::map<uint64_t, uint32_t> published;
  std::vector<uint64_t> abandoned;
  std::vector<std::string> failures;
  int commits = 0;
  int recovered = 0;
  int retired = 0;
  int stopped = 0;
};

class TestListener : public SegmentWriterListener {
 public:
  // Waits until `condition` holds for what was heard. A writer that never gets there hangs the test: seen by
  // all.
  template <class Condition>
  void wait(Condition condition) {
    std::unique_lock lock(mutex_);
    const bool held = changed_.wait_for(lock, std::chrono::seconds(60), [&] { return condition(heard_); });
    CHECK(held);
    if (!held) std::abort();
  }
  Heard heard() {
    const std::lock_guard guard(mutex_);
    return heard_;
  }

  void committed(const Group& group) noexcept override {
    change([&group](Heard& heard) {
      heard.commits++;
      each(group, [&heard](uint64_t sequence) { heard.committed.push_back(sequence); });
    });
  }
  void refused(const Group& group, Code code) noexcept override {
    change([&group, code](Heard& heard) {
      each(group, [&heard, code](uint64_t sequence) { heard.refused[sequence] = code; });
    });
  }
  void uncommitted(uint64_t) noexcept override {}
  void published(uint64_t segment, uint32_t jobs, uint64_t) noexcept override {
    change([=](Heard& heard) { heard.published[segment] = jobs; });
  }
  void abandoned(uint64_t segment) noexcept override {
    change([=](Heard& heard) { heard.abandoned.push_back(segment); });
  }
  void failing(Code code, const char* operation, int error) noexcept override {
    change([&](Heard& heard) {
      heard.failures.push_back(std::string(code == Code::store_full ? "full " : "failing ") + operation + " " +
                               errno_name(error));
    });
  }
  void recovered() noexcept override {
    change([](Heard& heard) { heard.recovered++; });
  }
  void retired() noexcept override {
    change([](Heard& heard) { heard.retired++; });
  }
  void stopped() noexcept override {
    change([](Heard& heard) { heard.stopped++; });
  }

 private:
  template <class Visit>
  static void each(const Group& group, Visit visit) {
    for (const Share& share : group.shares) {
      for (uint32_t at = share.first_run; at != no_run; at = group.runs[at].next) {
        for (uint32_t i = 0; i < group.runs[at].count; i++) visit(group.runs[at].first + i);
      }
    }
  }
  template <class Change>
  void change(Change change) {
    const std::lock_guard guard(mutex_);
    change(heard_);
    changed_.notify_all();
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  Heard heard_;
};

inline SegmentWriterOptions options_for(const TemporaryFolder& folder) {
  SegmentWriterOptions options;
  options.directory = folder.path();
  options.stamp = {"00000000-0000-4000-8000-000000000000", "h\"<&", "i", 1, "0.1.0", "c"};
  options.segment_bytes_max = 1 << 20;
  options.segment_age_ns = 3'600'000 * ms;
  options.seal_interval_ns = 0;
  options.reserve_bytes = 0;
  options.accept_lease_ns = 3'600'000 * ms;
  options.retry_ns = ms;
  return options;
}

struct Fixture {
  explicit Fixture(std::unique_ptr<FileOps> ops_ = std::make_unique<TestOps>(), size_t group_bytes_max = 1 << 20)
      : ops(std::move(ops_)), queue(group_bytes_max), options(options_for(folder)) {}

  void start(bool with_presence = true) {
    writer = std::make_unique<SegmentWriter>(options, queue, *ops, listener);
    if (with_presence) writer->presence_written(boot_ns());
    CHECK(!writer->start());
  }
  // Waits until the first segment has been made ahead.
  void settle() {
    while (queue.refusal() == Code::none && !folder.names().contains("0000000001.xml.part")) usleep(100);
  }
  // One frame of these jobs; false when they are refused at the door.
  bool send(std::initializer_list<uint64_t> sequences) { return send(std::vector<uint64_t>(sequences)); }
  bool send(const std::vector<uint64_t>& sequences) {
    const bool taken = append(sequences);
    queue.wake();
    return taken;
  }
  bool append(const std::vector<uint64_t>& sequences) {
    GroupQueue::Appender appender(queue, 1, cursor);
    if (appender.refusal() != Code::none) return false;
    for (const uint64_t sequence : sequences) {
      const std::string line =
          "<job seq=\"" + std::to_string(sequence) + "\" x=\"" + std::string(filler, 'x') + "\"/>\n";
      uint8_t* room = appender.room(line.size());
      std::copy(line.begin(), line.end(), room);
      appender.add(room + line.size(), sequence);
    }
    return true;
  }
  void stop() {
    queue.stop();
    listener.wait([](const Heard& heard) { return heard.stopped > 0; });
  }
  TestOps& test_ops() { return static_cast<TestOps&>(*ops); }

  TemporaryFolder folder;
  std::unique_ptr<FileOps> ops;
  GroupQueue queue;
  TestListener listener;
  SegmentWriterOptions options;
  ShareCursor cursor;
  // How much larger a job is.
  size_t filler = 0;
  std::unique_ptr<SegmentWriter> writer;
};

inline bool published_something(const Heard& heard) { return !heard.published.empty(); }

}  // namespace usher::test
