#include "seen-ids.h"

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

SeenIds::SeenIds(uint64_t secret) noexcept : secret_(secret) { resize(slots_min); }

SeenIds::~SeenIds() noexcept {
  for (size_t i = 0; i < slots_; i++) {
    if (std::popcount(table_[i].present) > 1) std::free(table_[i].digests);
  }
  std::free(table_);
}

size_t SeenIds::home(uint64_t producer, uint64_t number) const noexcept {
  // Two rounds of a full multiplication folded onto itself, keyed: each bit of both depends on each of the
  // secret's.
  const auto mix = [](uint64_t a, uint64_t b) {
    // GCC and Clang both have it; the standard has no name for it.
    __extension__ using Wide = unsigned __int128;
    const Wide product = static_cast<Wide>(a) * b;
    return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
  };
  const uint64_t first = mix(producer ^ secret_, 0x9e3779b97f4a7c15u);
  const uint64_t hash = mix(first ^ number, 0xd6e8feb86659fd93u ^ std::rotl(secret_, 32));
  return static_cast<size_t>(hash) & (slots_ - 1);
}

// The block, or the free slot where it goes.
SeenIds::Block& SeenIds::find(uint64_t producer, uint64_t number) noexcept {
  size_t slot = home(producer, number);
  while (table_[slot].present != 0 && (table_[slot].producer != producer || table_[slot].number != number)) {
    slot = (slot + 1) & (slots_ - 1);
  }
  last_ = slot;
  return table_[slot];
}

SeenIds::Answer SeenIds::admit(uint64_t producer, uint64_t sequence, uint64_t digest) noexcept {
  const uint64_t number = sequence >> 6;
  const auto bit = static_cast<unsigned>(sequence & 63);
  Block* block = &table_[last_];
  if (block->present == 0 || block->producer != producer || block->number != number) {
    block = &find(producer, number);
    if (block->present == 0) {
      // At most three quarters of the slots are in use.
      if ((used_ + 1) * 4 > slots_ * 3) {
        resize(slots_ * 2);
        block = &find(producer, number);
      }
      used_++;
      block->producer = producer;
      block->number = number;
    }
  }
  if ((block->present >> bit & 1) == 0) {
    insert(*block, bit, digest);
    return Answer::added;
  }
  const auto count = std::popcount(block->present);
  const auto before = std::popcount(block->present & ((uint64_t{1} << bit) - 1));
  const uint64_t kept = count == 1 ? block->digest : block->digests[before];
  return kept == digest ? Answer::same : Answer::conflict;
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

void SeenIds::resize(size_t slots) noexcept {
  Block* old = table_;
  const size_t old_slots = slots_;
  table_ = checked<Block>(std::calloc(slots, sizeof(Block)));
  slots_ = slots;
  bytes_ += (slots - old_slots) * sizeof(Block);
  for (size_t i = 0; i < old_slots; i++) {
    if (old[i].present != 0) find(old[i].producer, old[i].number) = old[i];
  }
  last_ = 0;
  std::free(old);
}

void SeenIds::admit(std::span<const uint64_t> producers, std::span<const uint64_t> sequences,
                    std::span<const uint64_t> digests, std::span<uint8_t> answers) noexcept {
  for (size_t i = 0; i < answers.size(); i++) {
    answers[i] = static_cast<uint8_t>(admit(producers[i], sequences[i], digests[i]));
  }
}

}  // namespace usher
