#include "answers.h"

namespace usher {
namespace {

// Answers are sent in frames of about this size: a producer with small buffers can take them as well.
constexpr size_t answer_bytes_max = 32 * 1024;

}  // namespace

void append_acks(const Group& group, const Share& share, OutputBytes& to) noexcept {
  uint32_t at = share.first_run;
  while (at != no_run) {
    FrameWriter frame(to, FrameType::ack);
    uint16_t count = 0;
    for (; at != no_run && frame.payload_bytes() < answer_bytes_max; at = group.runs[at].next, count++) {
      frame.u64(group.runs[at].first);
      frame.u32(group.runs[at].count);
    }
    frame.finish(count);
  }
}

void append_refusals(const Group& group, const Share& share, Code code, OutputBytes& to) noexcept {
  RefusalList list;
  for (uint32_t at = share.first_run; at != no_run; at = group.runs[at].next) {
    const Run& run = group.runs[at];
    for (uint32_t i = 0; i < run.count; i++) list.add(run.first + i, code, Field::job, {}, to);
  }
  list.flush(to);
}

void append_credit(uint64_t bytes, OutputBytes& to) noexcept {
  FrameWriter frame(to, FrameType::credit);
  frame.u64(bytes);
  frame.finish();
}

void append_error(Code code, std::string_view message, OutputBytes& to) noexcept {
  FrameWriter frame(to, FrameType::error);
  frame.u16(static_cast<uint16_t>(code));
  frame.text16(message);
  frame.finish();
}

void RefusalList::add(uint64_t sequence, Code code, Field field, std::string_view detail, OutputBytes& to) noexcept {
  detail = cut_text(detail, UINT8_MAX);
  const size_t at = items_.size();
  items_.resize(at + 12 + detail.size());
  uint8_t* p = items_.data() + at;
  store_le(p, sequence);
  store_le(p + 8, static_cast<uint16_t>(code));
  p[10] = static_cast<uint8_t>(field);
  p[11] = static_cast<uint8_t>(detail.size());
  if (!detail.empty()) std::memcpy(p + 12, detail.data(), detail.size());
  count_++;
  if (items_.size() >= answer_bytes_max) flush(to);
}

void RefusalList::flush(OutputBytes& to) noexcept {
  if (count_ == 0) return;
  FrameWriter frame(to, FrameType::refused);
  frame.bytes(items_);
  frame.finish(count_);
  items_.clear();
  count_ = 0;
}

}  // namespace usher
