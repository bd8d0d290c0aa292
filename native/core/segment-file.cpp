#include "segment-file.h"

#include <cerrno>
#include <cinttypes>
#include <cstdio>
#include <cstring>

#include "crc32c.h"

namespace usher {
namespace {

constexpr std::string_view closing_tag = "</segment>\n";

iovec as_part(const BlockBuffer& buffer) noexcept { return {const_cast<uint8_t*>(buffer.data()), buffer.size()}; }

// False: there is no memory.
bool append(BlockBuffer& to, std::string_view text) noexcept {
  uint8_t* const at = to.room(text.size());
  if (at == nullptr) return false;
  std::memcpy(at, text.data(), text.size());
  to.end_at(at + text.size());
  return true;
}

// White space, a line of its own, to the end of the block in a file where the buffer begins at `offset`.
bool pad(BlockBuffer& to, uint64_t offset) noexcept {
  const size_t over = static_cast<size_t>((offset + to.size()) % block_bytes);
  if (over == 0) return true;
  const size_t length = block_bytes - over;
  uint8_t* const at = to.room(length);
  if (at == nullptr) return false;
  std::memset(at, ' ', length - 1);
  at[length - 1] = '\n';
  to.end_at(at + length);
  return true;
}

std::string padded(uint64_t number) {
  char text[24];
  std::snprintf(text, sizeof text, "%010" PRIu64, number);
  return text;
}

void append_attribute(std::string& to, std::string_view name, std::string_view value) {
  to += ' ';
  to += name;
  to += "=\"";
  for (const char c : value) {
    switch (c) {
      case '&': to += "&amp;"; break;
      case '<': to += "&lt;"; break;
      case '>': to += "&gt;"; break;
      case '"': to += "&quot;"; break;
      case '\t': to += "&#9;"; break;
      case '\n': to += "&#10;"; break;
      case '\r': to += "&#13;"; break;
      default: to += c;
    }
  }
  to += '"';
}

std::string header_text(const SegmentStamp& stamp, uint64_t number, std::string_view opened) {
  std::string text = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<segment";
  append_attribute(text, "xmlns", "urn:usher:segment:1");
  append_attribute(text, "store", stamp.store);
  append_attribute(text, "host", stamp.host);
  append_attribute(text, "instance", stamp.instance);
  append_attribute(text, "pid", std::to_string(stamp.pid));
  append_attribute(text, "version", stamp.version);
  append_attribute(text, "config", stamp.config);
  append_attribute(text, "number", std::to_string(number));
  append_attribute(text, "opened", opened);
  text += ">\n";
  return text;
}

}  // namespace

std::string segment_name(uint64_t number) { return padded(number) + ".xml"; }
std::string private_segment_name(uint64_t number) { return padded(number) + ".xml.part"; }

SegmentFile::~SegmentFile() {
  if (fd_ >= 0) ops_.close(fd_);
}

void SegmentFile::count(std::span<const uint8_t> bytes) noexcept {
  crc_ = crc32c(bytes, crc_);
  bytes_ += bytes.size();
}

int SegmentFile::write_group(Group& group, const SegmentStamp& stamp, std::string_view opened,
                             bool seal) noexcept {
  if (!direct_ && group.xml.size() >= direct_bytes_min) direct_ = ops_.begin_direct(fd_);
  const uint64_t start = bytes_;
  BlockBuffer header;
  if (start == 0) {
    if (!append(header, header_text(stamp, number_, opened))) return ENOMEM;
    // The jobs behind it are written from where they are, at the beginning of a block.
    if (direct_ && !pad(header, 0)) return ENOMEM;
  }
  const size_t jobs_end = group.xml.size();
  count(header.bytes());
  count(group.xml.bytes());
  jobs_ += group.jobs;

  char mark[96];
  const int length = std::snprintf(mark, sizeof mark,
                                   "<?usher-commit jobs=\"%" PRIu32 "\" bytes=\"%" PRIu64 "\" crc32c=\"%08" PRIx32
                                   "\"?>\n",
                                   jobs_, bytes_, crc_);
  int error = ENOMEM;
  if (append(group.xml, {mark, static_cast<size_t>(length)}) && (!seal || append(group.xml, closing_tag)) &&
      pad(group.xml, start + header.size())) {
    count(group.xml.bytes().subspan(jobs_end));
    iovec parts[] = {as_part(header), as_part(group.xml)};
    error = ops_.write_all(fd_, parts, 2, start);
  }
  group.xml.truncate(jobs_end);
  return error;
}

int SegmentFile::write_end() noexcept {
  const uint64_t start = bytes_;
  BlockBuffer tail;
  if (!append(tail, closing_tag) || !pad(tail, start)) return ENOMEM;
  count(tail.bytes());
  iovec part = as_part(tail);
  return ops_.write_all(fd_, &part, 1, start);
}

int SegmentFile::close() noexcept {
  const int fd = fd_;
  fd_ = -1;
  return ops_.close(fd);
}

}  // namespace usher
