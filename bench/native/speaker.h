// One connection's side of a protocol, usher's or a peer's: what greets, what sends jobs, what an answer means. A speaker
// makes and reads bytes; sockets and times are the loop's (load.cpp).
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace bench {

// Where a speaker tells what it read.
class Answers {
 public:
  virtual ~Answers() = default;
  // These jobs of the connection, counted from 1, are stored as the protocol promises it, or were refused.
  virtual void answered(uint64_t first, uint64_t count, bool accepted) noexcept = 0;
};

struct Shape {
  // One job as usher encodes it, its sequence at offset 4. Peers carry the same bytes as they are.
  std::vector<uint8_t> job;
  uint32_t jobs_per_write = 400;
};

class Speaker {
 public:
  virtual ~Speaker() = default;
  virtual void greet(std::string& out) noexcept = 0;
  // Whether jobs may be sent at all, and whether a whole write may be sent now.
  bool greeted() const noexcept { return greeted_; }
  virtual bool has_room() const noexcept { return true; }
  // Appends one write: jobs first to first + jobs_per_write − 1.
  virtual void write(uint64_t first, std::string& out) noexcept = 0;
  // Takes whole messages off the front. The bytes taken, or −1: broken, with a reason. What must be said in return goes to `out`.
  virtual int64_t read(std::span<const uint8_t> in, std::string& out, Answers& answers) noexcept = 0;
  const std::string& failure() const noexcept { return failure_; }

 protected:
  int64_t fail(std::string_view reason) noexcept {
    failure_ = reason;
    return -1;
  }
  bool greeted_ = false;

 private:
  std::string failure_;
};

// usher, redis, nats, beanstalkd, gearman. Null where the name is none of these.
std::unique_ptr<Speaker> make_speaker(std::string_view protocol, const Shape& shape, uint64_t connection);

}  // namespace bench
