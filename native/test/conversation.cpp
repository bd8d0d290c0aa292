#include "conversation.h"

#include <algorithm>

namespace usher::test {

SentJob small_job(uint64_t sequence) {
  return {sequence, JobEncoding().field(3, "name").field(4, "/bin/echo").field(5, "hello <&>").bytes()};
}

Bytes preamble(std::string_view magic, uint16_t first, uint16_t second) {
  Bytes bytes = bytes_of(magic);
  for (const uint16_t version : {first, second}) {
    bytes.push_back(static_cast<uint8_t>(version));
    bytes.push_back(static_cast<uint8_t>(version >> 8));
  }
  return bytes;
}

Bytes frame(FrameType type, std::span<const uint8_t> payload, uint16_t count, uint8_t flags) {
  Bytes bytes(frame_header_bytes + payload.size());
  std::copy(payload.begin(), payload.end(), bytes.begin() + frame_header_bytes);
  FrameHeader header{0, static_cast<uint32_t>(payload.size()), type, flags, count};
  encode_frame_header(header, std::span(bytes).first<frame_header_bytes>());
  header.crc = frame_crc(bytes);
  encode_frame_header(header, std::span(bytes).first<frame_header_bytes>());
  return bytes;
}

Bytes hello(uint64_t producer, std::string_view name) {
  Bytes payload(12);
  store_le(payload.data(), producer);
  payload.push_back(static_cast<uint8_t>(name.size()));
  return frame(FrameType::hello, payload + bytes_of(name));
}

Bytes jobs(std::span<const SentJob> sent) {
  Bytes payload;
  for (const SentJob& job : sent) {
    Bytes head(12);
    store_le(head.data(), static_cast<uint32_t>(8 + job.fields.size()));
    store_le(head.data() + 4, job.sequence);
    payload = payload + head + job.fields;
  }
  return frame(FrameType::jobs, payload, static_cast<uint16_t>(sent.size()));
}

Bytes jobs(std::initializer_list<uint64_t> sequences) {
  std::vector<SentJob> sent;
  for (const uint64_t sequence : sequences) sent.push_back(small_job(sequence));
  return jobs(sent);
}

Bytes ping(uint64_t token) {
  Bytes payload(8);
  store_le(payload.data(), token);
  return frame(FrameType::ping, payload);
}

Bytes goodbye() { return frame(FrameType::goodbye, Bytes{0, 0, 0}); }

Bytes operator+(Bytes a, const Bytes& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

Answers read_answers(std::span<const uint8_t> bytes, bool with_preamble) {
  Answers answers;
  if (with_preamble) {
    if (bytes.size() < preamble_bytes) return answers;
    const Preamble preamble = parse_preamble(bytes.first<preamble_bytes>());
    answers.preamble = preamble.usher && preamble.second == protocol_version;
    answers.version = preamble.first;
    bytes = bytes.subspan(preamble_bytes);
  }
  while (!bytes.empty()) {
    answers.sound = false;
    if (bytes.size() < frame_header_bytes) return answers;
    const FrameHeader header = parse_frame_header(bytes.first<frame_header_bytes>());
    if (bytes.size() - frame_header_bytes < header.length) return answers;
    const auto whole = bytes.first(frame_header_bytes + header.length);
    if (frame_crc(whole) != header.crc) return answers;
    bytes = bytes.subspan(whole.size());
    answers.types.push_back(header.type);
    PayloadReader reader(whole.subspan(frame_header_bytes));
    switch (header.type) {
      case FrameType::ack:
        for (uint16_t i = 0; i < header.count; i++) {
          const uint64_t first = reader.u64();
          const uint32_t count = reader.u32();
          if (count == 0) return answers;
          for (uint32_t j = 0; j < count; j++) answers.acked.push_back(first + j);
        }
        break;
      case FrameType::refused:
        for (uint16_t i = 0; i < header.count; i++) {
          Refused one{reader.u64(), reader.u16(), reader.u8(), {}};
          one.detail = reader.text8();
          answers.refused.push_back(one);
        }
        break;
      case FrameType::credit: answers.credit += reader.u64(); break;
      case FrameType::pong: answers.pongs.push_back(reader.u64()); break;
      case FrameType::error:
        answers.error = reader.u16();
        if (reader.text16().empty()) return answers;
        break;
      case FrameType::goodbye:
        answers.goodbyes++;
        answers.goodbye_code = reader.u16();
        reader.text8();
        for (uint16_t i = 0; i < header.count; i++) reader.text8();
        break;
      case FrameType::welcome: reader.bytes(reader.left()); break;
      default: return answers;
    }
    if (!reader.finished()) return answers;
    answers.sound = true;
  }
  return answers;
}

}  // namespace usher::test
