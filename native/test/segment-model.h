// Segments for tests, made in the most straightforward way: as the writer writes them, with marks.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "../core/crc32c.h"
#include "../core/direct-io.h"

namespace usher::test {

inline std::span<const uint8_t> as_bytes(std::string_view text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

inline const std::string segment_head =
    "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
    "<segment xmlns=\"urn:usher:segment:1\" store=\"s\" host=\"h\" instance=\"h-1\" pid=\"4711\" "
    "version=\"0.1.0\" "
    "config=\"c\" number=\"17\" opened=\"2026-11-23T04:00:00.123Z\">\n";
inline const std::string segment_tail = "</segment>\n";

inline std::string job_line(uint64_t sequence,
                            std::string_view inside = "<executable>/bin/echo</executable>") {
  return "<job id=\"9f8c2e71a4b0d3e5-" + std::to_string(sequence) +
         "\" at=\"2026-11-23T04:00:00.124Z\" cluster=\"main\">" + std::string(inside) + "</job>\n";
}

// The mark of everything before it.
inline std::string mark_behind(std::string_view before, uint64_t jobs) {
  char digits[9];
  const uint32_t crc = crc32c(as_bytes(before));
  for (int i = 0; i < 8; i++) digits[i] = "0123456789abcdef"[(crc >> (28 - 4 * i)) & 15];
  digits[8] = '\0';
  return "<?usher-commit jobs=\"" + std::to_string(jobs) + "\" bytes=\"" + std::to_string(before.size()) +
         "\" crc32c=\"" + digits + "\"?>\n";
}

// The white space behind it that makes it whole blocks.
inline std::string padding_behind(std::string_view before) {
  std::string padding;
  if (const size_t over = before.size() % block_bytes; over > 0) {
    padding.assign(block_bytes - over, ' ');
    padding.back() = '\n';
  }
  return padding;
}

}  // namespace usher::test
