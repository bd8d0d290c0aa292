// Socket loops with real sockets on loopback, against a queue that the test empties in the place of the segment writer, and
// the whole accepting path under several threads.
#include <arpa/inet.h>
#include <dirent.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <functional>
#include <memory>
#include <mutex>
#include <set>
#include <thread>
#include <vector>

#include "../core/clock.h"
#include "../core/ingest.h"
#include "../core/listening-socket.h"
#include "../core/socket-loop.h"
#include "check.h"
#include "conversation.h"

namespace usher::test {
namespace {

constexpr int64_t ms = 1'000'000;
constexpr int64_t patience_ns = 20'000 * ms;
constexpr uint32_t frame_max = 64 * 1024;

bool until(const std::function<bool()>& condition) {
  const int64_t end = monotonic_ns() + patience_ns;
  while (!condition()) {
    if (monotonic_ns() > end) return false;
    usleep(200);
  }
  return true;
}

// A producer's socket, blocking, that gives up after a while.
class Producer {
 public:
  explicit Producer(uint16_t port, int receive_bytes = 0) {
    fd_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const timeval patience{patience_ns / (1000 * ms), 0};
    setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(fd_, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    if (receive_bytes > 0) setsockopt(fd_, SOL_SOCKET, SO_RCVBUF, &receive_bytes, sizeof receive_bytes);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    connected_ = connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
  }
  Producer(const Producer&) = delete;
  Producer& operator=(const Producer&) = delete;
  ~Producer() { close(); }

  bool connected() const { return connected_; }
  // False where the other side has closed.
  bool write(const Bytes& bytes) {
    size_t at = 0;
    while (at < bytes.size()) {
      const ssize_t took = ::send(fd_, bytes.data() + at, bytes.size() - at, MSG_NOSIGNAL);
      if (took <= 0) return false;
      at += static_cast<size_t>(took);
    }
    return true;
  }
  // What is there now, without waiting.
  ssize_t write_some(const Bytes& bytes) { return ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT); }
  // Reads until what has come satisfies, or the other side ends.
  const Answers& hear(const std::function<bool(const Answers&)>& enough) {
    uint8_t part[16 * 1024];
    while (!enough(answers_)) {
      const ssize_t length = ::recv(fd_, part, sizeof part, 0);
      if (length <= 0) {
        ended_ = true;
        failed_ = length < 0;
        break;
      }
      received_.insert(received_.end(), part, part + length);
      answers_ = read_answers(received_, true);
    }
    return answers_;
  }
  const Answers& hear_end() {
    return hear([](const Answers&) { return false; });
  }
  bool greet(uint64_t producer = 1) {
    write(preamble() + hello(producer));
    return hear([](const Answers& heard) { return heard.sound && !heard.types.empty(); }).types.size() == 1;
  }
  bool is_served() {
    const size_t before = answers_.pongs.size();
    write(ping(before));
    return hear([before](const Answers& heard) { return heard.sound && heard.pongs.size() > before; }).pongs.size() > before;
  }
  const Answers& answers() const { return answers_; }
  // The other side has ended the stream, in good order.
  bool ended() const { return ended_ && !failed_; }
  void end_writing() { shutdown(fd_, SHUT_WR); }
  void reset() {
    const linger abort{1, 0};
    setsockopt(fd_, SOL_SOCKET, SO_LINGER, &abort, sizeof abort);
    close();
  }
  void close() {
    if (fd_ >= 0) ::close(fd_);
    fd_ = -1;
  }

