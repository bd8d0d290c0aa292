// The load generator: many connections on one thread, with jobs made beforehand, to usher or a peer.
//
//   load KEY=VALUE…
//     protocol=usher|redis|nats|beanstalkd|gearman  host=127.0.0.1  port=N
//     job=HEX            one job as usher encodes it; peers get the same bytes
//     connections=50  jobs_per_write=400
//     writes=2           closed loop: unanswered writes of each connection; 0: as many as the protocol's credit allows
//     rate=0             open loop: jobs that arrive each second, at even distances, whatever is answered; 0: closed loop
//     seconds=5  warmup=1  jobs=0 (no end)  drain=30 (seconds to wait for answers after the last write)
//
// Prints one line of JSON. Latency is counted from the time at which a write was due, not from when it could be sent: a
// server that stalls is charged for all that had to wait (no coordinated omission). Every answer is checked against what
// was sent: one job answered twice, or never asked for, ends the run with status 1.
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <deque>
#include <map>

#include "latencies.h"
#include "speaker.h"

namespace bench {
namespace {

constexpr int64_t ns_per_second = 1'000'000'000;

int64_t now_ns() noexcept {
  timespec time{};
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec * ns_per_second + time.tv_nsec;
}

[[noreturn]] void die(const std::string& reason) noexcept {
  std::fprintf(stderr, "load: %s\n", reason.c_str());
  std::exit(1);
}

struct Options {
  std::string protocol = "usher";
  std::string host = "127.0.0.1";
  uint64_t port = 0;
  Shape shape;
  uint64_t connections = 50;
  uint64_t writes = 2;
  double rate = 0;
  double seconds = 5;
  double warmup = 1;
  double drain = 30;
  uint64_t jobs = 0;
};

Options read_options(int count, char** words) {
  std::map<std::string, std::string> given;
  for (int i = 1; i < count; i++) {
    const std::string word = words[i];
    const size_t equals = word.find('=');
    if (equals == std::string::npos) die("not KEY=VALUE: " + word);
    given[word.substr(0, equals)] = word.substr(equals + 1);
  }
  Options options;
  const auto text = [&](const char* key, std::string& value) {
    if (const auto found = given.extract(key)) value = found.mapped();
  };
  const auto number = [&](const char* key, auto& value) {
    std::string digits;
    text(key, digits);
    if (digits.empty()) return;
    char* end = nullptr;
    value = static_cast<std::remove_reference_t<decltype(value)>>(std::strtod(digits.c_str(), &end));
    if (*end != '\0') die(std::string(key) + " is no number");
  };
  std::string hex;
  text("protocol", options.protocol);
  text("host", options.host);
  text("job", hex);
  number("port", options.port);
  number("connections", options.connections);
  number("jobs_per_write", options.shape.jobs_per_write);
  number("writes", options.writes);
  number("rate", options.rate);
  number("seconds", options.seconds);
  number("warmup", options.warmup);
  number("drain", options.drain);
  number("jobs", options.jobs);
  if (!given.empty()) die("unknown option " + given.begin()->first);
  for (size_t i = 0; i + 1 < hex.size(); i += 2) {
    options.shape.job.push_back(static_cast<uint8_t>(std::strtoul(hex.substr(i, 2).c_str(), nullptr, 16)));
  }
  if (options.shape.job.size() < 12 || options.shape.jobs_per_write == 0 || options.connections == 0) die("job=HEX, jobs_per_write and connections are needed");
  return options;
}

// What all connections count together.
struct Tally {
  uint64_t sent = 0;
  uint64_t accepted = 0;
  uint64_t refused = 0;
  // Between the end of the warm-up and the last moment of sending.
  uint64_t accepted_in_window = 0;
  int64_t window_from = 0;
  int64_t window_to = 0;
  int64_t started = 0;
  int64_t last_answer = 0;
  std::vector<uint64_t> per_slice;
  Latencies latencies;
};

// Throughput over time is kept in slices of this length.
constexpr int64_t slice_ns = ns_per_second / 4;

class Connection final : public Answers {
 public:
  Connection(const Options& options, uint64_t id, Tally& tally)
      : speaker(make_speaker(options.protocol, options.shape, id)), jobs_per_write_(options.shape.jobs_per_write), tally_(tally) {}

  void send(int64_t due) noexcept {
    speaker->write(next_, out);
    next_ += jobs_per_write_;
    tally_.sent += jobs_per_write_;
    unanswered_.push_back({due, jobs_per_write_});
  }

  size_t unanswered() const noexcept { return unanswered_.size(); }

