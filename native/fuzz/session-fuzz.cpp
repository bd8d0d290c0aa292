// Fuzzes a session with whole conversations. The input is one byte that says how it is cut, and the
// producer's bytes; CRCs are put right first, or nearly nothing would get past them. Whatever comes in, the
// answers must be whole frames, memory and credit must balance, and each job that was taken must be answered
// exactly once.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#include "../core/session.h"

using namespace usher;

namespace {

void demand(bool good, const char* what) {
  if (good) return;
  std::fprintf(stderr, "broken: %s\n", what);
  std::abort();
}

constexpr SessionLimits limits{4096, 50, 1024, 3 * (4096 + frame_header_bytes), 60'000, 5000};

// Of each frame that is there in full.
void repair_crcs(std::vector<uint8_t>& bytes) {
  size_t at = preamble_bytes;
  while (bytes.size() >= at + frame_header_bytes) {
    const size_t length = load_le<uint32_t>(bytes.data() + at + 4);
    if (length > bytes.size() - at - frame_header_bytes) return;
    const std::span frame(bytes.data() + at, frame_header_bytes + length);
    store_le(frame.data(), frame_crc(frame));
    at += frame.size();
  }
}

struct Heard {
  uint64_t acked = 0;
  uint64_t credit = 0;
};

Heard demand_frames(std::span<const uint8_t> bytes, bool with_preamble) {
  Heard heard;
  if (bytes.empty()) return heard;
  if (with_preamble) {
    demand(bytes.size() >= preamble_bytes, "a preamble");
    bytes = bytes.subspan(preamble_bytes);
  }
  while (!bytes.empty()) {
    demand(bytes.size() >= frame_header_bytes, "a header that is cut");
    const FrameHeader header = parse_frame_header(bytes.first<frame_header_bytes>());
    demand(bytes.size() - frame_header_bytes >= header.length, "a payload that is cut");
    const auto frame = bytes.first(frame_header_bytes + header.length);
    demand(frame_crc(frame) == header.crc, "a CRC");
    PayloadReader reader(frame.subspan(frame_header_bytes));
    if (header.type == FrameType::ack) {
      for (uint16_t i = 0; i < header.count; i++) {
        reader.u64();
        heard.acked += reader.u32();
      }
      demand(reader.finished(), "an ACK");
    } else if (header.type == FrameType::credit) {
      heard.credit += reader.u64();
      demand(reader.finished(), "a CREDIT");
    } else if (header.type == FrameType::refused) {
      for (uint16_t i = 0; i < header.count; i++) {
        reader.u64();
        demand(reader.u16() >= 32, "a refusal's code");
        reader.u8();
        const std::string_view detail = reader.text8();
        demand(check_text({reinterpret_cast<const uint8_t*>(detail.data()), detail.size()}).status == TextStatus::ok,
               "a refusal's detail that is no text");
      }
      demand(reader.finished(), "a REFUSED");
    }
    bytes = bytes.subspan(frame.size());
  }
  return heard;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 1) return 0;
  const size_t piece = data[0] == 0 ? SIZE_MAX : data[0];
  std::vector<uint8_t> input(data + 1, data + size);
  repair_crcs(input);

  GroupQueue queue(2000);
  SessionShared shared(limits, ServerIdentity{{}, "instance", "host", "version"}, ClusterNames{{"main", "b"}, 0}, queue);
  {
    Session session(shared, 1);
    OutputBytes out;
    bool first_output = true;
    uint64_t taken = 0;
    uint64_t acked = 0;
    for (size_t at = 0; at < input.size() && !session.closed();) {
      const size_t length = std::min(piece, input.size() - at);
      // In memory of exactly its size.
      const std::unique_ptr<uint8_t[]> copy(new uint8_t[length]);
      std::memcpy(copy.get(), input.data() + at, length);
      at += length;
      out.clear();
      session.feed({copy.get(), length}, out);
      demand(demand_frames(out, first_output).acked == 0, "an ack before the sync");
      first_output = first_output && out.empty();
      demand(session.partial_bytes() <= limits.frame_bytes_max + frame_header_bytes, "too much kept");
      demand(shared.partial_bytes.load() == session.partial_bytes(), "the count of what is kept");
      // Now and then what waits is answered.
      if (at % 3 != 0 && at < input.size()) continue;
      while (Group* group = queue.take(0)) {
        demand(group->shares.size() == 1, "one share");
        const Share& share = group->shares[0];
        taken += share.jobs;
        demand(share.jobs == group->jobs, "the share's jobs");
        out.clear();
        append_acks(*group, share, out);
        session.answered(share.jobs, share.credit, out);
        acked += demand_frames(out, false).acked;
        queue.done(group);
      }
      demand(acked == taken && session.unanswered_jobs() == 0, "each job answered once");
      demand(queue.uncommitted_bytes() == 0, "nothing uncommitted");
      if (session.greeted() && !session.closed()) demand(session.credit() == limits.credit_bytes, "all credit back");
    }
  }
  demand(shared.partial_bytes.load() == 0, "what was kept is let go of");
  return 0;
}
