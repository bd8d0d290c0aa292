#include "json-buffer.h"

namespace usher {

void JsonBuffer::append_string(std::string_view text) noexcept {
  // No byte grows to more than the six of \u00XX.
  uint8_t* to = room(text.size() * 6 + 2);
  *to++ = '"';
  for (const char c : text) {
    const auto byte = static_cast<uint8_t>(c);
    if (byte >= 0x20 && byte != '"' && byte != '\\') {
      *to++ = byte;
      continue;
    }
    *to++ = '\\';
    switch (byte) {
      case '"':
      case '\\': *to++ = byte; break;
      case '\t': *to++ = 't'; break;
      case '\n': *to++ = 'n'; break;
      case '\r': *to++ = 'r'; break;
      default:
        std::memcpy(to, "u00", 3);
        to[3] = static_cast<uint8_t>('0' + (byte >> 4));
        to[4] = static_cast<uint8_t>("0123456789abcdef"[byte & 15]);
        to += 5;
    }
  }
  *to++ = '"';
  commit(to);
}

OwnedBytes JsonBuffer::release() noexcept {
  if (size_ == 0) {
    bytes_.reset();
  } else if (capacity_ > size_) {
    // Shrinking a block never fails in a way that loses it: on null the old one stands.
    if (auto* smaller = static_cast<uint8_t*>(std::realloc(bytes_.get(), size_))) {
      static_cast<void>(bytes_.release());
      bytes_.reset(smaller);
    }
  }
  capacity_ = size_ = 0;
  limit_ = nullptr;
  return std::move(bytes_);
}

void JsonBuffer::reallocate(size_t capacity) noexcept {
  auto* bytes = static_cast<uint8_t*>(std::realloc(bytes_.get(), capacity));
  // As a failed `new` does in code without exceptions: there is no way to go on, and nothing is half written.
  if (bytes == nullptr) std::abort();
  static_cast<void>(bytes_.release());
  bytes_.reset(bytes);
  capacity_ = capacity;
  limit_ = bytes + capacity - slack;
}

}  // namespace usher
