// The load generator: one thread that holds many connections, keeps them filled (closed loop) or sends at a fixed rate whatever
// is answered (open loop), and counts acknowledgements. Frames are prepared beforehand: only sequences and the CRC change, so
// that the generator costs less than the server that it measures. Not part of the package; bench/load.mjs compiles it.
//
//   load HOST PORT CONNECTIONS JOBS_PER_FRAME SECONDS JOBS_MAX WINDOW_BYTES FRAMES_MAX RATE FIELDS_HEX
//
// JOBS_MAX 0: no end but the time. WINDOW_BYTES, FRAMES_MAX: what a connection may have sent and not been answered. RATE: jobs a
// second of all connections together, 0: as many as are taken. Prints a line of JSON; latencies are in milliseconds, those of
// the open loop from the moment at which a frame was due, whether or not it could be sent then.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "../native/core/clock.h"
#include "../native/core/wire.h"

using namespace usher;

namespace {

[[noreturn]] void give_up(const char* what) {
  std::fprintf(stderr, "%s: %s\n", what, std::strerror(errno));
  std::exit(1);
}

// Microseconds, 64 steps for each power of two: off by 1.6 % at most.
class Histogram {
 public:
  void add(int64_t ns) {
    const auto us = static_cast<uint64_t>(std::max<int64_t>(ns, 0)) / 1000;
    const int shift = us < 64 ? 0 : static_cast<int>(std::bit_width(us)) - 7;
    const size_t at = static_cast<size_t>(shift) * 64 + static_cast<size_t>(us >> shift);
    if (at >= counts_.size()) counts_.resize(at + 1);
    counts_[at]++;
    total_++;
    most_ns_ = std::max(most_ns_, ns);
  }
  double ms(double quantile) const {
    if (total_ == 0) return 0;
    const auto rank = static_cast<uint64_t>(quantile * static_cast<double>(total_ - 1));
    uint64_t seen = 0;
    for (size_t at = 0; at < counts_.size(); at++) {
      seen += counts_[at];
      if (seen <= rank) continue;
      const size_t shift = at < 128 ? 0 : at / 64 - 1;
      return static_cast<double>((at - shift * 64) << shift) / 1000.0;
    }
    return most_ms();
  }
  double most_ms() const { return static_cast<double>(most_ns_) / 1e6; }
  uint64_t total() const { return total_; }

 private:
  std::vector<uint64_t> counts_;
  uint64_t total_ = 0;
  int64_t most_ns_ = 0;
};

struct Options {
  const char* host;
  uint16_t port;
  size_t connections;
  size_t jobs_per_frame;
  double seconds;
  uint64_t jobs_max;
  uint64_t window_bytes;
  size_t frames_max;
  double rate;
  std::vector<uint8_t> fields;
};

struct Connection {
  int fd = -1;
  uint64_t credit = 0;
  uint64_t next = 1;
  uint64_t outstanding_bytes = 0;
  // Answered of the oldest frame.
  size_t jobs_answered = 0;
  // When each frame that is in flight was due; with an open loop also of those that can't be sent yet, behind `sent`.
  std::deque<int64_t> due;
  size_t sent = 0;
  bool greeted = false;
  bool blocked = false;
  std::vector<uint8_t> out;
  size_t out_at = 0;
  std::vector<uint8_t> in;
};

class Load {
 public:
  explicit Load(Options options) : options_(std::move(options)), connections_(options_.connections) {
    make_frame();
    epoll_ = epoll_create1(0);
    if (epoll_ < 0) give_up("epoll_create1");
    for (size_t i = 0; i < connections_.size(); i++) connect_one(i);
  }

