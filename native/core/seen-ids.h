// Which job ids have been seen, each with the digest of its content. Producers count their jobs, so ids come
// as runs: 64 neighbouring sequences of a producer share a block with one bit each and their digests packed
// behind it. Dense runs cost 8 bytes and a half an id; a lone id costs one slot of the table and nothing
// else. Not for several threads.
//
// Digests can be forgotten by age, counted in generations that the owner begins: the ids stay seen for ever, in
// an IdSet, where runs without gaps cost next to nothing.
//
// What is held can be saved in pieces while ids are admitted, and loaded again: the pieces hold at least what was
// there when saving began, and nothing that wasn't there when it ended. A piece is words of 64 bits, little-endian:
// 1, then for each block producer, number (58 bits) | age in generations << 58, present, digests in the order of
// the bits; or 2, then producer, number, present of blocks without digests; or 3, then producer, first and last
// number of a run of full blocks without digests.
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
#include <vector>

#include "id-set.h"

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

  // Begins a generation: what is admitted from now on is younger than all before. Ages beyond 63 count modulo 64.
  void advance() noexcept { generation_ = (generation_ + 1) % generations; }
  // Forgets the digests of blocks that nothing was added to for `age` generations, looking at so many slots from
  // where it stopped the last time. True: that was the last of them, and the next call begins anew.
  bool forget(unsigned age, size_t slots) noexcept;

  void begin_save() noexcept;
  // The next piece, of little more than so many bytes; empty when all is saved.
  std::vector<uint64_t> save(size_t bytes) noexcept;
  // Adds what a piece holds. False: it is none, and what it held is added in part.
  bool load(std::span<const uint64_t> piece) noexcept;

  uint64_t size() const noexcept { return size_ + old_.size(); }
  // Of the tables and the digests, with what the allocator adds to each.
  uint64_t bytes() const noexcept { return bytes_ + old_.bytes(); }

 private:
  static constexpr unsigned generations = 64;
  static constexpr uint64_t number_max = (uint64_t{1} << 58) - 1;

  // `present`: bit i stands for sequence block × 64 + i; 0 marks a free slot. A single digest stands in the
  // slot itself, more stand behind the pointer, in the order of their bits, in room for the next power of
  // two.
  struct Block {
    uint64_t producer;
    // With the generation in which something was last added in its upper 6 bits.
    uint64_t stamped;
    uint64_t present;
    union {
      uint64_t digest;
      uint64_t* digests;
    };
    uint64_t number() const noexcept { return stamped & number_max; }
    unsigned generation() const noexcept { return static_cast<unsigned>(stamped >> 58); }
    const uint64_t* first_digest() const noexcept { return std::popcount(present) > 1 ? digests : &digest; }
  };

  size_t home(uint64_t producer, uint64_t number) const noexcept;
  Block& find(uint64_t producer, uint64_t number) noexcept;
  Block& take(uint64_t producer, uint64_t number) noexcept;
  bool is_old(uint64_t producer, uint64_t number, unsigned bit) noexcept;
  void insert(Block& block, unsigned bit, uint64_t digest) noexcept;
  void erase(size_t slot) noexcept;
  void resize(size_t slots) noexcept;
  unsigned age(const Block& block) const noexcept {
    return (generation_ + generations - block.generation()) % generations;
  }
  uint64_t stamp(uint64_t number, unsigned generation) const noexcept {
    return number | uint64_t{generation} << 58;
  }
  bool load_blocks(std::span<const uint64_t> words) noexcept;

  uint64_t secret_;
  Block* table_ = nullptr;
  size_t slots_ = 0;
  size_t used_ = 0;
  // The block asked for last: ids mostly come in runs.
  size_t last_ = 0;
  uint64_t size_ = 0;
  uint64_t bytes_ = 0;
  unsigned generation_ = 0;

  // Ids whose digests are forgotten, and what it said of the block asked for last.
  IdSet old_;
  uint64_t old_producer_ = 0;
  uint64_t old_number_ = UINT64_MAX;
  uint64_t old_present_ = 0;

  size_t forget_slot_ = 0;
  enum class Saving : uint64_t { nothing = 0, blocks = 1, old_blocks = 2, old_runs = 3 };
  Saving saving_ = Saving::nothing;
  size_t save_slot_ = 0;
  std::pair<uint64_t, uint64_t> save_run_;
};

}  // namespace usher
