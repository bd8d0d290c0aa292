// Which job ids have been seen, each with the digest of its content. Producers count their jobs, so ids come
// as runs: 64 neighbouring sequences of a producer share a block with one bit each and their digests packed
// behind it. Dense runs cost 8 bytes and a half an id; a lone id costs one slot of the table and nothing
// else. Not for several threads.
//
// The table is open addressing over blocks, keyed with a secret, so that nobody outside can choose colliding
// ids.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <span>

namespace usher {

class SeenIds {
 public:
  enum class Answer : uint8_t { added = 0, same = 1, conflict = 2 };

  explicit SeenIds(uint64_t secret) noexcept;
  ~SeenIds() noexcept;
  SeenIds(const SeenIds&) = delete;
  SeenIds& operator=(const SeenIds&) = delete;

  // Keeps the first digest of an id, whatever comes later.
  Answer admit(uint64_t producer, uint64_t sequence, uint64_t digest) noexcept;

  // All spans have the length of `answers`.
  void admit(std::span<const uint64_t> producers, std::span<const uint64_t> sequences,
             std::span<const uint64_t> digests, std::span<uint8_t> answers) noexcept;

  uint64_t size() const noexcept { return size_; }
  // Of the table and the digests, with what the allocator adds to each.
  uint64_t bytes() const noexcept { return bytes_; }

 private:
  // `present`: bit i stands for sequence block × 64 + i; 0 marks a free slot. A single digest stands in the
  // slot itself, more stand behind the pointer, in the order of their bits, in room for the next power of
  // two.
  struct Block {
    uint64_t producer;
    uint64_t number;
    uint64_t present;
    union {
      uint64_t digest;
      uint64_t* digests;
    };
  };

  size_t home(uint64_t producer, uint64_t number) const noexcept;
  Block& find(uint64_t producer, uint64_t number) noexcept;
  void insert(Block& block, unsigned bit, uint64_t digest) noexcept;
  void resize(size_t slots) noexcept;

  uint64_t secret_;
  Block* table_ = nullptr;
  size_t slots_ = 0;
  size_t used_ = 0;
  // The block asked for last: ids mostly come in runs.
  size_t last_ = 0;
  uint64_t size_ = 0;
  uint64_t bytes_ = 0;
};

}  // namespace usher
