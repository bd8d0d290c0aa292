// Latencies in log-linear buckets, as HDR histograms have them: 128 to each power of two of microseconds, so that no value
// is off by more than 1 %, whatever its size. Owns the counts and nothing else.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstdio>

namespace bench {

class Latencies {
 public:
  void add(int64_t ns, uint64_t count) noexcept {
    const uint64_t us = ns <= 0 ? 0 : static_cast<uint64_t>(ns) / 1000;
    counts_[index_of(us)] += count;
  }

  // `[[upper edge in microseconds, count], …]`, ascending, without empty buckets.
  void print(std::FILE* to) const noexcept {
    const char* comma = "";
    std::fputc('[', to);
    for (size_t index = 0; index < counts_.size(); index++) {
      if (counts_[index] == 0) continue;
      std::fprintf(to, "%s[%llu,%llu]", comma, static_cast<unsigned long long>(upper_edge(index)),
                   static_cast<unsigned long long>(counts_[index]));
      comma = ",";
    }
    std::fputc(']', to);
  }

 private:
  // Below 256 a bucket is a microsecond; from there each doubling of the value has 128 buckets.
  static constexpr size_t index_of(uint64_t us) noexcept {
    const auto width = static_cast<int>(std::bit_width(us));
    if (width <= 8) return us;
    const int shift = width - 8;
    const size_t index = static_cast<size_t>(shift) * 128 + (us >> shift);
    return index < buckets ? index : buckets - 1;
  }

  static constexpr uint64_t upper_edge(size_t index) noexcept {
    if (index < 256) return index + 1;
    const size_t shift = index / 128 - 1;
    return (index - shift * 128 + 1) << shift;
  }

  static constexpr size_t buckets = 34 * 128;
  std::array<uint64_t, buckets> counts_{};
};

}  // namespace bench
