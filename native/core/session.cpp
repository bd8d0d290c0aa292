#include "session.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace usher {
namespace {

// Whether a payload of JOBS is exactly `count` jobs of possible lengths.
bool jobs_well_formed(std::span<const uint8_t> payload, uint32_t count) noexcept {
  const uint8_t* at = payload.data();
  size_t left = payload.size();
  for (uint32_t i = 0; i < count; i++) {
    if (left < job_length_bytes + job_sequence_bytes) return false;
    const uint32_t length = load_le<uint32_t>(at);
    if (length < job_sequence_bytes || length > left - job_length_bytes) return false;
    at += job_length_bytes + length;
    left -= job_length_bytes + length;
  }
  return left == 0;
}

bool is_text(std::string_view text) noexcept {
  return check_text({reinterpret_cast<const uint8_t*>(text.data()), text.size()}).status == TextStatus::ok;
}

void append_goodbye(Code code, std::string_view reason, std::span<const std::string> addresses,
                    OutputBytes& to) noexcept {
  FrameWriter frame(to, FrameType::goodbye);
  frame.u16(static_cast<uint16_t>(code));
  frame.text8(reason);
  const size_t count = std::min<size_t>(addresses.size(), UINT16_MAX);
  for (size_t i = 0; i < count; i++) frame.text8(addresses[i]);
  frame.finish(static_cast<uint16_t>(count));
}

void append_preamble(uint16_t version, OutputBytes& to) noexcept {
  to.resize(to.size() + preamble_bytes);
  encode_preamble(version, protocol_version, std::span(to).last<preamble_bytes>());
}

}  // namespace

SessionShared::SessionShared(const SessionLimits& limits_, const ServerIdentity& identity, ClusterNames clusters_,
                             GroupQueue& queue_) noexcept
    : limits(limits_), clusters(std::move(clusters_)), queue(queue_) {
  FrameWriter frame(welcome, FrameType::welcome);
  frame.u32(0);
  frame.u32(limits.frame_bytes_max);
  frame.u32(limits.job_bytes_max);
  frame.u32(limits.frame_jobs_max);
  frame.u64(limits.credit_bytes);
  frame.u32(limits.idle_ms);
  frame.bytes(identity.store_uuid);
  frame.text8(identity.instance);
  frame.text8(identity.host);
  frame.text8(identity.version);
  frame.finish();
}

void Session::feed(std::span<const uint8_t> bytes, OutputBytes& out) noexcept {
  Feed feed{out, {}};
  while (phase_ != Phase::closed && !bytes.empty()) {
    if (partial_.empty()) {
      const size_t needed = unit_bytes(bytes, feed);
      if (needed == 0) break;
      if (bytes.size() < needed) {
        keep_partial(bytes, needed, feed);
        break;
      }
      take(bytes.first(needed), feed);
      bytes = bytes.subspan(needed);
      continue;
    }
    const size_t needed = unit_bytes(partial_.bytes(), feed);
    if (needed == 0) break;
    const auto more = bytes.first(std::min(bytes.size(), needed - partial_.size()));
    if (!keep_partial(more, needed, feed)) break;
    bytes = bytes.subspan(more.size());
    // With the header complete, the frame may turn out to go on, to be too large, or to end here.
    const size_t now_needed = unit_bytes(partial_.bytes(), feed);
    if (now_needed == 0) break;
    if (partial_.size() < now_needed) continue;
    take(partial_.bytes(), feed);
    drop_partial();
  }
  flush(feed);
  if (phase_ == Phase::leaving) leave_if_answered(out);
  if (phase_ == Phase::closed) drop_partial();
}

size_t Session::unit_bytes(std::span<const uint8_t> have, Feed& feed) noexcept {
  if (phase_ == Phase::preamble) return preamble_bytes;
  if (have.size() < frame_header_bytes) return frame_header_bytes;
  const uint32_t length = parse_frame_header(have.first<frame_header_bytes>()).length;
  if (length > shared_.limits.frame_bytes_max) {
    fail(Code::frame_too_large,
         "the frame's payload has " + std::to_string(length) + " bytes, the most is " +
             std::to_string(shared_.limits.frame_bytes_max),
         feed);
    return 0;
  }
  return frame_header_bytes + length;
}

bool Session::keep_partial(std::span<const uint8_t> bytes, size_t needed, Feed& feed) noexcept {
  const uint64_t held = shared_.partial_bytes.fetch_add(bytes.size(), std::memory_order_relaxed) + bytes.size();
  // What completes its frame is let go of at once: refusing it would free less memory than taking it.
  const bool fits = held <= shared_.limits.partial_bytes_max || partial_.size() + bytes.size() == needed;
  uint8_t* to = fits ? partial_.room(bytes.size()) : nullptr;
  if (to == nullptr) {
    shared_.partial_bytes.fetch_sub(bytes.size(), std::memory_order_relaxed);
    fail(Code::memory_exhausted, "too many incomplete frames wait in memory: this one can't be kept", feed);
    return false;
  }
  std::memcpy(to, bytes.data(), bytes.size());
  partial_.end_at(to + bytes.size());
  return true;
}

