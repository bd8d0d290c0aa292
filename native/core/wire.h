// The shapes of docs/protocol.md: preamble, frame header, types, codes and field tags, and what reads and
// writes them. Pure bytes: it must know nothing of sockets, sessions or files.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>
#include <type_traits>

#include "crc32c.h"
#include "text.h"

namespace usher {

inline constexpr uint16_t protocol_version = 1;
inline constexpr uint16_t default_port = 7433;
inline constexpr size_t preamble_bytes = 8;
inline constexpr size_t frame_header_bytes = 12;
// A job in a JOBS payload begins with its length (4) and its sequence (8, counted by the length).
inline constexpr size_t job_length_bytes = 4;
inline constexpr size_t job_sequence_bytes = 8;

enum class FrameType : uint8_t {
  hello = 1,
  welcome = 2,
  jobs = 3,
  ack = 4,
  refused = 5,
  credit = 6,
  ping = 7,
  pong = 8,
  goodbye = 9,
  error = 10,
};

enum class Code : uint16_t {
  none = 0,
  not_usher = 1,
  version_unsupported = 2,
  frame_corrupt = 3,
  frame_too_large = 4,
  frame_unexpected = 5,
  frame_malformed = 6,
  credit_exceeded = 7,
  connections_exhausted = 8,
  hello_timeout = 9,
  frame_timeout = 10,
  idle_timeout = 11,
  memory_exhausted = 12,
  output_overrun = 13,
  job_malformed = 32,
  job_too_large = 33,
  field_missing = 34,
  field_invalid = 35,
  field_order = 36,
  field_unknown = 37,
  text_not_utf8 = 38,
  text_not_xml = 39,
  cluster_unknown = 40,
  cluster_required = 41,
  resources_contradict = 42,
  store_full = 64,
  store_failing = 65,
  draining = 66,
  retired = 67,
};

enum class Field : uint8_t {
  job = 0,  // in refusals: not one field, the job
  cluster = 1,
  traceparent = 2,
  name = 3,
  executable = 4,
  arguments = 5,
  directory = 6,
  inherit_environment = 7,
  environment = 8,
  stdin_path = 9,
  stdout_path = 10,
  stderr_path = 11,
  node_count = 16,
  process_count = 17,
  processes_per_node = 18,
  cpu_cores_per_process = 19,
  gpu_cores_per_process = 20,
  exclusive_node_use = 21,
  memory = 22,
  duration = 32,
  queue_name = 33,
  account = 34,
  reservation_id = 35,
  custom_attributes = 36,
  pre_launch = 48,
  post_launch = 49,
  launcher = 50,
};

// Little-endian, at any alignment.
template <class T>
  requires std::is_unsigned_v<T>
inline T load_le(const uint8_t* from) noexcept {
  static_assert(std::endian::native == std::endian::little, "usher runs on little-endian machines");
  T value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

template <class T>
  requires std::is_unsigned_v<T>
inline void store_le(uint8_t* to, T value) noexcept {
  std::memcpy(to, &value, sizeof value);
}

// The producer's: lowest and highest version it speaks. usher's: the chosen one (0: none) and its highest.
struct Preamble {
  bool usher;
  uint16_t first;
  uint16_t second;
};

inline Preamble parse_preamble(std::span<const uint8_t, preamble_bytes> from) noexcept {
  return {std::memcmp(from.data(), "USHR", 4) == 0, load_le<uint16_t>(from.data() + 4),
          load_le<uint16_t>(from.data() + 6)};
}

inline void encode_preamble(uint16_t first, uint16_t second, std::span<uint8_t, preamble_bytes> to) noexcept {
  std::memcpy(to.data(), "USHR", 4);
  store_le(to.data() + 4, first);
  store_le(to.data() + 6, second);
}

// `type` may be a number that FrameType doesn't name: whoever reads it must have a default branch.
struct FrameHeader {
  uint32_t crc;
  uint32_t length;
  FrameType type;
  uint8_t flags;
  uint16_t count;
};

inline FrameHeader parse_frame_header(std::span<const uint8_t, frame_header_bytes> from) noexcept {
  const uint8_t* p = from.data();
  return {load_le<uint32_t>(p), load_le<uint32_t>(p + 4), static_cast<FrameType>(p[8]), p[9],
          load_le<uint16_t>(p + 10)};
}

inline void encode_frame_header(const FrameHeader& header,
                                std::span<uint8_t, frame_header_bytes> to) noexcept {
  uint8_t* p = to.data();
  store_le(p, header.crc);
  store_le(p + 4, header.length);
  p[8] = static_cast<uint8_t>(header.type);
  p[9] = header.flags;
  store_le(p + 10, header.count);
}

// Of a whole frame, header and payload: what its first four bytes must say.
inline uint32_t frame_crc(std::span<const uint8_t> frame) noexcept { return crc32c(frame.subspan(4)); }

// Reads a payload from front to back. Once something isn't there, ok() is false for good and everything reads
// as 0 or empty; so a whole payload can be read before ok() is asked, once. Texts are not validated.
class PayloadReader {
 public:
  explicit PayloadReader(std::span<const uint8_t> payload) noexcept
      : at_(payload.data()), end_(payload.data() + payload.size()) {}

  uint8_t u8() noexcept { return number<uint8_t>(); }
  uint16_t u16() noexcept { return number<uint16_t>(); }
  uint32_t u32() noexcept { return number<uint32_t>(); }
  uint64_t u64() noexcept { return number<uint64_t>(); }
  std::string_view text8() noexcept { return as_text(bytes(u8())); }
  std::string_view text16() noexcept { return as_text(bytes(u16())); }

  std::span<const uint8_t> bytes(size_t length) noexcept {
    if (!take(length)) return {};
    return {at_ - length, length};
  }

  size_t left() const noexcept { return static_cast<size_t>(end_ - at_); }
  bool ok() const noexcept { return ok_; }
  // Everything was there and nothing is left over, as protocol.md demands of every payload.
  bool finished() const noexcept { return ok_ && at_ == end_; }

 private:
  static std::string_view as_text(std::span<const uint8_t> bytes) noexcept {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }

  bool take(size_t length) noexcept {
    if (length > left() || !ok_) {
      ok_ = false;
      return false;
    }
    at_ += length;
    return true;
  }

  template <class T>
  T number() noexcept {
    return take(sizeof(T)) ? load_le<T>(at_ - sizeof(T)) : T{0};
  }

  const uint8_t* at_;
  const uint8_t* end_;
  bool ok_ = true;
};

// Appends one frame to a buffer that grows (std::vector<uint8_t> or anything with its size, data and resize).
// Nothing else may be appended to it between the constructor and finish(), which fills in length, count and
// CRC.
template <class Buffer>
class FrameWriter {
 public:
  FrameWriter(Buffer& buffer, FrameType type) noexcept : buffer_(buffer), start_(buffer.size()), type_(type) {
    grow(frame_header_bytes);
  }

  void u8(uint8_t value) noexcept { store_le(grow(sizeof value), value); }
  void u16(uint16_t value) noexcept { store_le(grow(sizeof value), value); }
  void u32(uint32_t value) noexcept { store_le(grow(sizeof value), value); }
  void u64(uint64_t value) noexcept { store_le(grow(sizeof value), value); }

  void bytes(std::span<const uint8_t> value) noexcept {
    uint8_t* to = grow(value.size());
    if (!value.empty()) std::memcpy(to, value.data(), value.size());
  }

  // Texts that are too long for their length are cut at a character.
  void text8(std::string_view text) noexcept {
    text = cut_text(text, UINT8_MAX);
    u8(static_cast<uint8_t>(text.size()));
    bytes({reinterpret_cast<const uint8_t*>(text.data()), text.size()});
  }

  void text16(std::string_view text) noexcept {
    text = cut_text(text, UINT16_MAX);
    u16(static_cast<uint16_t>(text.size()));
    bytes({reinterpret_cast<const uint8_t*>(text.data()), text.size()});
  }

  size_t payload_bytes() const noexcept { return buffer_.size() - start_ - frame_header_bytes; }

  void finish(uint16_t count = 0) noexcept {
    const std::span<uint8_t> frame(buffer_.data() + start_, buffer_.size() - start_);
    const FrameHeader header{0, static_cast<uint32_t>(payload_bytes()), type_, 0, count};
    encode_frame_header(header, frame.template first<frame_header_bytes>());
    store_le(frame.data(), frame_crc(frame));
  }

 private:
  uint8_t* grow(size_t by) noexcept {
    const size_t before = buffer_.size();
    buffer_.resize(before + by);
    return buffer_.data() + before;
  }

  Buffer& buffer_;
  size_t start_;
  FrameType type_;
};

}  // namespace usher
