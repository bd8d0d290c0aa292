// The five protocols. Whatever stays the same from write to write is made once, so that the generator costs less than
// what it measures.
#include <cstring>

#include "crc32c.h"
#include "speaker.h"

namespace bench {
namespace {

template <typename T>
T load(const uint8_t* from) noexcept {
  T value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

template <typename T>
void append(std::string& out, T value) noexcept {
  out.append(reinterpret_cast<const char*>(&value), sizeof value);
}

uint8_t* bytes_of(std::string& text) noexcept { return reinterpret_cast<uint8_t*>(text.data()); }

std::string_view text_of(std::span<const uint8_t> bytes) noexcept {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

std::string job_text(const Shape& shape) {
  return {reinterpret_cast<const char*>(shape.job.data()), shape.job.size()};
}

void repeat(std::string& whole, const std::string& one, uint32_t times) {
  whole.reserve(whole.size() + one.size() * times);
  for (uint32_t i = 0; i < times; i++) whole += one;
}

// A line that ends with CR LF: its bytes with the end, 0 where it isn't whole yet.
size_t line_bytes(std::string_view in) noexcept {
  const size_t end = in.find("\r\n");
  return end == std::string_view::npos ? 0 : end + 2;
}

// docs/protocol.md, version 1. Between writes only sequences and the CRC change.
class UsherSpeaker final : public Speaker {
 public:
  UsherSpeaker(const Shape& shape, uint64_t producer) : shape_(shape), producer_(producer) {
    append<uint32_t>(frame_, 0);
    append<uint32_t>(frame_, static_cast<uint32_t>(shape.job.size() * shape.jobs_per_write));
    append<uint8_t>(frame_, 3);
    append<uint8_t>(frame_, 0);
    append<uint16_t>(frame_, static_cast<uint16_t>(shape.jobs_per_write));
    repeat(frame_, job_text(shape), shape.jobs_per_write);
  }

  void greet(std::string& out) noexcept override {
    out.append("USHR\1\0\1\0", 8);
    std::string hello;
    const std::string_view name = "bench";
    append<uint32_t>(hello, static_cast<uint32_t>(13 + name.size()));
    append<uint8_t>(hello, 1);
    append<uint8_t>(hello, 0);
    append<uint16_t>(hello, 0);
    append<uint64_t>(hello, producer_);
    append<uint32_t>(hello, 0);
    append<uint8_t>(hello, static_cast<uint8_t>(name.size()));
    hello += name;
    append<uint32_t>(out, usher::crc32c({bytes_of(hello), hello.size()}));
    out += hello;
  }

  bool has_room() const noexcept override { return credit_ >= frame_.size(); }

  void write(uint64_t first, std::string& out) noexcept override {
    uint8_t* sequence = bytes_of(frame_) + 12 + 4;
    for (uint64_t i = 0; i < shape_.jobs_per_write; i++, sequence += shape_.job.size()) {
      const uint64_t value = first + i;
      std::memcpy(sequence, &value, sizeof value);
    }
    const uint32_t crc = usher::crc32c({bytes_of(frame_) + 4, frame_.size() - 4});
    std::memcpy(frame_.data(), &crc, sizeof crc);
    credit_ -= frame_.size();
    out += frame_;
  }

  int64_t read(std::span<const uint8_t> in, std::string& out, Answers& answers) noexcept override {
    size_t at = 0;
    if (!has_preamble_) {
      if (in.size() < 8) return 0;
      has_preamble_ = true;
      at = 8;
    }
    while (in.size() - at >= 12) {
      const uint8_t* header = in.data() + at;
      const uint32_t length = load<uint32_t>(header + 4);
      const uint16_t count = load<uint16_t>(header + 10);
      if (in.size() - at < 12 + size_t{length}) break;
      const std::span<const uint8_t> payload = in.subspan(at + 12, length);
      at += 12 + size_t{length};
      switch (header[8]) {
        case 2:
          if (length < 24) return fail("WELCOME is too short");
          credit_ = load<uint64_t>(payload.data() + 16);
          greeted_ = true;
          break;
        case 4:
          if (length != size_t{count} * 12) return fail("ACK has another length than its count says");
          for (size_t i = 0; i < length; i += 12) {
            answers.answered(load<uint64_t>(payload.data() + i), load<uint32_t>(payload.data() + i + 8), true);
          }
          break;
        case 5:
          for (size_t i = 0; i + 12 <= length; i += 12 + size_t{payload[i + 11]}) {
            answers.answered(load<uint64_t>(payload.data() + i), 1, false);
          }
          break;
        case 6: credit_ += load<uint64_t>(payload.data()); break;
        case 7: pong(payload, out); break;
        case 10: return fail(text_of(payload.subspan(4)));
        default: return fail("a frame that this generator doesn't know");
      }
    }
    return static_cast<int64_t>(at);
  }

 private:
  static void pong(std::span<const uint8_t> token, std::string& out) noexcept {
    std::string frame;
    append<uint32_t>(frame, static_cast<uint32_t>(token.size()));
    append<uint32_t>(frame, 8);
    frame += text_of(token);
    append<uint32_t>(out, usher::crc32c({bytes_of(frame), frame.size()}));
    out += frame;
  }

  const Shape& shape_;
  uint64_t producer_;
  std::string frame_;
  uint64_t credit_ = 0;
  bool has_preamble_ = false;
};

// Peers that answer each job in the order in which they came, with the same write each time.
class InOrderSpeaker : public Speaker {
 public:
  void greet(std::string&) noexcept override { greeted_ = true; }
  void write(uint64_t, std::string& out) noexcept override { out += whole_; }

 protected:
  std::string whole_;
  uint64_t next_ = 1;
};

// XADD jobs * job <bytes>: a bulk string with the entry's id for each.
class RedisSpeaker final : public InOrderSpeaker {
 public:
  explicit RedisSpeaker(const Shape& shape) {
    const std::string job = job_text(shape);
    repeat(whole_, "*5\r\n$4\r\nXADD\r\n$4\r\njobs\r\n$1\r\n*\r\n$3\r\njob\r\n$" + std::to_string(job.size()) + "\r\n" + job + "\r\n",
           shape.jobs_per_write);
  }

  int64_t read(std::span<const uint8_t> in, std::string&, Answers& answers) noexcept override {
    const std::string_view text = text_of(in);
    size_t at = 0;
    uint64_t accepted = 0;
    while (at < text.size()) {
      if (text[at] == '-') return fail(text.substr(at, line_bytes(text.substr(at))));
      const size_t length = line_bytes(text.substr(at));
      const size_t id = length == 0 ? 0 : line_bytes(text.substr(at + length));
      if (id == 0) break;
      if (text[at] != '$') return fail("XADD is answered with something else than an id");
      at += length + id;
      accepted++;
    }
    if (accepted > 0) answers.answered(next_, accepted, true);
    next_ += accepted;
    return static_cast<int64_t>(at);
  }
};

// put <priority> <delay> <time to run> <bytes>: INSERTED <id>, or BURIED and others, which are refusals.
class BeanstalkdSpeaker final : public InOrderSpeaker {
 public:
  explicit BeanstalkdSpeaker(const Shape& shape) {
    const std::string job = job_text(shape);
    repeat(whole_, "put 1024 0 60 " + std::to_string(job.size()) + "\r\n" + job + "\r\n", shape.jobs_per_write);
  }

  int64_t read(std::span<const uint8_t> in, std::string&, Answers& answers) noexcept override {
    const std::string_view text = text_of(in);
    size_t at = 0;
    for (size_t length = line_bytes(text); length != 0; length = line_bytes(text.substr(at))) {
      answers.answered(next_++, 1, text.substr(at).starts_with("INSERTED "));
      at += length;
    }
    return static_cast<int64_t>(at);
  }
};

// SUBMIT_JOB_BG (18): JOB_CREATED (8) for each. Integers are big-endian; names end with a zero byte.
class GearmanSpeaker final : public InOrderSpeaker {
 public:
  explicit GearmanSpeaker(const Shape& shape) {
    const std::string job = job_text(shape);
    // No unique id: the server makes one for each.
    const std::string body = std::string("jobs") + '\0' + '\0' + job;
    std::string packet("\0REQ\0\0\0\x12", 8);
    const auto size = static_cast<uint32_t>(body.size());
    for (const int shift : {24, 16, 8, 0}) packet += static_cast<char>(size >> shift & 0xff);
    repeat(whole_, packet + body, shape.jobs_per_write);
  }

  int64_t read(std::span<const uint8_t> in, std::string&, Answers& answers) noexcept override {
    size_t at = 0;
    while (in.size() - at >= 12) {
      const uint8_t* header = in.data() + at;
      const size_t length = size_t{header[8]} << 24 | size_t{header[9]} << 16 | size_t{header[10]} << 8 | header[11];
      if (in.size() - at < 12 + length) break;
      answers.answered(next_++, 1, header[7] == 8);
      at += 12 + length;
    }
    return static_cast<int64_t>(at);
  }
};

// PUB jobs <inbox> <bytes> to a subject that a stream stores: its acknowledgement comes as a message to the inbox. The
// inbox ends with the job's number on this connection, so that answers may come in any order.
class NatsSpeaker final : public Speaker {
 public:
  NatsSpeaker(const Shape& shape, uint64_t connection)
      : shape_(shape), job_(job_text(shape)), inbox_("_INBOX." + std::to_string(connection) + ".") {}

  void greet(std::string& out) noexcept override {
    out += "CONNECT {\"verbose\":false,\"pedantic\":false,\"name\":\"bench\"}\r\nSUB " + inbox_ + "* 1\r\nPING\r\n";
  }

  void write(uint64_t first, std::string& out) noexcept override {
    for (uint64_t i = 0; i < shape_.jobs_per_write; i++) {
      out += "PUB jobs ";
      out += inbox_;
      out += std::to_string(first + i);
      out += ' ';
      out += std::to_string(job_.size());
      out += "\r\n";
      out += job_;
      out += "\r\n";
    }
  }

  int64_t read(std::span<const uint8_t> in, std::string& out, Answers& answers) noexcept override {
    const std::string_view text = text_of(in);
    size_t at = 0;
    for (;;) {
      const std::string_view rest = text.substr(at);
      const size_t line = line_bytes(rest);
      if (line == 0) break;
      if (rest.starts_with("MSG ")) {
        const std::string_view words = rest.substr(0, line - 2);
        const size_t bytes = number_at(words, words.rfind(' ') + 1);
        if (rest.size() < line + bytes + 2) break;
        const uint64_t job = number_at(words, 4 + inbox_.size());
        answers.answered(job, 1, rest.substr(line, bytes).find("\"error\"") == std::string_view::npos);
        at += line + bytes + 2;
        continue;
      }
      if (rest.starts_with("-ERR")) return fail(rest.substr(0, line - 2));
      if (rest.starts_with("PING")) out += "PONG\r\n";
      if (rest.starts_with("PONG")) greeted_ = true;
      at += line;
    }
    return static_cast<int64_t>(at);
  }

 private:
  static uint64_t number_at(std::string_view text, size_t at) noexcept {
    uint64_t value = 0;
    for (; at < text.size() && text[at] >= '0' && text[at] <= '9'; at++) value = value * 10 + static_cast<uint64_t>(text[at] - '0');
    return value;
  }

  const Shape& shape_;
  std::string job_;
  std::string inbox_;
};

}  // namespace

std::unique_ptr<Speaker> make_speaker(std::string_view protocol, const Shape& shape, uint64_t connection) {
  if (protocol == "usher") return std::make_unique<UsherSpeaker>(shape, connection);
  if (protocol == "redis") return std::make_unique<RedisSpeaker>(shape);
  if (protocol == "nats") return std::make_unique<NatsSpeaker>(shape, connection);
  if (protocol == "beanstalkd") return std::make_unique<BeanstalkdSpeaker>(shape);
  if (protocol == "gearman") return std::make_unique<GearmanSpeaker>(shape);
  return nullptr;
}

}  // namespace bench