void Session::drop_partial() noexcept {
  shared_.partial_bytes.fetch_sub(partial_.size(), std::memory_order_relaxed);
  partial_.release();
}

void Session::take(std::span<const uint8_t> unit, Feed& feed) noexcept {
  if (phase_ == Phase::preamble) {
    take_preamble(unit, feed);
  } else {
    take_frame(unit, feed);
  }
}

void Session::take_preamble(std::span<const uint8_t> bytes, Feed& feed) noexcept {
  const Preamble preamble = parse_preamble(bytes.first<preamble_bytes>());
  const bool spoken = preamble.usher && preamble.first <= protocol_version && protocol_version <= preamble.second;
  append_preamble(spoken ? protocol_version : 0, feed.out);
  preamble_said_ = true;
  if (!preamble.usher) {
    fail(Code::not_usher, "the first bytes are not the preamble of this protocol", feed);
  } else if (!spoken) {
    fail(Code::version_unsupported,
         "versions " + std::to_string(preamble.first) + " to " + std::to_string(preamble.second) +
             " were offered, only " + std::to_string(protocol_version) + " is spoken here",
         feed);
  } else {
    phase_ = Phase::hello;
  }
}

void Session::take_frame(std::span<const uint8_t> frame, Feed& feed) noexcept {
  const FrameHeader header = parse_frame_header(frame.first<frame_header_bytes>());
  // Before anything in the header is believed: what looks like an unknown type may be a damaged one.
  if (frame_crc(frame) != header.crc) return fail(Code::frame_corrupt, "the frame's CRC doesn't match it", feed);
  if (header.flags != 0) return fail(Code::frame_unexpected, "the frame has flags that version 1 doesn't know", feed);
  const auto payload = frame.subspan(frame_header_bytes);
  if (phase_ == Phase::hello) {
    if (header.type != FrameType::hello) return fail(Code::frame_unexpected, "the first frame must be HELLO", feed);
    return take_hello(header, payload, feed);
  }
  switch (header.type) {
    case FrameType::jobs:
      return take_jobs(header, payload, feed);
    case FrameType::ping:
    case FrameType::pong:
      return take_ping(header, payload, feed);
    case FrameType::goodbye:
      return take_goodbye(header, payload, feed);
    case FrameType::hello:
      return fail(Code::frame_unexpected, "HELLO was said before", feed);
    default:
      return fail(Code::frame_unexpected,
                  "frames of type " + std::to_string(static_cast<unsigned>(header.type)) +
                      " are not taken from producers",
                  feed);
  }
}

void Session::take_hello(const FrameHeader& header, std::span<const uint8_t> payload, Feed& feed) noexcept {
  PayloadReader reader(payload);
  producer_ = reader.u64();
  // Features that aren't known here are left unanswered: WELCOME names those that both sides have.
  reader.u32();
  const std::string_view name = reader.text8();
  if (!reader.finished() || header.count != 0 || !is_text(name)) {
    return fail(Code::frame_malformed, "HELLO doesn't have its shape", feed);
  }
  greeted_ = true;
  phase_ = Phase::open;
  credit_ = shared_.limits.credit_bytes;
  feed.out.insert(feed.out.end(), shared_.welcome.begin(), shared_.welcome.end());
}

