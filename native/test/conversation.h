// A producer's half of conversations for tests: writes frames, right or wrong, and reads what usher answered.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "../core/wire.h"
#include "job-model.h"

namespace usher::test {

struct SentJob {
  uint64_t sequence;
  Bytes fields;
};

// A valid job of a few fields.
SentJob small_job(uint64_t sequence);

Bytes preamble(std::string_view magic = "USHR", uint16_t first = 1, uint16_t second = 1);
Bytes frame(FrameType type, std::span<const uint8_t> payload, uint16_t count = 0, uint8_t flags = 0);
Bytes hello(uint64_t producer = 0x9f8c2e71a4b0d3e5u, std::string_view name = "test");
Bytes jobs(std::span<const SentJob> sent);
Bytes jobs(std::initializer_list<uint64_t> sequences);
Bytes ping(uint64_t token);
Bytes goodbye();
Bytes operator+(Bytes a, const Bytes& b);

struct Refused {
  uint64_t sequence;
  uint16_t code;
  uint8_t field;
  std::string detail;
};

// All that a run of bytes from usher says. `sound` is false where it isn't made of whole, true frames.
struct Answers {
  bool sound = true;
  // The first eight bytes were a preamble.
  bool preamble = false;
  uint16_t version = 0;
  std::vector<FrameType> types;
  std::vector<uint64_t> acked;
  std::vector<Refused> refused;
  std::vector<uint64_t> pongs;
  uint64_t credit = 0;
  uint16_t error = 0;
  int goodbyes = 0;
  uint16_t goodbye_code = 0;
};

Answers read_answers(std::span<const uint8_t> bytes, bool with_preamble);

}  // namespace usher::test
