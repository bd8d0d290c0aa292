// Bytes that grow at their end without being cleared first, kept between uses. One owner, one thread at a
// time. It must never move what it holds while a caller keeps a pointer from room().
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <span>

namespace usher {

template <size_t alignment>
class AlignedByteBuffer {
 public:
  AlignedByteBuffer() noexcept = default;
  AlignedByteBuffer(const AlignedByteBuffer&) = delete;
  AlignedByteBuffer& operator=(const AlignedByteBuffer&) = delete;
  ~AlignedByteBuffer() { std::free(data_); }

  const uint8_t* data() const noexcept { return data_; }
  size_t size() const noexcept { return size_; }
  size_t capacity() const noexcept { return capacity_; }
  bool empty() const noexcept { return size_ == 0; }
  std::span<const uint8_t> bytes() const noexcept { return {data_, size_}; }

  // Where the next `bytes` bytes may be written; nullptr when there is no memory.
  uint8_t* room(size_t bytes) noexcept {
    if (capacity_ - size_ < bytes && !grow(std::max(size_ + bytes, capacity_ * 2))) return nullptr;
    return data_ + size_;
  }
  // What was written to room() ends here.
  void end_at(const uint8_t* end) noexcept { size_ = static_cast<size_t>(end - data_); }
  void truncate(size_t size) noexcept { size_ = size; }

  void clear() noexcept { size_ = 0; }
  void release() noexcept {
    std::free(data_);
    data_ = nullptr;
    size_ = capacity_ = 0;
  }

 private:
  bool grow(size_t capacity) noexcept {
    void* moved;
    if constexpr (alignment <= alignof(std::max_align_t)) {
      moved = std::realloc(data_, capacity);
      if (moved == nullptr) return false;
    } else {
      capacity = (capacity + alignment - 1) / alignment * alignment;
      moved = std::aligned_alloc(alignment, capacity);
      if (moved == nullptr) return false;
      if (size_ > 0) std::memcpy(moved, data_, size_);
      std::free(data_);
    }
    data_ = static_cast<uint8_t*>(moved);
    capacity_ = capacity;
    return true;
  }

  uint8_t* data_ = nullptr;
  size_t size_ = 0;
  size_t capacity_ = 0;
};

using ByteBuffer = AlignedByteBuffer<alignof(std::max_align_t)>;

}  // namespace usher