  void answered(uint64_t first, uint64_t count, bool accepted) noexcept override {
    tally_.last_answer = read_at;
    const bool in_window = read_at >= tally_.window_from && read_at < tally_.window_to;
    while (count > 0) {
      const uint64_t index = (first - 1) / jobs_per_write_;
      if (first == 0 || index < gone_ || index - gone_ >= unanswered_.size()) die("an answer to a job that waits for none: " + std::to_string(first));
      Write& write = unanswered_[index - gone_];
      const uint64_t here = std::min(count, (index + 1) * jobs_per_write_ - first + 1);
      if (write.left < here) die("a job was answered twice: " + std::to_string(first));
      write.left -= here;
      if (accepted) {
        tally_.accepted += here;
        if (in_window) tally_.accepted_in_window += here;
        if (write.due >= tally_.window_from) tally_.latencies.add(read_at - write.due, here);
        const auto slice = static_cast<size_t>((read_at - tally_.started) / slice_ns);
        if (slice >= tally_.per_slice.size()) tally_.per_slice.resize(slice + 1);
        tally_.per_slice[slice] += here;
      } else {
        tally_.refused += here;
      }
      first += here;
      count -= here;
    }
    for (; !unanswered_.empty() && unanswered_.front().left == 0; gone_++) unanswered_.pop_front();
  }

  std::unique_ptr<Speaker> speaker;
  int fd = -1;
  bool waits_for_writable = false;
  // When the bytes that are being read arrived here.
  int64_t read_at = 0;
  std::string out;
  std::string in;
  // Open loop: due times of writes that had no room yet.
  std::deque<int64_t> waiting;

 private:
  struct Write {
    int64_t due;
    uint64_t left;
  };
  uint64_t jobs_per_write_;
  Tally& tally_;
  uint64_t next_ = 1;
  // Writes answered whole and dropped; the first that is kept has this index.
  uint64_t gone_ = 0;
  std::deque<Write> unanswered_;
};

class Loop {
 public:
  explicit Loop(const Options& options) : options_(options), epoll_(epoll_create1(EPOLL_CLOEXEC)) {
    uint64_t base = 0;
    if (getrandom(&base, sizeof base, 0) != sizeof base) die("getrandom failed");
    for (uint64_t i = 0; i < options.connections; i++) {
      auto& connection = connections_.emplace_back(std::make_unique<Connection>(options, base + i, tally_));
      if (connection->speaker == nullptr) die("no protocol " + options.protocol);
      connect_one(*connection);
      connection->speaker->greet(connection->out);
      flush(*connection);
    }
  }

  void run() {
    tally_.window_to = INT64_MAX;
    const int64_t greeting_ends = now_ns() + 30 * ns_per_second;
    while (!std::ranges::all_of(connections_, [](const auto& each) { return each->speaker->greeted(); })) {
      if (now_ns() > greeting_ends) die("not all connections were greeted within 30 s");
      turn(ns_per_second);
    }
    tally_.started = now_ns();
    tally_.window_from = tally_.started + seconds_ns(options_.warmup);
    tally_.window_to = tally_.started + seconds_ns(options_.seconds);
    sending_ = true;
    if (options_.rate > 0) open_loop();
    else closed_loop();
    const int64_t ends = std::min(now_ns(), tally_.window_to);
    if (ends < tally_.window_to) tally_.window_to = std::max(ends, tally_.window_from + 1);
    sending_ = false;
    backlog_ = tally_.sent - tally_.accepted - tally_.refused;
    const int64_t drain_ends = now_ns() + seconds_ns(options_.drain);
    while (waits() && now_ns() < drain_ends) {
      for (auto& each : connections_) pump(*each);
      turn(ns_per_second / 10);
    }
  }

  void report() const {
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    const auto cpu = [](timeval time) { return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6; };
    const auto as_seconds = [](int64_t ns) { return static_cast<double>(ns) / 1e9; };
    const double window = as_seconds(tally_.window_to - tally_.window_from);
    std::printf("{\"sent\":%llu,\"accepted\":%llu,\"refused\":%llu,\"backlog\":%llu,\"windowSeconds\":%.6f,\"perSecond\":%.3f,\"seconds\":%.6f,\"generatorCpuSeconds\":%.3f,\"jobBytes\":%zu,",
                ull(tally_.sent), ull(tally_.accepted), ull(tally_.refused), ull(backlog_), window,
                static_cast<double>(tally_.accepted_in_window) / window, as_seconds(tally_.last_answer - tally_.started),
                cpu(usage.ru_utime) + cpu(usage.ru_stime), options_.shape.job.size());
    std::printf("\"sliceSeconds\":%.3f,\"slices\":[", as_seconds(slice_ns));
    for (size_t i = 0; i < tally_.per_slice.size(); i++) std::printf("%s%llu", i == 0 ? "" : ",", ull(tally_.per_slice[i]));
    std::printf("],\"latencyUs\":");
    tally_.latencies.print(stdout);
    std::printf("}\n");
  }

 private:
  static unsigned long long ull(uint64_t value) noexcept { return value; }
  static int64_t seconds_ns(double seconds) noexcept { return static_cast<int64_t>(seconds * 1e9); }

  bool waits() const noexcept {
    return std::ranges::any_of(connections_, [](const auto& each) { return each->unanswered() > 0 || !each->waiting.empty(); });
  }

  bool enough() const noexcept { return options_.jobs > 0 && tally_.sent + due_jobs_ >= options_.jobs; }