 private:
  int fd_;
  bool connected_ = false;
  bool ended_ = false;
  bool failed_ = false;
  Bytes received_;
  Answers answers_;
};

constexpr SessionLimits session_limits{frame_max, 1000, 8192, 4 * (frame_max + frame_header_bytes), 60'000, 1 << 20};
constexpr SocketLimits socket_limits{1000, 60'000 * ms, 60'000 * ms, 60'000 * ms, 1 << 20, 1 << 20};

class Told : public SocketLoopListener {
 public:
  void cut_off(uint64_t, Code code, std::string peer) noexcept override {
    const std::lock_guard guard(mutex_);
    codes_.push_back(code);
    peers_.push_back(std::move(peer));
  }
  void accepting(const char*, int error) noexcept override {
    const std::lock_guard guard(mutex_);
    accept_errors_.push_back(error);
  }
  void emptied() noexcept override {
    const std::lock_guard guard(mutex_);
    emptied_++;
  }
  size_t count(Code code) {
    const std::lock_guard guard(mutex_);
    return static_cast<size_t>(std::count(codes_.begin(), codes_.end(), code));
  }
  std::vector<int> accept_errors() {
    const std::lock_guard guard(mutex_);
    return accept_errors_;
  }
  std::vector<std::string> peers() {
    const std::lock_guard guard(mutex_);
    return peers_;
  }
  int emptied_count() {
    const std::lock_guard guard(mutex_);
    return emptied_;
  }

 private:
  std::mutex mutex_;
  std::vector<Code> codes_;
  std::vector<std::string> peers_;
  std::vector<int> accept_errors_;
  int emptied_ = 0;
};

// One loop that listens; the test commits.
struct Server {
  explicit Server(SocketLimits limits = socket_limits, SessionLimits sessions = session_limits)
      : queue(1 << 20),
        shared(sessions, ServerIdentity{{}, "i", "h", "v"}, ClusterNames{{"main"}, 0}, queue),
        sockets(shared, limits),
        loop(std::make_unique<SocketLoop>(sockets, 0, 1, told)) {
    CHECK(!loop->start());
    int fd = -1;
    CHECK(!listen_on("127.0.0.1", port, {&fd, 1}));
    loop->listen(fd);
  }
  // As the segment writer does. Returns the jobs of it.
  uint32_t commit() {
    uint32_t jobs = 0;
    while (Group* group = queue.take(0)) {
      AnswerBatch batch;
      for (const Share& share : group->shares) {
        append_acks(*group, share, batch.bytes);
        if (share.credit > 0) append_credit(share.credit, batch.bytes);
        batch.answers.push_back({share.connection, batch.bytes.size(), share.jobs, share.credit});
      }
      jobs += group->jobs;
      loop->answer(std::move(batch));
      if (queue.done(group) <= sockets.limits.uncommitted_bytes_max / 2 && sockets.out_of_room.exchange(false)) loop->room();
    }
    return jobs;
  }
  void say(Code code, int64_t within_ns = patience_ns) {
    loop->say(std::make_shared<const Farewell>(Farewell{code, "going", {"other:1"}, monotonic_ns() + within_ns}));
  }

  GroupQueue queue;
  SessionShared shared;
  SocketsShared sockets;
  Told told;
  std::unique_ptr<SocketLoop> loop;
  uint16_t port = 0;
};

Bytes many_jobs(uint64_t first, size_t count) {
  std::vector<SentJob> sent;
  for (size_t i = 0; i < count; i++) sent.push_back(small_job(first + i));
  return jobs(sent);
}

}  // namespace

TEST("a job that comes over a socket is acknowledged when it is committed, and not before") {
  Server server;
  Producer producer(server.port);
  if (!CHECK(producer.greet())) return;
  CHECK(producer.write(jobs({1, 2, 3})));
  CHECK(producer.is_served());
  CHECK(producer.answers().acked.empty());
  CHECK_EQ(server.commit(), 3);
  producer.hear([](const Answers& heard) { return heard.sound && heard.credit > 0; });
  CHECK(producer.answers().acked == (std::vector<uint64_t>{1, 2, 3}));
  CHECK_EQ(producer.answers().credit, jobs({1, 2, 3}).size());
  producer.write(goodbye());
  CHECK_EQ(producer.hear_end().goodbyes, 1);
  CHECK(producer.ended());
  CHECK(until([&] { return server.sockets.connections == 0; }));
  CHECK(server.told.peers().empty());
}

TEST("what comes in single bytes is taken as what comes at once, and frames larger than a read are") {
  Server server;
  Producer slow(server.port);
  for (const uint8_t byte : preamble() + hello() + jobs({7})) CHECK(slow.write({byte}));
  CHECK(slow.is_served());
  Producer large(server.port);
  CHECK(large.greet());
  size_t sent = 0;
  while (sent < 40'000) {
    const Bytes frame = many_jobs(sent, 800);
    CHECK(large.write(frame));
    sent += 800;
    uint64_t acked = 0;
    CHECK(until([&] { return (acked += server.commit()) >= 800; }));
    large.hear([sent](const Answers& heard) { return heard.sound && heard.acked.size() == sent; });
  }
  CHECK_EQ(large.answers().acked.size(), sent);
}

TEST("a producer that makes a mistake is told so and closed, and nobody else is") {
  Server server;
  Producer good(server.port);
  CHECK(good.greet());
  for (int i = 0; i < 50; i++) {
    Producer bad(server.port);
    bad.write(i % 2 == 0 ? bytes_of("GET / HTTP/1.1\r\n\r\n") : preamble() + hello() + bytes_of("nonsense that has no CRC at all"));
    const uint16_t error = bad.hear_end().error;
    CHECK_EQ(error, static_cast<uint16_t>(i % 2 == 0 ? Code::not_usher : Code::frame_too_large));
    CHECK(bad.ended());
  }
  CHECK_EQ(server.told.count(Code::not_usher), 25);
  for (const std::string& peer : server.told.peers()) CHECK(peer.starts_with("127.0.0.1:"));
  CHECK(good.is_served());
  CHECK(until([&] { return server.sockets.connections == 1; }));
}

TEST("connections that are broken off in any state leave nothing behind") {
  Server server;
  const Bytes whole = preamble() + hello() + jobs({1}) + ping(1);
  for (size_t length = 0; length <= whole.size(); length += 3) {
    Producer producer(server.port);
    producer.write(Bytes(whole.begin(), whole.begin() + static_cast<ptrdiff_t>(length)));
    if (length % 2 == 0) producer.reset();
  }
  // Accepted after all of them: none is still to come.
  Producer good(server.port);
  CHECK(good.greet());
  CHECK(until([&] { return server.sockets.connections == 1; }));
  CHECK_EQ(server.shared.partial_bytes.load(), 0);
  // What they had sent is committed all the same; their answers go nowhere.
  CHECK(server.commit() > 0);
  CHECK(good.is_served());
}

TEST("a producer that ends its side gets what is due at once, and is closed") {
  Server server;
  Producer producer(server.port);
  producer.write(preamble() + hello() + ping(5));
  producer.end_writing();
  CHECK(producer.hear_end().pongs == std::vector<uint64_t>{5});
  CHECK(producer.ended());
  CHECK(until([&] { return server.sockets.connections == 0; }));
}

TEST("who is late is told so: with the greeting, within a frame, or in saying anything") {
  SocketLimits limits = socket_limits;
  limits.hello_timeout_ns = 300 * ms;
  limits.frame_timeout_ns = 300 * ms;
  limits.idle_timeout_ns = 1500 * ms;
  Server server(limits);
  Producer mute(server.port);
  Producer half(server.port);
  Producer idle(server.port);
  CHECK(half.greet() && idle.greet());
  const Bytes frame = ping(1);
  half.write(Bytes(frame.begin(), frame.begin() + 5));
  const Answers& unheard = mute.hear_end();
  CHECK(unheard.preamble);
  CHECK_EQ(unheard.version, 0);
  CHECK_EQ(unheard.error, static_cast<uint16_t>(Code::hello_timeout));
  CHECK_EQ(half.hear_end().error, static_cast<uint16_t>(Code::frame_timeout));
  CHECK_EQ(idle.hear_end().error, static_cast<uint16_t>(Code::idle_timeout));
}

TEST("one connection more than allowed is told so, and there is room again when another goes") {
  SocketLimits limits = socket_limits;
  limits.connections_max = 3;
  Server server(limits);
  std::vector<std::unique_ptr<Producer>> all;
  for (int i = 0; i < 3; i++) {
    all.push_back(std::make_unique<Producer>(server.port));
    CHECK(all.back()->greet());
  }
  Producer more(server.port);
  CHECK_EQ(more.hear_end().error, static_cast<uint16_t>(Code::connections_exhausted));
  CHECK_EQ(server.sockets.turned_away.load(), 1);
  all.pop_back();
  CHECK(until([&] { return server.sockets.connections == 2; }));
  Producer next(server.port);
  CHECK(next.greet());
}

TEST("while descriptors are used up nobody is accepted, which is told once; whoever waits is accepted later") {
  Server server;
  rlimit before;
  getrlimit(RLIMIT_NOFILE, &before);
  Producer first(server.port);
  CHECK(first.greet());
  // The waiting one needs a descriptor itself: all beyond it are used up.
  const int probe = dup(0);
  ::close(probe);
  rlimit tight = before;
  tight.rlim_cur = static_cast<rlim_t>(probe) + 1;
  setrlimit(RLIMIT_NOFILE, &tight);
  Producer waiting(server.port);
  CHECK(waiting.connected());
  CHECK(until([&] { return !server.told.accept_errors().empty(); }));
  CHECK(first.is_served());
  usleep(250'000);
  CHECK(server.told.accept_errors() == std::vector<int>{EMFILE});
  setrlimit(RLIMIT_NOFILE, &before);
  CHECK(waiting.greet());
  CHECK(until([&] { return server.told.accept_errors() == (std::vector<int>{EMFILE, 0}); }));
}

TEST("who doesn't read its answers is cut off, and holds nobody up") {
  SocketLimits limits = socket_limits;
  limits.output_bytes_max = 256 * 1024;
  Server server(limits);
  Producer good(server.port);
  Producer deaf(server.port, 4096);
  CHECK(good.greet() && deaf.greet());
  Bytes pings;
  for (uint64_t i = 0; i < 2000; i++) pings = pings + ping(i);
  size_t sent = 0;
  CHECK(until([&] {
    if (sent < 64u << 20) sent += static_cast<size_t>(std::max<ssize_t>(0, deaf.write_some(pings)));
    return server.told.count(Code::output_overrun) == 1;
  }));
  CHECK(good.is_served());
  CHECK(until([&] { return server.sockets.connections == 1; }));
}

TEST("nothing is read while too much waits for its sync, and all of it is when there is room again") {
  SocketLimits limits = socket_limits;
  limits.uncommitted_bytes_max = 64 * 1024;
  Server server(limits);
  std::vector<std::unique_ptr<Producer>> producers;
  uint64_t sent = 0;
  for (uint64_t i = 0; i < 20; i++) {
    producers.push_back(std::make_unique<Producer>(server.port));
    CHECK(producers.back()->greet(i));
  }
  for (auto& producer : producers) {
    CHECK(producer->write(many_jobs(1, 200)));
    sent += 200;
  }
  CHECK(until([&] { return server.queue.uncommitted_bytes() >= limits.uncommitted_bytes_max; }));
  usleep(50'000);
  // At most one read more than the limit: 200 jobs of some 200 bytes.
  CHECK(server.queue.uncommitted_bytes() < limits.uncommitted_bytes_max + 200 * 300);
  uint64_t committed = 0;
  CHECK(until([&] { return (committed += server.commit()) == sent; }));
  for (auto& producer : producers) {
    producer->hear([](const Answers& heard) { return heard.sound && heard.acked.size() == 200; });
    CHECK_EQ(producer->answers().acked.size(), 200);
  }
}

TEST("one that sends without end doesn't keep others from being served") {
  Server server;
  Producer good(server.port);
  CHECK(good.greet());
  std::atomic<bool> on{true};
  std::thread committer([&] {
    while (on) {
      server.commit();
      usleep(100);
    }
  });
  std::vector<std::thread> greedy;
  for (uint64_t i = 0; i < 3; i++) {
    greedy.emplace_back([&, i] {
      Producer producer(server.port);
      producer.greet(i + 2);
      Bytes pongs;
      for (int n = 0; n < 1000; n++) pongs = pongs + frame(FrameType::pong, Bytes(8));
      while (on && producer.write(pongs)) {
      }
    });
  }
  for (uint64_t i = 0; i < 200; i++) {
    CHECK(good.write(jobs({i})));
    good.hear([i](const Answers& heard) { return heard.sound && heard.acked.size() == i + 1; });
  }
  CHECK_EQ(good.answers().acked.size(), 200);
  on = false;
  for (std::thread& thread : greedy) thread.join();
  committer.join();
}

TEST("a farewell is said to all, what was sent is answered, who stays is cut off in time, and nobody else gets in") {
  Server server;
  Producer quiet(server.port);
  Producer stays(server.port);
  Producer greeted(server.port);
  Producer new_one(server.port);
  CHECK(stays.greet() && greeted.greet(2));
  CHECK(greeted.write(jobs({1})));
  CHECK(greeted.is_served());
  CHECK(until([&] { return server.sockets.connections == 4; }));
  server.say(Code::draining, 600 * ms);
  // Whoever hasn't said anything hears the preamble of version 0, and no more.
  CHECK(quiet.hear_end().preamble && quiet.answers().types.empty());
  greeted.hear([](const Answers& heard) { return heard.sound && heard.goodbyes == 1; });
  CHECK_EQ(greeted.answers().goodbye_code, static_cast<uint16_t>(Code::draining));
  CHECK(greeted.write(jobs({2})));
  greeted.hear([](const Answers& heard) { return heard.sound && !heard.refused.empty(); });
  CHECK_EQ(greeted.answers().refused.size(), 1);
  CHECK_EQ(server.commit(), 1);
  CHECK(greeted.write(goodbye()));
  CHECK(greeted.hear_end().acked == std::vector<uint64_t>{1});
  CHECK_EQ(server.told.emptied_count(), 0);
  CHECK(!Producer(server.port).connected());
  CHECK(until([&] { return server.told.emptied_count() == 1; }));
  CHECK_EQ(server.sockets.connections.load(), 0);
  stays.hear_end();
  CHECK_EQ(stays.answers().goodbyes, 1);
}

TEST("an address is taken by one, whether it listens once or several times") {
  for (const size_t first_count : {1, 4}) {
    uint16_t port = 0;
    std::vector<int> fds(first_count);
    if (!CHECK(!listen_on("127.0.0.1", port, fds))) return;
    for (const size_t second_count : {1, 4}) {
      std::vector<int> others(second_count);
      uint16_t same = port;
      CHECK_EQ(listen_on("127.0.0.1", same, others).error, EADDRINUSE);
    }
    for (const int fd : fds) ::close(fd);
  }
  uint16_t port = 0;
  int fd = -1;
  CHECK_EQ(listen_on("nobody.example", port, {&fd, 1}).error, EINVAL);
  if (!listen_on("::1", port, {&fd, 1})) ::close(fd);
  CHECK(port != 0);
}

namespace {

class Events : public IngestSink {
 public:
  void events_ready() noexcept override { ready = true; }
  std::atomic<bool> ready{false};
};

std::string temporary_folder() {
  char name[] = "/tmp/usher-sockets-XXXXXX";
  return mkdtemp(name);
}

void remove_folder(const std::string& path) {
  DIR* directory = opendir(path.c_str());
  while (const dirent* entry = readdir(directory)) unlink((path + "/" + entry->d_name).c_str());
  closedir(directory);
  rmdir(path.c_str());
}

IngestOptions ingest_options(const std::string& folder, uint32_t threads) {
  SegmentWriterOptions writer{};
  writer.directory = folder;
  writer.stamp = {"00000000-0000-4000-8000-000000000000", "host", "instance", 1, "version", "config"};
  writer.segment_bytes_max = 256 * 1024;
  writer.segment_age_ns = 50 * ms;
  writer.seal_interval_ns = 5 * ms;
  writer.accept_lease_ns = 3'600'000 * ms;
  writer.retry_ns = 10 * ms;
  return {writer, session_limits, socket_limits, threads, {{}, "instance", "host", "version"}, {{"main"}, 0}, true, {}};
}

// Producers on threads of their own that send and wait, until the other side ends. Returns what was acknowledged.
std::vector<uint64_t> produce(uint16_t port, uint64_t producer, size_t rounds) {
  Producer connection(port);
  if (!connection.greet(producer)) return {};
  uint64_t next = 1;
  for (size_t round = 0; round < rounds; round++) {
    const size_t count = 1 + (producer * 7 + round) % 20;
    if (!connection.write(many_jobs(next, count))) break;
    next += count;
    connection.hear([next](const Answers& heard) { return heard.sound && heard.acked.size() + heard.refused.size() == next - 1; });
    if (connection.ended()) break;
  }
  connection.write(goodbye());
  return connection.hear_end().acked;
}

}  // namespace

TEST("with one loop or several each job is acknowledged once, published once, and the books balance") {
  for (const uint32_t threads : {1u, 3u}) {
    const std::string folder = temporary_folder();
    Events sink;
    uint64_t acked = 0;
    uint64_t published = 0;
    {
      Ingest ingest(ingest_options(folder, threads), sink);
      ingest.presence_written(boot_ns());
      CHECK(!ingest.start());
      uint16_t port = 0;
      CHECK(!ingest.listen("127.0.0.1", port));
      std::mutex mutex;
      std::vector<std::thread> producers;
      for (uint64_t i = 1; i <= 24; i++) {
        producers.emplace_back([&, i] {
          const std::vector<uint64_t> jobs = produce(port, i, 30);
          const std::lock_guard guard(mutex);
          CHECK_EQ(jobs.size(), std::set<uint64_t>(jobs.begin(), jobs.end()).size());
          acked += jobs.size();
        });
      }
      for (std::thread& thread : producers) thread.join();
      CHECK_EQ(ingest.accepted_jobs(), acked);
      CHECK(until([&] { return ingest.connections() == 0; }));
      ingest.stop();
      IngestEvents events;
      uint64_t accepted = 0;
      uint64_t opened = 0;
      CHECK(until([&] {
        events = ingest.collect();
        accepted += events.accepted;
        opened += events.opened;
        for (const auto& one : events.published) published += one.jobs;
        return events.stopped;
      }));
      CHECK_EQ(accepted, acked);
      CHECK_EQ(opened, 24);
    }
    CHECK(acked > 24 * 30);
    CHECK_EQ(published, acked);
    remove_folder(folder);
  }
}

TEST("an ingest that ends at any moment, with or without a goodbye, takes its connections along") {
  for (int round = 0; round < 12; round++) {
    const std::string folder = temporary_folder();
    Events sink;
    std::vector<std::thread> producers;
    uint64_t accepted = 0;
    std::atomic<uint64_t> acked{0};
    {
      Ingest ingest(ingest_options(folder, 2), sink);
      ingest.presence_written(boot_ns());
      CHECK(!ingest.start());
      uint16_t port = 0;
      CHECK(!ingest.listen("127.0.0.1", port));
      for (uint64_t i = 1; i <= 6; i++) {
        producers.emplace_back([&, i, port] { acked += produce(port, i, 100'000).size(); });
      }
      CHECK(until([&] { return ingest.accepted_jobs() > 20; }));
      usleep(static_cast<useconds_t>(seed() >> round) % 3000);
      if (round % 3 != 0) ingest.say_goodbye({Code::draining, "", {}, monotonic_ns() + 20 * ms});
      if (round % 3 == 1) {
        ingest.stop();
        CHECK(until([&] { return ingest.collect().stopped; }));
      }
      accepted = ingest.accepted_jobs();
    }
    for (std::thread& thread : producers) thread.join();
    // Nobody was told of more than was committed; a few may not have heard of theirs.
    if (round % 3 == 1) CHECK(acked <= accepted);
    CHECK(acked > 0);
    remove_folder(folder);
  }
}

}  // namespace usher::test
