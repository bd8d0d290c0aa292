#include "seen-ids.h"

#include <algorithm>
#include <cstring>

namespace usher {
namespace {

constexpr size_t slots_min = 64;
// What malloc puts before each block.
constexpr size_t allocation_overhead = 16;

// Room behind the pointer for that many digests, from two on.
size_t room_for(size_t digests) noexcept { return std::bit_ceil(digests); }

size_t bytes_of(size_t digests) noexcept {
  return digests < 2 ? 0 : room_for(digests) * sizeof(uint64_t) + allocation_overhead;
}

template <class T>
T* checked(void* memory) noexcept {
  // As a failed `new` does in code without exceptions.
  if (memory == nullptr) std::abort();
  return static_cast<T*>(memory);
}

}  // namespace

SeenIds::SeenIds(uint64_t secret) noexcept : secret_(secret), old_(secret) { resize(slots_min); }

SeenIds::~SeenIds() noexcept {
  for (size_t i = 0; i < slots_; i++) {
    if (std::popcount(table_[i].present) > 1) std::free(table_[i].digests);
  }
  std::free(table_);
}

size_t SeenIds::home(uint64_t producer, uint64_t number) const noexcept {
  return static_cast<size_t>(block_hash(secret_, producer, number)) & (slots_ - 1);
}

// The block, or the free slot where it goes.
SeenIds::Block& SeenIds::find(uint64_t producer, uint64_t number) noexcept {
  size_t slot = home(producer, number);
  while (table_[slot].present != 0 &&
         (table_[slot].producer != producer || table_[slot].number() != number)) {
    slot = (slot + 1) & (slots_ - 1);
  }
  last_ = slot;
  return table_[slot];
}

// A slot for a block that isn't there yet.
SeenIds::Block& SeenIds::take(uint64_t producer, uint64_t number) noexcept {
  // At most three quarters of the slots are in use.
  if ((used_ + 1) * 4 > slots_ * 3) resize(slots_ * 2);
  Block& block = find(producer, number);
  used_++;
  block.producer = producer;
  block.stamped = number;
  return block;
}

bool SeenIds::is_old(uint64_t producer, uint64_t number, unsigned bit) noexcept {
  if (old_.size() == 0) return false;
  if (producer != old_producer_ || number != old_number_) {
    old_producer_ = producer;
    old_number_ = number;
    old_present_ = old_.present(producer, number);
  }
  return (old_present_ >> bit & 1) != 0;
}

SeenIds::Answer SeenIds::admit(uint64_t producer, uint64_t sequence, uint64_t digest) noexcept {
  const uint64_t number = sequence >> 6;
  const auto bit = static_cast<unsigned>(sequence & 63);
  Block* block = &table_[last_];
  if (block->present == 0 || block->producer != producer || block->number() != number) {
    block = &find(producer, number);
  }
  if ((block->present >> bit & 1) == 0) {
    if (is_old(producer, number, bit)) return Answer::same;
    if (block->present == 0) block = &take(producer, number);
    block->stamped = stamp(number, generation_);
    insert(*block, bit, digest);
    return Answer::added;
  }
  const auto before = std::popcount(block->present & ((uint64_t{1} << bit) - 1));
  return block->first_digest()[before] == digest ? Answer::same : Answer::conflict;
}

void SeenIds::insert(Block& block, unsigned bit, uint64_t digest) noexcept {
  const auto count = static_cast<size_t>(std::popcount(block.present));
  const auto before = static_cast<size_t>(std::popcount(block.present & ((uint64_t{1} << bit) - 1)));
  if (count == 0) {
    block.digest = digest;
  } else {
    if (count == 1) {
      auto* digests = checked<uint64_t>(std::malloc(room_for(2) * sizeof(uint64_t)));
      digests[0] = block.digest;
      block.digests = digests;
    } else if (room_for(count + 1) != room_for(count)) {
      block.digests = checked<uint64_t>(std::realloc(block.digests, room_for(count + 1) * sizeof(uint64_t)));
    }
    std::memmove(block.digests + before + 1, block.digests + before, (count - before) * sizeof(uint64_t));
    block.digests[before] = digest;
  }
  block.present |= uint64_t{1} << bit;
  size_++;
  bytes_ += bytes_of(count + 1) - bytes_of(count);
}

// Those behind it in its cluster move up, so that no search stops at the gap.
void SeenIds::erase(size_t slot) noexcept {
  const size_t mask = slots_ - 1;
  used_--;
  for (size_t next = slot;;) {
    table_[slot].present = 0;
    for (;;) {
      next = (next + 1) & mask;
      const Block& block = table_[next];
      if (block.present == 0) return;
      if (((next - home(block.producer, block.number())) & mask) >= ((next - slot) & mask)) break;
    }
    table_[slot] = table_[next];
    slot = next;
  }
}

void SeenIds::resize(size_t slots) noexcept {
  Block* old = table_;
  const size_t old_slots = slots_;
  table_ = checked<Block>(std::calloc(slots, sizeof(Block)));
  slots_ = slots;
  bytes_ += (slots - old_slots) * sizeof(Block);
  for (size_t i = 0; i < old_slots; i++) {
    if (old[i].present != 0) find(old[i].producer, old[i].number()) = old[i];
  }
  last_ = 0;
  // Every block stands elsewhere now: what went by slots begins again.
  forget_slot_ = 0;
  save_slot_ = 0;
  std::free(old);
}

bool SeenIds::forget(unsigned min_age, size_t slots) noexcept {
  for (; slots > 0 && forget_slot_ < slots_; slots--) {
    Block& block = table_[forget_slot_];
    if (block.present == 0 || age(block) < min_age) {
      forget_slot_++;
      continue;
    }
    const auto count = static_cast<size_t>(std::popcount(block.present));
    old_.add(block.producer, block.number(), block.present);
    if (count > 1) std::free(block.digests);
    size_ -= count;
    bytes_ -= bytes_of(count);
    // Another may move to this slot, and is looked at next.
    erase(forget_slot_);
    // Blocks that move up could pass a saving unseen.
    save_slot_ = 0;
    last_ = 0;
    old_number_ = UINT64_MAX;
    if (saving_ != Saving::nothing) saving_ = Saving::blocks;
  }
  if (forget_slot_ < slots_) return false;
  forget_slot_ = 0;
  return true;
}

void SeenIds::begin_save() noexcept {
  saving_ = Saving::blocks;
  save_slot_ = 0;
}

std::vector<uint64_t> SeenIds::save(size_t bytes) noexcept {
  std::vector<uint64_t> piece;
  const size_t words = std::max(bytes / sizeof(uint64_t), size_t{2});
  while (saving_ != Saving::nothing && piece.size() < 2) {
    piece.assign(1, static_cast<uint64_t>(saving_));
    if (saving_ == Saving::blocks) {
      for (; save_slot_ < slots_ && piece.size() < words; save_slot_++) {
        const Block& block = table_[save_slot_];
        if (block.present == 0) continue;
        piece.insert(piece.end(), {block.producer, stamp(block.number(), age(block)), block.present});
        piece.insert(piece.end(), block.first_digest(), block.first_digest() + std::popcount(block.present));
      }
      if (save_slot_ < slots_) break;
      saving_ = Saving::old_blocks;
      save_slot_ = 0;
    } else if (saving_ == Saving::old_blocks) {
      for (; save_slot_ < old_.slots().size() && piece.size() < words; save_slot_++) {
        const IdSet::Block& block = old_.slots()[save_slot_];
        if (block.present != 0) piece.insert(piece.end(), {block.producer, block.number, block.present});
      }
      if (save_slot_ < old_.slots().size()) break;
      saving_ = Saving::old_runs;
      save_slot_ = 0;
      save_run_ = {0, 0};
    } else {
      auto run = old_.runs().lower_bound(save_run_);
      for (; run != old_.runs().end() && piece.size() < words; ++run) {
        piece.insert(piece.end(), {run->first.first, run->first.second, run->second});
      }
      if (run != old_.runs().end()) {
        save_run_ = run->first;
        break;
      }
      saving_ = Saving::nothing;
    }
  }
  if (piece.size() < 2) piece.clear();
  return piece;
}

bool SeenIds::load(std::span<const uint64_t> piece) noexcept {
  if (piece.empty()) return false;
  const auto kind = static_cast<Saving>(piece[0]);
  const std::span<const uint64_t> words = piece.subspan(1);
  if (kind == Saving::blocks) return load_blocks(words);
  if ((kind != Saving::old_blocks && kind != Saving::old_runs) || words.size() % 3 != 0) return false;
  old_number_ = UINT64_MAX;
  for (size_t at = 0; at < words.size(); at += 3) {
    if (words[at + 1] > number_max) return false;
    if (kind == Saving::old_blocks) {
      old_.add(words[at], words[at + 1], words[at + 2]);
    } else if (words[at + 2] > number_max || words[at + 2] < words[at + 1]) {
      return false;
    } else {
      old_.add_run(words[at], words[at + 1], words[at + 2]);
    }
  }
  return true;
}

bool SeenIds::load_blocks(std::span<const uint64_t> words) noexcept {
  for (size_t at = 0; at < words.size();) {
    if (words.size() - at < 4) return false;
    const uint64_t producer = words[at];
    const uint64_t number = words[at + 1] & number_max;
    const auto generation =
        (generation_ + generations - static_cast<unsigned>(words[at + 1] >> 58)) % generations;
    const uint64_t present = words[at + 2];
    const auto count = static_cast<size_t>(std::popcount(present));
    at += 3;
    if (count == 0 || words.size() - at < count) return false;
    Block* block = &find(producer, number);
    if (block->present == 0) {
      block = &take(producer, number);
      if (count == 1) {
        block->digest = words[at];
      } else {
        block->digests = checked<uint64_t>(std::malloc(room_for(count) * sizeof(uint64_t)));
        std::memcpy(block->digests, &words[at], count * sizeof(uint64_t));
      }
      block->present = present;
      size_ += count;
      bytes_ += bytes_of(count);
    } else {
      for (uint64_t bits = present, digest = at; bits != 0; bits &= bits - 1, digest++) {
        const auto bit = static_cast<unsigned>(std::countr_zero(bits));
        if ((block->present >> bit & 1) == 0) insert(*block, bit, words[digest]);
      }
    }
    block->stamped = stamp(number, generation);
    at += count;
  }
  return true;
}

void SeenIds::admit(std::span<const uint64_t> producers, std::span<const uint64_t> sequences,
                    std::span<const uint64_t> digests, std::span<uint8_t> answers) noexcept {
  for (size_t i = 0; i < answers.size(); i++) {
    answers[i] = static_cast<uint8_t>(admit(producers[i], sequences[i], digests[i]));
  }
}

}  // namespace usher