  void closed_loop() {
    while (now_ns() < tally_.window_to && !(enough() && !waits())) {
      for (auto& each : connections_) pump(*each);
      // Only who was answered can send again: from here on turn() pumps those.
      while (now_ns() < tally_.window_to && !(enough() && !waits())) turn(ns_per_second / 20);
    }
  }

  // Writes are due at even distances, handed to the connections in turn.
  void open_loop() {
    const double distance_ns = 1e9 * options_.shape.jobs_per_write / options_.rate;
    uint64_t number = 0;
    for (int64_t now = now_ns(); now < tally_.window_to && !(enough() && !waits()); now = now_ns()) {
      int64_t due = tally_.started + static_cast<int64_t>(static_cast<double>(number) * distance_ns);
      for (; due <= now && !enough(); due = tally_.started + static_cast<int64_t>(static_cast<double>(++number) * distance_ns)) {
        Connection& connection = *connections_[number % connections_.size()];
        connection.waiting.push_back(due);
        due_jobs_ += options_.shape.jobs_per_write;
        pump(connection);
      }
      turn(std::clamp<int64_t>(due - now_ns(), 0, ns_per_second / 20));
    }
  }

  void pump(Connection& connection) {
    if (options_.rate > 0) {
      for (; !connection.waiting.empty() && connection.speaker->has_room(); connection.waiting.pop_front()) {
        connection.send(connection.waiting.front());
        due_jobs_ -= options_.shape.jobs_per_write;
      }
    } else {
      const size_t most = options_.writes == 0 ? SIZE_MAX : options_.writes;
      while (sending_ && !enough() && connection.out.size() < 1u << 20 && connection.unanswered() < most && connection.speaker->has_room()) connection.send(now_ns());
    }
    flush(connection);
  }

  void connect_one(Connection& connection) {
    connection.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(options_.port));
    if (inet_pton(AF_INET, options_.host.c_str(), &address.sin_addr) != 1) die("host must be an IPv4 address");
    if (connect(connection.fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) die(std::string("connect: ") + std::strerror(errno));
    const int on = 1;
    setsockopt(connection.fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    watch(connection, EPOLL_CTL_ADD, false);
  }

  void watch(Connection& connection, int operation, bool writable) {
    epoll_event event{};
    event.events = writable ? EPOLLIN | EPOLLOUT : EPOLLIN;
    event.data.ptr = &connection;
    if (epoll_ctl(epoll_, operation, connection.fd, &event) != 0) die(std::string("epoll_ctl: ") + std::strerror(errno));
    connection.waits_for_writable = writable;
  }

  void flush(Connection& connection) {
    size_t gone = 0;
    while (gone < connection.out.size()) {
      const ssize_t sent = ::send(connection.fd, connection.out.data() + gone, connection.out.size() - gone, MSG_DONTWAIT | MSG_NOSIGNAL);
      if (sent < 0 && errno == EINTR) continue;
      if (sent < 0 && errno == EAGAIN) break;
      if (sent < 0) die(std::string("send: ") + std::strerror(errno));
      gone += static_cast<size_t>(sent);
    }
    connection.out.erase(0, gone);
    if (connection.out.empty() == connection.waits_for_writable) watch(connection, EPOLL_CTL_MOD, !connection.out.empty());
  }

  void read(Connection& connection) {
    static char buffer[256 * 1024];
    const ssize_t got = recv(connection.fd, buffer, sizeof buffer, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (got < 0) die(std::string("recv: ") + std::strerror(errno));
    if (got == 0) die("the server closed a connection");
    connection.in.append(buffer, static_cast<size_t>(got));
    connection.read_at = now_ns();
    const std::span<const uint8_t> bytes(reinterpret_cast<const uint8_t*>(connection.in.data()), connection.in.size());
    const int64_t taken = connection.speaker->read(bytes, connection.out, connection);
    if (taken < 0) die("the server says: " + connection.speaker->failure());
    connection.in.erase(0, static_cast<size_t>(taken));
  }

  void turn(int64_t timeout_ns) {
    epoll_event events[256];
    const timespec timeout{timeout_ns / ns_per_second, timeout_ns % ns_per_second};
    const int count = epoll_pwait2(epoll_, events, 256, &timeout, nullptr);
    if (count < 0 && errno != EINTR) die(std::string("epoll_pwait2: ") + std::strerror(errno));
    for (int i = 0; i < count; i++) {
      auto& connection = *static_cast<Connection*>(events[i].data.ptr);
      if ((events[i].events & ~static_cast<uint32_t>(EPOLLOUT)) != 0) read(connection);
      if (connection.speaker->greeted()) pump(connection);
      else flush(connection);
    }
  }

  const Options& options_;
  int epoll_;
  // Not before everybody is greeted, nor after the end.
  bool sending_ = false;
  uint64_t due_jobs_ = 0;
  uint64_t backlog_ = 0;
  Tally tally_;
  std::vector<std::unique_ptr<Connection>> connections_;
};

}  // namespace
}  // namespace bench

int main(int count, char** words) {
  const bench::Options options = bench::read_options(count, words);
  bench::Loop loop(options);
  loop.run();
  loop.report();
}
