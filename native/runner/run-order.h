// What the driver tells a runner on its standard input: one job and what to do with it. The order is not
// JSON, so that nothing here can be misread: a decimal length, a line feed, and that many bytes of
// `key=value` fields, each ended by a NUL byte. A reader that gets fewer bytes (its driver died while
// writing) has no order.
#pragma once

#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace usher {

struct RunOrder {
  /// Absolute path of the directory for the records of this job's producer; it exists.
  std::string records;
  /// Name of the records without their suffix: the job's sequence.
  std::string name;
  /// Lines that go into the run record as they are: id, term, host, instance.
  std::vector<std::string> stamps;
  /// CLOCK_BOOTTIME after which this job must not be claimed any more.
  std::int64_t deadline_ms = 0;
  /// 0: no bound.
  std::int64_t duration_ms = 0;
  std::int64_t grace_ms = 5000;
  std::string directory;
  std::string stdin_path;
  std::string stdout_path;
  std::string stderr_path;
  std::vector<std::string> arguments;
  std::vector<std::string> environment;
};

/// Largest order taken, in bytes. Linux allows 2 MiB of arguments and environment by default.
inline constexpr std::size_t order_bytes_max = 64u << 20;

/// Reads to the end of `fd`. False: an error, or more than an order may have.
inline bool read_to_end(int fd, std::string& text) noexcept {
  char buffer[65536];
  for (;;) {
    const ssize_t got = ::read(fd, buffer, sizeof buffer);
    if (got == 0) return true;
    if (got < 0) {
      if (errno == EINTR) continue;
      return false;
    }
    text.append(buffer, static_cast<std::size_t>(got));
    if (text.size() > order_bytes_max) return false;
  }
}

inline bool parse_number(std::string_view text, std::int64_t& value) noexcept {
  const auto result = std::from_chars(text.data(), text.data() + text.size(), value);
  return result.ec == std::errc{} && result.ptr == text.data() + text.size() && value >= 0;
}

/// False with a reason where the text is not a whole, sensible order.
inline bool parse_order(std::string_view text, RunOrder& order, std::string& reason) noexcept {
  const std::size_t line_end = text.find('\n');
  std::int64_t length = 0;
  if (line_end == std::string_view::npos || !parse_number(text.substr(0, line_end), length)) {
    reason = "the order has no length";
    return false;
  }
  std::string_view fields = text.substr(line_end + 1);
  if (fields.size() != static_cast<std::size_t>(length)) {
    reason = "the order is cut off";
    return false;
  }
  while (!fields.empty()) {
    const std::size_t end = fields.find('\0');
    const std::string_view field = fields.substr(0, end);
    const std::size_t equals = field.find('=');
    if (end == std::string_view::npos || equals == std::string_view::npos) {
      reason = "the order holds a field that isn't one";
      return false;
    }
    const std::string_view key = field.substr(0, equals);
    const std::string_view value = field.substr(equals + 1);
    bool fits = true;
    if (key == "records") order.records = value;
    else if (key == "name") order.name = value;
    else if (key == "stamp") order.stamps.emplace_back(value);
    else if (key == "deadline_ms") fits = parse_number(value, order.deadline_ms);
    else if (key == "duration_ms") fits = parse_number(value, order.duration_ms);
    else if (key == "grace_ms") fits = parse_number(value, order.grace_ms);
    else if (key == "directory") order.directory = value;
    else if (key == "stdin") order.stdin_path = value;
    else if (key == "stdout") order.stdout_path = value;
    else if (key == "stderr") order.stderr_path = value;
    else if (key == "argument") order.arguments.emplace_back(value);
    else if (key == "environment") order.environment.emplace_back(value);
    else fits = false;
    if (!fits) {
      reason = "the order holds a field that this runner doesn't know: ";
      reason += key;
      return false;
    }
    fields.remove_prefix(end + 1);
  }
  if (order.records.empty() || order.records[0] != '/' || order.name.empty() ||
      order.name.find('/') != std::string::npos || order.arguments.empty() || order.deadline_ms == 0) {
    reason = "the order is incomplete";
    return false;
  }
  return true;
}

}  // namespace usher
