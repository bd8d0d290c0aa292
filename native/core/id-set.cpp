#include "id-set.h"

#include <algorithm>
#include <bit>

namespace usher {
namespace {

constexpr size_t slots_min = 64;
// Of a node of the map, with what malloc puts before it.
constexpr size_t run_bytes = 80;

}  // namespace

uint64_t block_hash(uint64_t secret, uint64_t producer, uint64_t number) noexcept {
  const auto mix = [](uint64_t a, uint64_t b) {
    // GCC and Clang both have it; the standard has no name for it.
    __extension__ using Wide = unsigned __int128;
    const Wide product = static_cast<Wide>(a) * b;
    return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
  };
  const uint64_t first = mix(producer ^ secret, 0x9e3779b97f4a7c15u);
  return mix(first ^ number, 0xd6e8feb86659fd93u ^ std::rotl(secret, 32));
}

IdSet::IdSet(uint64_t secret) noexcept : secret_(secret), table_(slots_min, Block{0, 0, 0}) {}

uint64_t IdSet::bytes() const noexcept { return table_.capacity() * sizeof(Block) + runs_.size() * run_bytes; }

// The block's slot, or the free one where it goes.
size_t IdSet::find(uint64_t producer, uint64_t number) const noexcept {
  const size_t mask = table_.size() - 1;
  size_t slot = static_cast<size_t>(block_hash(secret_, producer, number)) & mask;
  while (table_[slot].present != 0 && (table_[slot].producer != producer || table_[slot].number != number)) {
    slot = (slot + 1) & mask;
  }
  return slot;
}

uint64_t IdSet::present(uint64_t producer, uint64_t number) const noexcept {
  const uint64_t bits = table_[find(producer, number)].present;
  if (bits != 0 || runs_.empty()) return bits;
  auto run = runs_.upper_bound({producer, number});
  if (run == runs_.begin()) return 0;
  --run;
  return run->first.first == producer && number <= run->second ? ~uint64_t{0} : 0;
}

void IdSet::add(uint64_t producer, uint64_t number, uint64_t bits) noexcept {
  const uint64_t before = present(producer, number);
  const uint64_t after = before | bits;
  if (after == before) return;
  size_t slot = find(producer, number);
  if (after == ~uint64_t{0}) {
    size_ -= static_cast<uint64_t>(std::popcount(before));
    if (before != 0) erase(slot);
    add_run(producer, number, number);
    return;
  }
  if (before == 0) {
    // At most three quarters of the slots are in use.
    if ((used_ + 1) * 4 > table_.size() * 3) {
      grow();
      slot = find(producer, number);
    }
    used_++;
  }
  table_[slot] = Block{producer, number, after};
  size_ += static_cast<uint64_t>(std::popcount(after ^ before));
}

void IdSet::add_run(uint64_t producer, uint64_t first, uint64_t last) noexcept {
  // Takes in all runs that it overlaps or touches; block numbers have 58 bits, so that one more is no overflow.
  auto next = runs_.upper_bound({producer, first});
  if (next != runs_.begin()) {
    const auto before = std::prev(next);
    if (before->first.first == producer && before->second + 1 >= first) next = before;
  }
  while (next != runs_.end() && next->first.first == producer && next->first.second <= last + 1) {
    first = std::min(first, next->first.second);
    last = std::max(last, next->second);
    size_ -= (next->second - next->first.second + 1) * 64;
    next = runs_.erase(next);
  }
  size_ += (last - first + 1) * 64;
  runs_.emplace_hint(next, std::pair{producer, first}, last);
}

// Those behind it in its cluster move up, so that no search stops at the gap.
void IdSet::erase(size_t slot) noexcept {
  const size_t mask = table_.size() - 1;
  used_--;
  for (size_t next = slot;;) {
    table_[slot].present = 0;
    for (;;) {
      next = (next + 1) & mask;
      const Block& block = table_[next];
      if (block.present == 0) return;
      const size_t home = static_cast<size_t>(block_hash(secret_, block.producer, block.number)) & mask;
      if (((next - home) & mask) >= ((next - slot) & mask)) break;
    }
    table_[slot] = table_[next];
    slot = next;
  }
}

void IdSet::grow() noexcept {
  std::vector<Block> old(table_.size() * 2, Block{0, 0, 0});
  old.swap(table_);
  for (const Block& block : old) {
    if (block.present != 0) table_[find(block.producer, block.number)] = block;
  }
}

}  // namespace usher
