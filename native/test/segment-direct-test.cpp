// How the segment writer writes past the page cache, and where it can't.
#include <algorithm>
#include <cerrno>

#include "segment-writer-model.h"

namespace usher::test {
namespace {

TEST("large groups are written past the page cache, in whole blocks from where they are, and small ones through it") {
  for (const bool wanted : {true, false}) {
    Fixture fixture(std::make_unique<TestOps>(wanted));
    fixture.options.seal_interval_ns = 3'600'000 * ms;
    const bool direct = wanted && can_be_direct(fixture.folder);
    std::vector<bool> ways;
    fixture.test_ops().write_ = [&](int fd, const iovec* parts, int count, uint64_t offset, size_t& written) {
      ways.push_back(is_direct(fd));
      CHECK_EQ(offset % block_bytes, 0u);
      for (int i = 0; i < count && is_direct(fd); i++) {
        CHECK_EQ(reinterpret_cast<uintptr_t>(parts[i].iov_base) % block_bytes, 0u);
        CHECK_EQ(parts[i].iov_len % block_bytes, 0u);
      }
      return fixture.test_ops().FileOps::write_some(fd, parts, count, offset, written);
    };
    fixture.start();
    // The first is sealed at once; the others share a segment. What follows a large one goes its way.
    uint64_t sequence = 0;
    for (const size_t filler : {direct_bytes_min, size_t{10}, size_t{direct_bytes_min}, size_t{20}}) {
      fixture.filler = filler;
      fixture.send({++sequence});
      fixture.listener.wait([=](const Heard& heard) { return heard.committed.size() == sequence; });
    }
    fixture.stop();
    CHECK(ways == (std::vector<bool>{direct, false, direct, direct, direct}));
    for (const auto& [name, jobs] : {std::pair("0000000001.xml", 1u), std::pair("0000000002.xml", 3u)}) {
      const std::string document = fixture.folder.read(name);
      const SegmentRecovery recovery = recover(document);
      CHECK(recovery.sealed && !recovery.corrupt);
      CHECK_EQ(recovery.jobs, jobs);
      CHECK(ends_with_space(document, "</segment>"));
    }
    CHECK(sequences_in(fixture.folder.read("0000000002.xml"), SIZE_MAX) == (std::vector<uint64_t>{2, 3, 4}));
  }
}

TEST("where the file system can't do without the page cache, all is written through it") {
  // It may say so when it is asked, or only when it is written to.
  class BufferedOps final : public TestOps {
   public:
    bool begin_direct(int) noexcept override { return false; }
  };
  for (const bool late : {false, true}) {
    Fixture fixture(late ? std::make_unique<TestOps>() : std::make_unique<BufferedOps>());
    fixture.filler = direct_bytes_min;
    int refused = 0;
    fixture.test_ops().write_ = [&](int fd, const iovec* parts, int count, uint64_t offset, size_t& written) {
      if (is_direct(fd)) return refused++, EINVAL;
      return fixture.test_ops().FileOps::write_some(fd, parts, count, offset, written);
    };
    const bool direct = late && can_be_direct(fixture.folder);
    fixture.start();
    fixture.send({1});
    fixture.listener.wait(published_something);
    fixture.stop();
    CHECK_EQ(refused, direct ? 1 : 0);
    CHECK(fixture.listener.heard().failures.empty());
    const std::string document = fixture.folder.read("0000000001.xml");
    CHECK(recover(document).sealed && ends_with_space(document, "</segment>"));
  }
}

TEST("an EINVAL that has nothing to do with the page cache is a failure") {
  Fixture fixture;
  fixture.filler = direct_bytes_min;
  fixture.test_ops().write_ = [](int, const iovec*, int, uint64_t, size_t&) { return EINVAL; };
  fixture.start();
  fixture.send({1});
  fixture.listener.wait([](const Heard& heard) { return heard.refused.contains(1); });
  CHECK_EQ(fixture.listener.heard().failures.at(0), "failing write EINVAL");
  fixture.stop();
}

TEST("a short write past the page cache goes on at a block, and fails within one") {
  for (const size_t taken : {3 * block_bytes, 3 * block_bytes + 512}) {
    Fixture fixture;
    if (!can_be_direct(fixture.folder)) return;
    fixture.filler = direct_bytes_min;
    fixture.test_ops().write_ = [taken](int fd, const iovec* parts, int, uint64_t offset, size_t& written) {
      iovec one = parts[0];
      one.iov_len = std::min<size_t>(one.iov_len, taken);
      const ssize_t result = pwritev(fd, &one, 1, static_cast<off_t>(offset));
      written = static_cast<size_t>(result);
      return result < 0 ? errno : 0;
    };
    // Sealed when it stops: a segment that was given up keeps what it had.
    fixture.options.seal_interval_ns = 3'600'000 * ms;
    fixture.start();
    fixture.send({1});
    fixture.listener.wait([](const Heard& heard) { return !heard.committed.empty() || !heard.refused.empty(); });
    const Heard heard = fixture.listener.heard();
    if (taken % block_bytes == 0) {
      CHECK(heard.failures.empty());
      fixture.stop();
      CHECK(recover(fixture.folder.read("0000000001.xml")).sealed);
    } else {
      CHECK_EQ(heard.failures.at(0), "failing write EIO");
      fixture.stop();
      CHECK(fixture.listener.heard().committed.empty());
    }
  }
}

}  // namespace
}  // namespace usher::test
