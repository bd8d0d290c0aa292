// Jobs for tests: a plain encoder that can also encode wrongly, and random valid jobs with the XML that must
// come of them, made in the most straightforward way, independently of the core.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "../core/job-xml.h"
#include "check.h"

namespace usher::test {

using Bytes = std::vector<uint8_t>;

Bytes bytes_of(std::string_view text);

// Fields in the order of the calls, right or wrong.
class JobEncoding {
 public:
  JobEncoding& raw(std::string_view bytes);
  JobEncoding& field(unsigned tag, std::string_view value);
  JobEncoding& integer(unsigned tag, uint64_t value);
  JobEncoding& boolean(unsigned tag, bool value);
  JobEncoding& pair(unsigned tag, std::string_view key, std::string_view value);

  const Bytes& bytes() const { return bytes_; }
  size_t size() const { return bytes_.size(); }

 private:
  Bytes bytes_;
};

// `length` as LEB128.
std::string leb128(size_t length);

struct RandomJob {
  Bytes fields;
  uint64_t producer;
  uint64_t sequence;
  std::string xml;
};

inline constexpr std::string_view test_time = "2026-11-23T04:00:00.124Z";

// A valid job; its clusters are those of `clusters`, of which one must be the default.
RandomJob random_job(Random& random, const ClusterNames& clusters);

// What write_job_xml answers. The input stands in memory of exactly its size and the output in memory of
// exactly the bound, so that a sanitizer sees every byte too many.
struct Outcome {
  bool accepted;
  std::string xml;
  JobRefusal refusal;
};

Outcome write_job(std::span<const uint8_t> fields, const ClusterNames& clusters,
                  uint64_t producer = 0x9f8c2e71a4b0d3e5u, uint64_t sequence = 17);

}  // namespace usher::test
