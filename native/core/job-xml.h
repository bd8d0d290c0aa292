// One job as it came over the wire, validated as docs/protocol.md demands and written as the <job> element
// that docs/store.md describes, in one pass. It must never write more than job_xml_bytes_max, read outside of
// the job, or let a job through that the segment's schema refuses.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "wire.h"

namespace usher {

// The configured clusters. Names are text in the sense of text.h; the configuration has seen to that.
struct ClusterNames {
  std::vector<std::string> names;
  // Where a job names none; −1: it is refused with cluster_required.
  int default_index = -1;
};

// Why a job was refused, in the form of an item of a REFUSED frame. The detail is the key of a pair, the
// index of an argument (from 0), or else the offset in the fields of the byte at which the mistake was
// noticed; empty where something is missing or contradicts.
struct JobRefusal {
  Code code;
  // Field{0}: the job.
  Field field;
  uint8_t detail_length;
  char detail[255];

  std::string_view detail_text() const noexcept { return {detail, detail_length}; }
};

// Upper bound of the bytes that write_job_xml touches for a job of that encoded size (with or without its
// sequence), vector stores beyond the end included.
size_t job_xml_bytes_max(size_t job_bytes, const ClusterNames& clusters) noexcept;

// `fields`: one job, after its sequence. `at`: ISO 8601, 24 bytes. Writes `<job …>…</job>\n` to `out`, which
// has room for job_xml_bytes_max, and returns the end; or nullptr with `refusal` filled, `out` then holds
// garbage.
uint8_t* write_job_xml(std::span<const uint8_t> fields, uint64_t producer, uint64_t sequence,
                       std::string_view at, const ClusterNames& clusters, uint8_t* out,
                       JobRefusal& refusal) noexcept;

}  // namespace usher