  void run() {
    wait_until_greeted();
    begun_ns_ = last_second_ns_ = monotonic_ns();
    const int64_t end_ns = begun_ns_ + static_cast<int64_t>(options_.seconds * 1e9);
    int64_t give_up_ns = INT64_MAX;
    for (Connection& connection : connections_) pump(connection, begun_ns_);
    for (;;) {
      int64_t now = monotonic_ns();
      if (!stopping_ && (now >= end_ns || (options_.jobs_max > 0 && scheduled_ >= options_.jobs_max))) {
        stopping_ = true;
        give_up_ns = now + 60'000'000'000;
        // What was due and never sent counts as if it were answered now: leaving it out would flatter.
        for (Connection& connection : connections_) {
          while (connection.due.size() > connection.sent) {
            latencies_.add(now - connection.due.back());
            connection.due.pop_back();
            unsent_ += options_.jobs_per_frame;
          }
        }
      }
      if (stopping_ && accepted_ + refused_ >= sent_) break;
      if (now > give_up_ns) {
        std::fprintf(stderr, "%" PRIu64 " jobs are not answered\n", sent_ - accepted_ - refused_);
        std::exit(1);
      }
      int timeout = 100;
      if (options_.rate > 0 && !stopping_) {
        schedule(now);
        timeout = 1;
      }
      turn(timeout);
      now = monotonic_ns();
      while (now - last_second_ns_ >= 1'000'000'000) {
        per_second_.push_back(accepted_ - before_);
        before_ = accepted_;
        last_second_ns_ += 1'000'000'000;
      }
    }
    report();
  }

 private:
  void make_frame() {
    const size_t job_bytes = job_length_bytes + job_sequence_bytes + options_.fields.size();
    stride_ = job_bytes;
    frame_.resize(frame_header_bytes + job_bytes * options_.jobs_per_frame);
    const FrameHeader header{0, static_cast<uint32_t>(frame_.size() - frame_header_bytes), FrameType::jobs, 0,
                             static_cast<uint16_t>(options_.jobs_per_frame)};
    encode_frame_header(header, std::span(frame_).first<frame_header_bytes>());
    for (size_t i = 0; i < options_.jobs_per_frame; i++) {
      uint8_t* job = frame_.data() + frame_header_bytes + i * job_bytes;
      store_le(job, static_cast<uint32_t>(job_bytes - job_length_bytes));
      std::memcpy(job + job_length_bytes + job_sequence_bytes, options_.fields.data(), options_.fields.size());
    }
  }