void Session::take_jobs(const FrameHeader& header, std::span<const uint8_t> payload, Feed& feed) noexcept {
  if (phase_ == Phase::leaving) return fail(Code::frame_unexpected, "JOBS after GOODBYE", feed);
  const uint64_t size = frame_header_bytes + payload.size();
  if (size > credit_) {
    return fail(Code::credit_exceeded,
                "the frame has " + std::to_string(size) + " bytes, the credit left is " + std::to_string(credit_),
                feed);
  }
  const SessionLimits& limits = shared_.limits;
  if (header.count > limits.frame_jobs_max) {
    return fail(Code::frame_too_large,
                "the frame has " + std::to_string(header.count) + " jobs, the most is " +
                    std::to_string(limits.frame_jobs_max),
                feed);
  }
  // Before any job is taken, so that a malformed frame leaves nothing behind.
  if (!jobs_well_formed(payload, header.count)) {
    return fail(Code::frame_malformed, "the jobs don't fill the frame that they are in", feed);
  }
  credit_ -= size;

  GroupQueue::Appender appender(shared_.queue, connection_, cursor_);
  const Code refusal = refusal_ != Code::none ? refusal_ : appender.refusal();
  JobRefusal why;
  const uint8_t* at = payload.data();
  for (uint32_t i = 0; i < header.count; i++) {
    const uint32_t length = load_le<uint32_t>(at);
    const uint64_t sequence = load_le<uint64_t>(at + job_length_bytes);
    const std::span fields(at + job_length_bytes + job_sequence_bytes, length - job_sequence_bytes);
    at += job_length_bytes + length;
    if (refusal != Code::none) {
      feed.refusals.add(sequence, refusal, Field::job, {}, feed.out);
      feed.refused++;
      continue;
    }
    if (length > limits.job_bytes_max) {
      feed.refusals.add(sequence, Code::job_too_large, Field::job, {}, feed.out);
      feed.refused++;
      continue;
    }
    uint8_t* room = appender.room(job_xml_bytes_max(length, shared_.clusters));
    if (room == nullptr) {
      feed.refusals.add(sequence, Code::store_failing, Field::job, "no memory", feed.out);
      feed.refused++;
      continue;
    }
    const uint8_t* end = write_job_xml(fields, producer_, sequence, appender.now(), shared_.clusters, room, why);
    if (end == nullptr) {
      feed.refusals.add(sequence, why.code, why.field, why.detail_text(), feed.out);
      feed.refused++;
      continue;
    }
    appender.add(end, sequence);
  }
  unanswered_jobs_ += appender.jobs();
  if (appender.jobs() > 0) {
    appender.owe(size);
  } else {
    feed.credit += size;
  }
}

void Session::take_ping(const FrameHeader& header, std::span<const uint8_t> payload, Feed& feed) noexcept {
  PayloadReader reader(payload);
  const uint64_t token = reader.u64();
  if (!reader.finished() || header.count != 0) {
    return fail(Code::frame_malformed, "PING and PONG carry a token of 8 bytes", feed);
  }
  if (header.type != FrameType::ping) return;
  FrameWriter pong(feed.out, FrameType::pong);
  pong.u64(token);
  pong.finish();
}

void Session::take_goodbye(const FrameHeader& header, std::span<const uint8_t> payload, Feed& feed) noexcept {
  if (phase_ == Phase::leaving) return fail(Code::frame_unexpected, "GOODBYE was said before", feed);
  PayloadReader reader(payload);
  reader.u16();
  bool texts = is_text(reader.text8());
  for (uint32_t i = 0; i < header.count && reader.ok(); i++) texts = is_text(reader.text8()) && texts;
  if (!reader.finished() || !texts) return fail(Code::frame_malformed, "GOODBYE doesn't have its shape", feed);
  phase_ = Phase::leaving;
}

void Session::answered(uint32_t jobs, uint64_t credit, OutputBytes& out) noexcept {
  unanswered_jobs_ -= jobs;
  credit_ += credit;
  if (phase_ == Phase::leaving) leave_if_answered(out);
}

void Session::leave_if_answered(OutputBytes& out) noexcept {
  if (unanswered_jobs_ > 0) return;
  if (!said_goodbye_) append_goodbye(Code::none, {}, {}, out);
  said_goodbye_ = true;
  phase_ = Phase::closed;
}

void Session::say_goodbye(Code code, std::string_view reason, std::span<const std::string> addresses,
                          OutputBytes& out) noexcept {
  if (phase_ == Phase::closed) return;
  begin_saying(out);
  // Before the producer's preamble nothing more may be said to it.
  if (phase_ != Phase::preamble) append_goodbye(code, reason, addresses, out);
  refusal_ = code;
  said_goodbye_ = true;
  if (greeted_) return;
  phase_ = Phase::closed;
  drop_partial();
}

void Session::end(Code code, std::string_view message, OutputBytes& out) noexcept {
  if (phase_ == Phase::closed) return;
  Feed feed{out, {}};
  fail(code, message, feed);
  drop_partial();
}

void Session::begin_saying(OutputBytes& out) noexcept {
  if (!preamble_said_) append_preamble(0, out);
  preamble_said_ = true;
}

void Session::flush(Feed& feed) noexcept {
  feed.refusals.flush(feed.out);
  if (feed.refused > 0) shared_.refused_jobs.fetch_add(feed.refused, std::memory_order_relaxed);
  feed.refused = 0;
  if (feed.credit > 0) {
    credit_ += feed.credit;
    append_credit(feed.credit, feed.out);
  }
  feed.credit = 0;
}

void Session::fail(Code code, std::string_view message, Feed& feed) noexcept {
  flush(feed);
  begin_saying(feed.out);
  append_error(code, message, feed.out);
  failure_ = code;
  phase_ = Phase::closed;
}

}  // namespace usher
