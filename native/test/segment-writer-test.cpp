// The segment writer on a real directory, with file operations that fail, hang and lie when told to.
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>

#include "segment-writer-model.h"

namespace usher::test {
namespace {

TEST("a lone job costs one write and one sync, then its segment is published and the next one made") {
  Fixture fixture;
  fixture.start();
  fixture.test_ops().wait_done("open syncdir");
  fixture.test_ops().take_done();
  fixture.send({7});
  fixture.test_ops().wait_done("write fdatasync close link open syncdir");
  CHECK(fixture.listener.heard().published == (std::map<uint64_t, uint32_t>{{1, 1}}));
  CHECK(fixture.listener.heard().committed == std::vector<uint64_t>{7});
  CHECK(fixture.folder.names() == (std::set<std::string>{"0000000001.xml", "0000000002.xml.part"}));
  const std::string document = fixture.folder.read("0000000001.xml");
  CHECK(document.starts_with("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<segment xmlns=\"urn:usher:segment:1\" "
                             "store=\"00000000-0000-4000-8000-000000000000\" host=\"h&quot;&lt;&amp;\" "
                             "instance=\"i\" pid=\"1\" version=\"0.1.0\" config=\"c\" number=\"1\" opened=\"20"));
  CHECK(ends_with_space(document, "?>\n</segment>"));
  CHECK_EQ(document.size(), block_bytes);
  const SegmentRecovery recovery = recover(document);
  CHECK(recovery.sealed && !recovery.corrupt);
  CHECK_EQ(recovery.jobs, 1);
  fixture.stop();
  // The empty one that was made ahead doesn't stay.
  CHECK(fixture.folder.names() == std::set<std::string>{"0000000001.xml"});
}

TEST("nothing is committed before its sync, and what comes meanwhile shares the next") {
  Fixture fixture;
  fixture.start();
  fixture.settle();
  fixture.test_ops().hold();
  fixture.send({1});
  fixture.test_ops().wait_held();
  for (uint64_t i = 2; i <= 50; i++) fixture.send({i});
  CHECK_EQ(fixture.listener.heard().commits, 0);
  CHECK(fixture.queue.uncommitted_bytes() > 0);
  fixture.test_ops().let_go();
  fixture.listener.wait([](const Heard& heard) { return heard.committed.size() == 50; });
  CHECK_EQ(fixture.listener.heard().commits, 2);
  fixture.stop();
  CHECK_EQ(fixture.queue.uncommitted_bytes(), 0);
}

TEST("segments are sealed by size, with every mark true and no job lost") {
  Fixture fixture(std::make_unique<TestOps>(), 500);
  fixture.options.segment_bytes_max = 6000;
  fixture.options.seal_interval_ns = 3'600'000 * ms;
  fixture.start();
  std::vector<uint64_t> sent;
  for (uint64_t i = 0; i < 3000; i += 10) {
    std::vector<uint64_t> frame;
    for (uint64_t j = i; j < i + 10; j++) frame.push_back(j);
    CHECK(fixture.send(frame));
    sent.insert(sent.end(), frame.begin(), frame.end());
  }
  fixture.stop();
  const Heard heard = fixture.listener.heard();
  CHECK(heard.committed == sent);
  CHECK(heard.published.size() > 20);
  std::vector<uint64_t> found;
  uint64_t number = 1;
  for (const auto& [segment, jobs] : heard.published) {
    CHECK_EQ(segment, number++);
    const std::string document = fixture.folder.read(segment_name(segment));
    const SegmentRecovery recovery = recover(document);
    CHECK(recovery.sealed && !recovery.corrupt);
    CHECK_EQ(recovery.jobs, jobs);
    // A block for each group, and no group is as large as one.
    CHECK(document.size() <= 3 * block_bytes && ends_with_space(document, "</segment>"));
    const auto in = sequences_in(document, document.size());
    CHECK_EQ(in.size(), jobs);
    found.insert(found.end(), in.begin(), in.end());
  }
  CHECK(found == sent);
}

TEST("a segment is sealed when it is old, though jobs never stop coming and the interval is far off") {
  Fixture fixture;
  fixture.options.segment_age_ns = 20 * ms;
  fixture.options.seal_interval_ns = 3'600'000 * ms;
  fixture.start();
  // The first is sealed at once, because nothing was sealed before.
  fixture.send({1});
  fixture.listener.wait(published_something);
  fixture.send({2});
  fixture.listener.wait([](const Heard& heard) { return heard.published.size() == 2; });
  CHECK_EQ(fixture.listener.heard().published[2], 1);
  fixture.stop();
}

TEST("after a sealing the next waits for the interval, and what came meanwhile is in one segment") {
  Fixture fixture;
  fixture.options.seal_interval_ns = 100 * ms;
  fixture.start();
  fixture.send({1});
  fixture.listener.wait(published_something);
  fixture.send({2});
  fixture.listener.wait([](const Heard& heard) { return heard.committed.size() == 2; });
  fixture.send({3});
  fixture.listener.wait([](const Heard& heard) { return heard.published.size() == 2; });
  CHECK_EQ(fixture.listener.heard().published[2], 2);
  fixture.stop();
  CHECK_EQ(fixture.listener.heard().published.size(), 2);
}

TEST("stopping seals what is open and publishes nothing that is empty") {
  Fixture fixture;
  fixture.options.seal_interval_ns = 3'600'000 * ms;
  fixture.start();
  fixture.send({1});
  fixture.listener.wait(published_something);
  fixture.send({2});
  fixture.stop();
  CHECK_EQ(fixture.listener.heard().published.size(), 2);
  CHECK(fixture.folder.names() == (std::set<std::string>{"0000000001.xml", "0000000002.xml"}));

  Fixture unused;
  unused.start();
  unused.stop();
  CHECK(unused.folder.names().empty());
}

TEST("what waits when the queue is stopped is committed, in however many segments it takes") {
  Fixture fixture(std::make_unique<TestOps>(), 100);
  fixture.options.segment_bytes_max = 1;
  fixture.start();
  fixture.settle();
  fixture.test_ops().hold();
  fixture.send({1});
  fixture.test_ops().wait_held();
  for (uint64_t i = 2; i <= 30; i++) fixture.send({i});
  fixture.queue.stop();
  fixture.test_ops().let_go();
  fixture.stop();
  CHECK_EQ(fixture.listener.heard().committed.size(), 30);
  CHECK(fixture.listener.heard().published.size() > 2);
  for (const std::string& name : fixture.folder.names()) CHECK(name.ends_with(".xml"));
}

TEST("short writes and interruptions go on where they ended") {
  Fixture fixture;
  int calls = 0;
  fixture.test_ops().write_ = [&](int fd, const iovec* parts, int, uint64_t offset, size_t& written) {
    if (calls++ % 3 == 0) return EINTR;
    iovec one = parts[0];
    one.iov_len = std::min<size_t>(one.iov_len, 7);
    const ssize_t result = pwritev(fd, &one, 1, static_cast<off_t>(offset));
    written = static_cast<size_t>(result);
    return result < 0 ? errno : 0;
  };
  fixture.start();
  fixture.send({1, 2, 3});
  fixture.listener.wait(published_something);
  CHECK(recover(fixture.folder.read("0000000001.xml")).sealed);
  CHECK(calls > 50);
  fixture.stop();
}

TEST("a write that takes nothing is a failure, not an endless loop") {
  Fixture fixture;
  std::atomic<bool> broken{true};
  fixture.test_ops().write_ = [&](int fd, const iovec* parts, int count, uint64_t offset, size_t& written) {
    if (!broken) return fixture.test_ops().FileOps::write_some(fd, parts, count, offset, written);
    written = 0;
    return 0;
  };
  fixture.start();
  fixture.send({1});
  fixture.listener.wait([](const Heard& heard) { return heard.refused.contains(1); });
  CHECK_EQ(fixture.listener.heard().failures.at(0), "failing write EIO");
  broken = false;
  fixture.listener.wait([](const Heard& heard) { return heard.recovered > 0; });
  fixture.stop();
}

TEST("a link that happened counts, whatever it reported") {
  Fixture fixture;
  fixture.test_ops().link_ = [](int directory, const char* from, const char* to) {
    linkat(directory, from, directory, to, 0);
    return EIO;
  };
  fixture.start();
  fixture.send({1});
  fixture.listener.wait(published_something);
  CHECK(fixture.listener.heard().failures.empty());
  fixture.stop();
}

TEST("a link that didn't happen is repeated until it does, whatever it reported") {
  for (const int reported : {0, EIO, ESTALE}) {
    Fixture fixture;
    std::atomic<int> calls{0};
    fixture.test_ops().link_ = [&](int directory, const char* from, const char* to) {
      return ++calls < 4 ? reported : fixture.test_ops().FileOps::link(directory, from, to);
    };
    fixture.start();
    fixture.send({1});
    fixture.listener.wait([](const Heard& heard) { return published_something(heard) && heard.recovered > 0; });
    CHECK_EQ(fixture.listener.heard().failures.size(), 1);
    CHECK(fixture.listener.heard().abandoned.empty());
    CHECK(fixture.listener.heard().committed == std::vector<uint64_t>{1});
    fixture.stop();
    CHECK(fixture.folder.names() == std::set<std::string>{"0000000001.xml"});
  }
}

TEST("below the reserve jobs are refused as store_full until there is room, and what is committed is published") {
  Fixture fixture;
  fixture.options.reserve_bytes = 1000;
  fixture.options.seal_interval_ns = 3'600'000 * ms;
  fixture.start();
  fixture.settle();
  fixture.send({1});
  fixture.listener.wait(published_something);
  fixture.send({2});
  fixture.listener.wait([](const Heard& heard) { return heard.committed.size() == 2; });
  fixture.test_ops().free_bytes_ = 999;
  uint64_t sequence = 3;
  while (fixture.listener.heard().failures.empty()) {
    fixture.send({sequence++});
    usleep(1000);
  }
  CHECK_EQ(fixture.listener.heard().failures[0], "full statvfs ENOSPC");
  CHECK(!fixture.send({sequence}));
  fixture.listener.wait([](const Heard& heard) { return heard.published.contains(2); });
  CHECK_EQ(fixture.listener.heard().recovered, 0);
  fixture.test_ops().free_bytes_ = 1000;
  fixture.listener.wait([](const Heard& heard) { return heard.recovered == 1; });
  CHECK(fixture.send({1000}));
  fixture.stop();
  const Heard heard = fixture.listener.heard();
  CHECK_EQ(heard.committed.back(), 1000);
  CHECK(heard.abandoned.empty());
}

TEST("without a presence write nothing is acknowledged, and nothing is taken any more") {
  Fixture fixture;
  fixture.start(false);
  fixture.send({1});
  fixture.listener.wait([](const Heard& heard) { return heard.retired == 1; });
  CHECK_EQ(fixture.queue.refusal() == Code::retired, true);
  CHECK(!fixture.send({2}));
  fixture.stop();
  const Heard heard = fixture.listener.heard();
  CHECK(heard.committed.empty() && heard.published.empty() && heard.abandoned.empty());
  CHECK(heard.refused == (std::map<uint64_t, Code>{{1, Code::retired}}));
}

TEST("an accept lease that ran out between two presence writes doesn't come back") {
  Fixture fixture;
  fixture.options.accept_lease_ns = 50 * ms;
  fixture.start();
  usleep(80'000);
  fixture.writer->presence_written(boot_ns());
  fixture.send({1});
  fixture.listener.wait([](const Heard& heard) { return heard.retired == 1; });
  CHECK(!fixture.send({2}));
  fixture.stop();
  CHECK(fixture.listener.heard().committed.empty());
}

TEST("an accept lease that runs out during the sync takes the ack with it") {
  Fixture fixture;
  fixture.options.accept_lease_ns = 200 * ms;
  fixture.start();
  fixture.settle();
  fixture.send({1});
  fixture.listener.wait(published_something);
  fixture.test_ops().hold();
  fixture.send({2});
  fixture.test_ops().wait_held();
  fixture.send({3});
  fixture.writer->presence_written(boot_ns() - 300 * ms);
  const int64_t start = boot_ns();
  while (boot_ns() - start < 210 * ms) usleep(1000);
  fixture.test_ops().let_go();
  fixture.listener.wait([](const Heard& heard) { return heard.retired == 1; });
  fixture.stop();
  const Heard heard = fixture.listener.heard();
  CHECK(heard.committed == std::vector<uint64_t>{1});
  // 2 is on the store and in doubt; 3 never got there.
  CHECK(!heard.refused.contains(2));
  CHECK(heard.refused.contains(3) && heard.refused.at(3) == Code::retired);
  CHECK(!heard.published.contains(2));
}

// Sends until each of `jobs` jobs is committed, again and again what is refused, with faults on the way; then
// every committed job must be found where docs/store.md says, and nothing that isn't whole may have been
// published.
void survive(std::vector<FileFault> faults, const std::string& what, bool keep_open) {
  Fixture fixture(std::make_unique<FaultyFileOps>(std::move(faults)));
  fixture.options.segment_bytes_max = 10 * block_bytes;
  if (keep_open) fixture.options.seal_interval_ns = 3'600'000 * ms;
  fixture.start();
  constexpr uint64_t jobs = 40;
  std::set<uint64_t> done;
  for (uint64_t next = 0; next < jobs; next++) {
    const uint64_t sequence = next;
    // Larger than a block, so that half of them isn't all but padding; and some go past the page cache.
    fixture.filler = next % 8 == 5 ? 2 * direct_bytes_min : 3 * block_bytes;
    while (true) {
      const size_t commits = fixture.listener.heard().committed.size();
      if (!fixture.send({sequence})) {
        usleep(200);
        continue;
      }
      // Answered, one way or the other, when nothing is uncommitted.
      while (fixture.queue.uncommitted_bytes() > 0) usleep(50);
      if (fixture.listener.heard().committed.size() > commits) break;
    }
    done.insert(sequence);
  }
  fixture.stop();
  const Heard heard = fixture.listener.heard();
  CHECK_EQ(heard.committed.size(), jobs);
  std::set<uint64_t> found;
  for (const std::string& name : fixture.folder.names()) {
    const std::string document = fixture.folder.read(name);
    const SegmentRecovery recovery = recover(document);
    const uint64_t number = std::strtoull(name.c_str(), nullptr, 10);
    if (name.ends_with(".xml")) {
      CHECK(recovery.sealed);
      CHECK(heard.published.contains(number) && heard.published.at(number) == recovery.jobs);
    } else {
      CHECK(name.ends_with(".xml.part"));
      CHECK(std::count(heard.abandoned.begin(), heard.abandoned.end(), number) == 1);
    }
    CHECK(!recovery.corrupt);
    for (const uint64_t sequence : sequences_in(document, recovery.bytes)) found.insert(sequence);
  }
  // Every number is accounted for, so that whoever counts them up never waits for one.
  for (uint64_t number = 1; number <= heard.published.rbegin()->first; number++) {
    const bool given_up = std::count(heard.abandoned.begin(), heard.abandoned.end(), number) == 1;
    if (heard.published.contains(number) == given_up) {
      check(false, __FILE__, __LINE__, what + ": segment " + std::to_string(number));
    }
  }
  for (const uint64_t sequence : heard.committed) {
    if (!found.contains(sequence)) check(false, __FILE__, __LINE__, what + ": lost " + std::to_string(sequence));
  }
  CHECK(found == done);
}

TEST("any operation may fail at any time: nothing committed is lost, and all goes on when the store does") {
  for (size_t operation = 0; operation < file_operation_count; operation++) {
    for (uint64_t nth = 1; nth <= 12; nth++) {
      for (const uint64_t times : {1, 3}) {
        const FileFault fault{static_cast<FileOperation>(operation), nth, times, nth % 2 == 0 ? ENOSPC : EIO};
        survive({fault}, std::string(name_of(fault.operation)) + " " + std::to_string(nth), nth % 3 == 0);
      }
    }
  }
}

TEST("many operations may fail in one life") {
  Random random(seed());
  for (int round = 0; round < 10; round++) {
    std::vector<FileFault> faults;
    for (int i = 0; i < 8; i++) {
      faults.push_back({static_cast<FileOperation>(random.below(file_operation_count)), 1 + random.below(40),
                        1 + random.below(3), random.one_in(2) ? EIO : EDQUOT});
    }
    survive(std::move(faults), "round " + std::to_string(round), random.one_in(2));
  }
}

TEST("a failed sync abandons the segment with its committed jobs and refuses the others") {
  for (const auto& [operation, filler] :
       {std::pair(FileOperation::write, 2 * block_bytes), std::pair(FileOperation::write, 4 * direct_bytes_min),
        std::pair(FileOperation::fdatasync, 2 * block_bytes)}) {
    // The first commit is sealed at once; the second stays open; the third fails.
    Fixture fixture(std::make_unique<FaultyFileOps>(std::vector<FileFault>{{operation, 3, 1, ENOSPC}}));
    fixture.options.seal_interval_ns = 3'600'000 * ms;
    fixture.filler = filler;
    fixture.start();
    for (uint64_t i = 1; i <= 2; i++) {
      fixture.send({i});
      fixture.listener.wait([i](const Heard& heard) { return heard.committed.size() == i; });
    }
    fixture.send({3});
    fixture.listener.wait([](const Heard& heard) { return heard.recovered == 1; });
    fixture.send({4});
    fixture.stop();
    const Heard heard = fixture.listener.heard();
    CHECK(heard.committed == (std::vector<uint64_t>{1, 2, 4}));
    CHECK(heard.refused.at(3) == Code::store_full);
    CHECK(heard.abandoned == std::vector<uint64_t>{2});
    CHECK_EQ(heard.failures.at(0), std::string("full ") + name_of(operation) + " ENOSPC");
    const std::string torn = fixture.folder.read("0000000002.xml.part");
    const SegmentRecovery recovery = recover(torn);
    CHECK(!recovery.sealed && !recovery.corrupt);
    if (operation == FileOperation::write) {
      CHECK(sequences_in(torn, recovery.bytes) == std::vector<uint64_t>{2});
      // Half of the third is there, behind the padding of the second.
      const size_t second = (recovery.bytes / block_bytes + 1) * block_bytes;
      CHECK(torn.size() > second && torn.find("<job", second) == second);
      if (filler >= direct_bytes_min) CHECK_EQ(torn.size() % block_bytes, 0u);
    }
    CHECK(heard.published.contains(3));
  }
}

TEST("a directory that isn't there is said at the start") {
  Fixture fixture;
  fixture.options.directory += "/nowhere";
  fixture.writer = std::make_unique<SegmentWriter>(fixture.options, fixture.queue, *fixture.ops, fixture.listener);
  const FileFailure failure = fixture.writer->start();
  CHECK_EQ(failure.error, ENOENT);
}

TEST("many threads append at once, and each job is committed once") {
  Fixture fixture(std::make_unique<TestOps>(), 2000);
  fixture.options.segment_bytes_max = 20'000;
  fixture.start();
  struct Feeder {
    Fixture* fixture;
    uint64_t first;
    pthread_t thread;
  };
  std::vector<Feeder> feeders;
  for (uint64_t i = 0; i < 4; i++) feeders.push_back({&fixture, i * 1000, {}});
  for (Feeder& feeder : feeders) {
    pthread_create(
        &feeder.thread, nullptr,
        [](void* argument) -> void* {
          auto& self = *static_cast<Feeder*>(argument);
          ShareCursor cursor;
          for (uint64_t i = self.first; i < self.first + 1000; i++) {
            {
              GroupQueue::Appender appender(self.fixture->queue, self.first, cursor);
              const std::string line = "<job seq=\"" + std::to_string(i) + "\"/>\n";
              uint8_t* room = appender.room(line.size());
              std::copy(line.begin(), line.end(), room);
              appender.add(room + line.size(), i);
            }
            self.fixture->queue.wake();
          }
          return nullptr;
        },
        &feeder);
  }
  for (Feeder& feeder : feeders) pthread_join(feeder.thread, nullptr);
  fixture.stop();
  std::vector<uint64_t> committed = fixture.listener.heard().committed;
  std::sort(committed.begin(), committed.end());
  CHECK_EQ(committed.size(), 4000);
  for (uint64_t i = 0; i < committed.size(); i++) CHECK_EQ(committed[i], i);
  uint64_t published = 0;
  for (const auto& [segment, jobs] : fixture.listener.heard().published) published += jobs;
  CHECK_EQ(published, 4000);
}

}  // namespace
}  // namespace usher::test