  void connect_one(size_t index) {
    Connection& connection = connections_[index];
    connection.fd = socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(options_.port);
    if (connection.fd < 0 || inet_pton(AF_INET, options_.host, &address.sin_addr) != 1) give_up("socket");
    if (connect(connection.fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) give_up("connect");
    const int on = 1;
    setsockopt(connection.fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    connection.out.resize(preamble_bytes);
    encode_preamble(1, 1, std::span(connection.out).first<preamble_bytes>());
    FrameWriter hello(connection.out, FrameType::hello);
    hello.u64((static_cast<uint64_t>(getpid()) << 48) + (static_cast<uint64_t>(monotonic_ns()) << 16) + index);
    hello.u32(0);
    hello.text8("bench");
    hello.finish();
    epoll_event event{EPOLLIN | EPOLLOUT | EPOLLET, {.ptr = &connection}};
    if (epoll_ctl(epoll_, EPOLL_CTL_ADD, connection.fd, &event) != 0) give_up("epoll_ctl");
    flush(connection);
  }

  void wait_until_greeted() {
    const int64_t end = monotonic_ns() + 30'000'000'000;
    stopping_ = true;
    while (greeted_ < connections_.size()) {
      if (monotonic_ns() > end) {
        std::fprintf(stderr, "only %zu connections were greeted\n", greeted_);
        std::exit(1);
      }
      turn(100);
    }
    stopping_ = false;
  }

  // Open loop: frames become due, one connection after the other.
  void schedule(int64_t now) {
    const double due_frames = static_cast<double>(now - begun_ns_) / 1e9 * options_.rate / static_cast<double>(options_.jobs_per_frame);
    while (static_cast<double>(frames_scheduled_) <= due_frames) {
      const auto at = static_cast<int64_t>(static_cast<double>(frames_scheduled_) * static_cast<double>(options_.jobs_per_frame) /
                                           options_.rate * 1e9);
      Connection& connection = connections_[frames_scheduled_++ % connections_.size()];
      scheduled_ += options_.jobs_per_frame;
      connection.due.push_back(begun_ns_ + at);
      pump(connection, now);
    }
  }

  void turn(int timeout) {
    epoll_event events[512];
    const int count = epoll_wait(epoll_, events, 512, timeout);
    if (count < 0 && errno != EINTR) give_up("epoll_wait");
    const int64_t now = monotonic_ns();
    for (int i = 0; i < count; i++) {
      Connection& connection = *static_cast<Connection*>(events[i].data.ptr);
      if ((events[i].events & EPOLLOUT) != 0 && connection.blocked) {
        connection.blocked = false;
        flush(connection);
      }
      if ((events[i].events & ~static_cast<uint32_t>(EPOLLOUT)) != 0) hear(connection, now);
      pump(connection, now);
    }
  }

  void pump(Connection& connection, int64_t now) {
    while (!stopping_ && !connection.blocked && connection.greeted && connection.credit >= frame_.size() &&
           connection.outstanding_bytes < options_.window_bytes && connection.sent < options_.frames_max) {
      if (options_.rate > 0) {
        if (connection.due.size() == connection.sent) return;
      } else {
        if (options_.jobs_max > 0 && scheduled_ >= options_.jobs_max) return;
        scheduled_ += options_.jobs_per_frame;
        connection.due.push_back(now);
      }
      uint8_t* job = frame_.data() + frame_header_bytes;
      for (size_t i = 0; i < options_.jobs_per_frame; i++, job += stride_) store_le(job + job_length_bytes, connection.next++);
      store_le(frame_.data(), frame_crc(frame_));
      connection.credit -= frame_.size();
      connection.outstanding_bytes += frame_.size();
      connection.sent++;
      sent_ += options_.jobs_per_frame;
      send_frame(connection);
    }
  }

  void send_frame(Connection& connection) {
    size_t took = 0;
    if (connection.out.empty()) {
      const ssize_t done = ::send(connection.fd, frame_.data(), frame_.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
      if (done < 0 && errno != EAGAIN) give_up("send");
      took = done < 0 ? 0 : static_cast<size_t>(done);
      if (took == frame_.size()) return;
    }
    connection.out.insert(connection.out.end(), frame_.begin() + static_cast<ptrdiff_t>(took), frame_.end());
    flush(connection);
  }

  void flush(Connection& connection) {
    while (connection.out_at < connection.out.size()) {
      const ssize_t done = ::send(connection.fd, connection.out.data() + connection.out_at, connection.out.size() - connection.out_at,
                                  MSG_NOSIGNAL | MSG_DONTWAIT);
      if (done < 0 && errno == EAGAIN) {
        connection.blocked = true;
        return;
      }
      if (done < 0) give_up("send");
      connection.out_at += static_cast<size_t>(done);
    }
    connection.out.clear();
    connection.out_at = 0;
  }

  void hear(Connection& connection, int64_t now) {
    for (;;) {
      const ssize_t length = recv(connection.fd, buffer_, sizeof buffer_, MSG_DONTWAIT);
      if (length < 0 && errno == EAGAIN) return;
      if (length < 0) give_up("recv");
      if (length == 0) {
        std::fprintf(stderr, "the server has closed a connection\n");
        std::exit(1);
      }
      const std::span<const uint8_t> fresh(buffer_, static_cast<size_t>(length));
      if (connection.in.empty()) {
        const size_t used = take(connection, fresh, now);
        connection.in.assign(fresh.begin() + static_cast<ptrdiff_t>(used), fresh.end());
      } else {
        connection.in.insert(connection.in.end(), fresh.begin(), fresh.end());
        const size_t used = take(connection, connection.in, now);
        connection.in.erase(connection.in.begin(), connection.in.begin() + static_cast<ptrdiff_t>(used));
      }
      if (static_cast<size_t>(length) < sizeof buffer_) return;
    }
  }

  // Returns the bytes of whole frames.
  size_t take(Connection& connection, std::span<const uint8_t> bytes, int64_t now) {
    size_t at = 0;
    if (!connection.greeted) {
      if (bytes.size() < preamble_bytes) return 0;
      at = preamble_bytes;
      const auto rest = bytes.subspan(at);
      if (rest.size() < frame_header_bytes || rest.size() < frame_header_bytes + load_le<uint32_t>(rest.data() + 4)) return 0;
      connection.greeted = true;
      greeted_++;
    }
    while (bytes.size() - at >= frame_header_bytes) {
      const FrameHeader header = parse_frame_header(bytes.subspan(at).first<frame_header_bytes>());
      if (bytes.size() - at - frame_header_bytes < header.length) break;
      PayloadReader reader(bytes.subspan(at + frame_header_bytes, header.length));
      at += frame_header_bytes + header.length;
      switch (header.type) {
        case FrameType::welcome:
          reader.bytes(16);
          connection.credit = reader.u64();
          break;
        case FrameType::ack:
          for (uint16_t i = 0; i < header.count; i++) {
            reader.u64();
            const uint32_t count = reader.u32();
            accepted_ += count;
            answered(connection, count, now);
          }
          break;
        case FrameType::refused:
          refused_ += header.count;
          answered(connection, header.count, now);
          break;
        case FrameType::credit: {
          const uint64_t granted = reader.u64();
          connection.credit += granted;
          connection.outstanding_bytes -= granted;
          break;
        }
        default:
          std::fprintf(stderr, "a frame of type %u came\n", static_cast<unsigned>(header.type));
          std::exit(1);
      }
    }
    return at;
  }

  void answered(Connection& connection, size_t jobs, int64_t now) {
    connection.jobs_answered += jobs;
    while (connection.jobs_answered >= options_.jobs_per_frame && connection.sent > 0) {
      connection.jobs_answered -= options_.jobs_per_frame;
      latencies_.add(now - connection.due.front());
      connection.due.pop_front();
      connection.sent--;
    }
  }

  void report() {
    const double seconds = static_cast<double>(monotonic_ns() - begun_ns_) / 1e9;
    std::string each;
    for (const uint64_t count : per_second_) each += (each.empty() ? "" : ",") + std::to_string(count);
    std::printf("{\"sent\":%" PRIu64 ",\"accepted\":%" PRIu64 ",\"refused\":%" PRIu64 ",\"unsent\":%" PRIu64
                ",\"seconds\":%.6f,\"jobBytes\":%zu,\"latencyMs\":{\"count\":%" PRIu64
                ",\"p50\":%.3f,\"p90\":%.3f,\"p99\":%.3f,\"p999\":%.3f,\"max\":%.3f},\"perSecond\":[%s]}\n",
                sent_, accepted_, refused_, unsent_, seconds, stride_, latencies_.total(), latencies_.ms(0.5), latencies_.ms(0.9),
                latencies_.ms(0.99), latencies_.ms(0.999), latencies_.most_ms(), each.c_str());
  }

  const Options options_;
  std::vector<Connection> connections_;
  std::vector<uint8_t> frame_;
  size_t stride_ = 0;
  int epoll_ = -1;
  bool stopping_ = false;
  size_t greeted_ = 0;
  uint64_t scheduled_ = 0;
  uint64_t frames_scheduled_ = 0;
  uint64_t sent_ = 0;
  uint64_t unsent_ = 0;
  uint64_t accepted_ = 0;
  uint64_t refused_ = 0;
  uint64_t before_ = 0;
  int64_t begun_ns_ = 0;
  int64_t last_second_ns_ = 0;
  std::vector<uint64_t> per_second_;
  Histogram latencies_;
  uint8_t buffer_[64 * 1024];
};

}  // namespace

int main(int count, char** arguments) {
  if (count != 11) {
    std::fprintf(stderr, "ten arguments: see bench/load.cpp\n");
    return 64;
  }
  const auto number = [arguments](int at) { return std::strtoull(arguments[at], nullptr, 10); };
  Options options{arguments[1], static_cast<uint16_t>(number(2)), number(3), number(4), std::atof(arguments[5]),
                  number(6),    number(7),                        number(8), std::atof(arguments[9]), {}};
  for (const char* hex = arguments[10]; hex[0] != '\0' && hex[1] != '\0'; hex += 2) {
    const char pair[] = {hex[0], hex[1], '\0'};
    options.fields.push_back(static_cast<uint8_t>(std::strtoul(pair, nullptr, 16)));
  }
  const auto load = std::make_unique<Load>(std::move(options));
  load->run();
}
