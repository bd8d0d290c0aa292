// Ids of which nothing is known but that they have been seen. 64 neighbouring sequences of a producer share a
// block with one bit each; blocks that are full join their neighbours to runs, so that a producer that counts
// without gaps costs one run and two blocks, however far it has counted. Nothing ever leaves. Not for several
// threads.
//
// The table is open addressing over blocks, keyed with a secret as that of SeenIds.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <utility>
#include <vector>

namespace usher {

// Where a block of a producer goes in a table: two rounds of a full multiplication folded onto itself, keyed, so
// that each bit of both numbers depends on each of the secret's.
uint64_t block_hash(uint64_t secret, uint64_t producer, uint64_t number) noexcept;

class IdSet {
 public:
  explicit IdSet(uint64_t secret) noexcept;

  // The bits of the sequences number × 64 … number × 64 + 63 that are in the set.
  uint64_t present(uint64_t producer, uint64_t number) const noexcept;
  void add(uint64_t producer, uint64_t number, uint64_t bits) noexcept;
  // All sequences of the blocks first … last.
  void add_run(uint64_t producer, uint64_t first, uint64_t last) noexcept;

  uint64_t size() const noexcept { return size_; }
  // With what the allocator adds.
  uint64_t bytes() const noexcept;

  struct Block {
    uint64_t producer;
    uint64_t number;
    // 0 marks a free slot.
    uint64_t present;
  };
  // Producer and first block → last block. Runs of a producer neither overlap nor touch.
  using Runs = std::map<std::pair<uint64_t, uint64_t>, uint64_t>;

  // For saving. Slots with present == 0 are free.
  const std::vector<Block>& slots() const noexcept { return table_; }
  const Runs& runs() const noexcept { return runs_; }

 private:
  size_t find(uint64_t producer, uint64_t number) const noexcept;
  void erase(size_t slot) noexcept;
  void grow() noexcept;

  uint64_t secret_;
  std::vector<Block> table_;
  size_t used_ = 0;
  Runs runs_;
  uint64_t size_ = 0;
};

}  // namespace usher
