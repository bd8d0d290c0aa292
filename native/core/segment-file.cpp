#include "segment-file.h"

#include <cinttypes>
#include <cstdio>

#include "crc32c.h"

namespace usher {
namespace {

constexpr std::string_view closing_tag = "</segment>\n";

std::span<const uint8_t> as_bytes(std::string_view text) noexcept {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

iovec as_part(std::string_view text) noexcept { return {const_cast<char*>(text.data()), text.size()}; }

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

int SegmentFile::write_group(const Group& group, const SegmentStamp& stamp, std::string_view opened,
                             bool seal) noexcept {
  std::string header;
  if (bytes_ == 0) header = header_text(stamp, number_, opened);
  const uint64_t start = bytes_;
  crc_ = crc32c(as_bytes(header), crc_);
  crc_ = crc32c(group.xml.bytes(), crc_);
  bytes_ += header.size() + group.xml.size();
  jobs_ += group.jobs;

  char mark[96];
  const int length = std::snprintf(mark, sizeof mark,
                                   "<?usher-commit jobs=\"%" PRIu32 "\" bytes=\"%" PRIu64 "\" crc32c=\"%08" PRIx32
                                   "\"?>\n",
                                   jobs_, bytes_, crc_);
  const std::string_view mark_text(mark, static_cast<size_t>(length));
  crc_ = crc32c(as_bytes(mark_text), crc_);
  bytes_ += mark_text.size();
  if (seal) bytes_ += closing_tag.size();

  iovec parts[] = {as_part(header),
                   {const_cast<uint8_t*>(group.xml.data()), group.xml.size()},
                   as_part(mark_text),
                   as_part(seal ? closing_tag : std::string_view())};
  return ops_.write_all(fd_, parts, 4, start);
}

int SegmentFile::write_end() noexcept {
  const uint64_t start = bytes_;
  bytes_ += closing_tag.size();
  iovec part = as_part(closing_tag);
  return ops_.write_all(fd_, &part, 1, start);
}

int SegmentFile::close() noexcept {
  const int fd = fd_;
  fd_ = -1;
  return ops_.close(fd);
}

}  // namespace usher
