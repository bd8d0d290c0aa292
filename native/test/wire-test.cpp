#include "../core/wire.h"

#include <memory>
#include <vector>

#include "check.h"

using namespace usher;
using namespace usher::test;

namespace {

using Bytes = std::vector<uint8_t>;

std::string hex(std::span<const uint8_t> bytes) {
  static constexpr char digits[] = "0123456789abcdef";
  std::string out;
  for (const uint8_t byte : bytes) {
    out += digits[byte >> 4];
    out += digits[byte & 15];
  }
  return out;
}

}  // namespace

TEST("a preamble is eight bytes: USHR, lowest and highest version") {
  uint8_t bytes[preamble_bytes];
  encode_preamble(1, 0x0203, bytes);
  CHECK_EQ(hex(bytes), "5553485201000302");
  const Preamble preamble = parse_preamble(bytes);
  CHECK(preamble.usher);
  CHECK_EQ(preamble.first, 1);
  CHECK_EQ(preamble.second, 0x0203);
  for (size_t i = 0; i < 4; i++) {
    bytes[i] ^= 0x20;
    CHECK(!parse_preamble(bytes).usher);
    bytes[i] ^= 0x20;
  }
}

TEST("a frame header is read as it was written, each field in its place") {
  uint8_t bytes[frame_header_bytes];
  encode_frame_header({0x04030201, 0x08070605, FrameType::error, 0x0b, 0x0d0c}, bytes);
  CHECK_EQ(hex(bytes), "01020304050607080a0b0c0d");
  const FrameHeader header = parse_frame_header(bytes);
  CHECK_EQ(header.crc, 0x04030201u);
  CHECK_EQ(header.length, 0x08070605u);
  CHECK_EQ(header.type, FrameType::error);
  CHECK_EQ(header.flags, 0x0b);
  CHECK_EQ(header.count, 0x0d0c);
}

TEST("a written frame has its length, its count and a CRC of all that follows the CRC") {
  Bytes buffer = {0xee};  // what stands before stays
  FrameWriter writer(buffer, FrameType::ack);
  writer.u64(17);
  writer.u32(3);
  CHECK_EQ(writer.payload_bytes(), size_t{12});
  writer.finish(1);
  CHECK_EQ(buffer[0], 0xee);
  const std::span<const uint8_t> frame(buffer.data() + 1, buffer.size() - 1);
  CHECK_EQ(hex(frame.subspan(4)), "0c00000004000100110000000000000003000000");
  const FrameHeader header = parse_frame_header(frame.first<frame_header_bytes>());
  CHECK_EQ(header.crc, crc32c_portable(frame.subspan(4)));
  CHECK_EQ(header.crc, frame_crc(frame));
  for (size_t i = 4; i < frame.size(); i++) {
    buffer[1 + i] ^= 1;
    CHECK(frame_crc(frame) != header.crc);
    buffer[1 + i] ^= 1;
  }
}

TEST("frames follow each other in one buffer") {
  Bytes buffer;
  FrameWriter first(buffer, FrameType::ping);
  first.u64(1);
  first.finish();
  const size_t second_at = buffer.size();
  FrameWriter second(buffer, FrameType::credit);
  second.finish();
  CHECK_EQ(second_at, size_t{20});
  CHECK_EQ(buffer.size(), size_t{32});
  const std::span<const uint8_t> bytes(buffer);
  CHECK_EQ(parse_frame_header(bytes.first<frame_header_bytes>()).length, 8u);
  CHECK_EQ(parse_frame_header(bytes.subspan(second_at).first<frame_header_bytes>()).length, 0u);
  CHECK_EQ(load_le<uint32_t>(buffer.data() + second_at), frame_crc(bytes.subspan(second_at)));
}

TEST("a payload is read as it was written, and cut at any byte it is never taken for whole") {
  Bytes buffer;
  FrameWriter writer(buffer, FrameType::hello);
  writer.u8(1);
  writer.u16(0x0302);
  writer.u32(0x07060504);
  writer.u64(0x0f0e0d0c0b0a0908u);
  writer.text8("na\xc3\xafve");
  writer.text16("");
  writer.text16("sixteen");
  writer.bytes(std::span<const uint8_t>());
  writer.finish();
  const std::span<const uint8_t> payload = std::span<const uint8_t>(buffer).subspan(frame_header_bytes);
  for (size_t length = 0; length <= payload.size() + 1; length++) {
    const auto exact = std::make_unique<uint8_t[]>(length);
    for (size_t i = 0; i < length; i++) exact[i] = i < payload.size() ? payload[i] : 0;
    PayloadReader reader({exact.get(), length});
    const uint8_t a = reader.u8();
    const uint16_t b = reader.u16();
    const uint32_t c = reader.u32();
    const uint64_t d = reader.u64();
    const std::string_view e = reader.text8();
    const std::string_view f = reader.text16();
    const std::string_view g = reader.text16();
    CHECK_EQ(reader.ok(), length >= payload.size());
    CHECK_EQ(reader.finished(), length == payload.size());
    if (!reader.ok()) {
      CHECK_EQ(reader.u8(), 0);
      CHECK_EQ(g, "");
      continue;
    }
    CHECK_EQ(a, 1);
    CHECK_EQ(b, 0x0302);
    CHECK_EQ(c, 0x07060504u);
    CHECK_EQ(d, 0x0f0e0d0c0b0a0908u);
    CHECK_EQ(e, "na\xc3\xafve");
    CHECK_EQ(f, "");
    CHECK_EQ(g, "sixteen");
    CHECK_EQ(reader.left(), length - payload.size());
  }
}

TEST("a reader that has run out stays so, even where less would be there") {
  const uint8_t bytes[] = {1, 2, 3};
  PayloadReader reader(bytes);
  CHECK_EQ(reader.u32(), 0u);
  CHECK_EQ(reader.u8(), 0);
  CHECK(!reader.ok());
  CHECK(!reader.finished());
  PayloadReader huge(bytes);
  CHECK(huge.bytes(SIZE_MAX).empty());
  CHECK(!huge.ok());
}

TEST("a text that is too long for its length is cut at a character") {
  Bytes buffer;
  FrameWriter writer(buffer, FrameType::error);
  std::string text(254, 'x');
  text += "\xe2\x82\xac";
  writer.text8(text);
  writer.text16(std::string(70'000, 'y'));
  writer.finish();
  PayloadReader reader(std::span<const uint8_t>(buffer).subspan(frame_header_bytes));
  CHECK_EQ(reader.text8(), std::string(254, 'x'));
  CHECK_EQ(reader.text16().size(), size_t{65'535});
  CHECK(reader.finished());
}
