// Bytes of JSON lines being written: memory that grows, owned until it is handed over. Writers that know what
// they are about to write work on a raw pointer between at() and commit(); everything below `limit` has
// `slack` bytes behind it, so that short fixed pieces need no check of their own.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string_view>
#include <utility>

namespace usher {

struct FreeDeleter {
  void operator()(uint8_t* bytes) const noexcept { std::free(bytes); }
};
// From malloc, so that an addon can hand it to JavaScript without a copy.
using OwnedBytes = std::unique_ptr<uint8_t, FreeDeleter>;

class JsonBuffer {
 public:
  static constexpr size_t slack = 4096;

  explicit JsonBuffer(size_t capacity) noexcept { reallocate(capacity + slack); }

  size_t size() const noexcept { return size_; }
  size_t capacity() const noexcept { return capacity_; }
  uint8_t* data() noexcept { return bytes_.get(); }
  uint8_t* at() noexcept { return bytes_.get() + size_; }
  // A pointer below this has at least `slack` writable bytes behind it.
  const uint8_t* limit() const noexcept { return limit_; }
  void commit(const uint8_t* end) noexcept { size_ = static_cast<size_t>(end - bytes_.get()); }
  void truncate(size_t size) noexcept { size_ = size; }

  // Makes room for `more` bytes and the slack behind `to`, which points into this buffer; returns where it
  // moved.
  [[gnu::noinline]] uint8_t* grow(uint8_t* to, size_t more = 1) noexcept {
    const auto used = static_cast<size_t>(to - bytes_.get());
    size_t capacity = capacity_ * 2;
    while (capacity < used + more + slack) capacity *= 2;
    reallocate(capacity);
    return bytes_.get() + used;
  }

  void append(std::string_view text) noexcept {
    uint8_t* to = room(text.size());
    if (!text.empty()) std::memcpy(to, text.data(), text.size());
    size_ += text.size();
  }

  void append(uint64_t number) noexcept {
    char digits[20];
    size_t length = 0;
    do {
      digits[sizeof digits - ++length] = static_cast<char>('0' + number % 10);
      number /= 10;
    } while (number != 0);
    append(std::string_view(digits + sizeof digits - length, length));
  }

  // A JSON string with its quotes: escapes `"`, `\` and control characters below U+0020, nothing else.
  void append_string(std::string_view text) noexcept;

  // Gives the memory away, cut to its size; null where it is empty.
  OwnedBytes release() noexcept;

 private:
  uint8_t* room(size_t more) noexcept {
    uint8_t* to = at();
    return static_cast<size_t>(bytes_.get() + capacity_ - to) < more + slack ? grow(to, more) : to;
  }

  void reallocate(size_t capacity) noexcept;

  OwnedBytes bytes_;
  size_t size_ = 0;
  size_t capacity_ = 0;
  const uint8_t* limit_ = nullptr;
};

}  // namespace usher
