// The frames that answer jobs. Appends whole frames to a buffer; knows nothing of when they may be sent.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "group.h"
#include "wire.h"

namespace usher {

using OutputBytes = std::vector<uint8_t>;

// Every job of the share is on stable storage.
void append_acks(const Group& group, const Share& share, OutputBytes& to) noexcept;
// None of them is.
void append_refusals(const Group& group, const Share& share, Code code, OutputBytes& to) noexcept;
void append_credit(uint64_t bytes, OutputBytes& to) noexcept;
void append_error(Code code, std::string_view message, OutputBytes& to) noexcept;

// Items of REFUSED frames, gathered so that many share one.
class RefusalList {
 public:
  // `to` is only touched when a frame's worth of items has come together, and by flush().
  void add(uint64_t sequence, Code code, Field field, std::string_view detail, OutputBytes& to) noexcept;
  void flush(OutputBytes& to) noexcept;

 private:
  OutputBytes items_;
  uint16_t count_ = 0;
};

}  // namespace usher
