// Reads one <job> element with the XML reader, in all the freedom that XML and docs/segment.xsd leave, and
// writes its JSON line. It decides what is a valid job; the fast way (canonical-job.h) may only take what
// this takes, and write the same bytes.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "json-buffer.h"
#include "segment-failure.h"
#include "xml-reader.h"

namespace usher {

// One element that may stand, at most once, at its place in the sequence of its parent.
struct ElementRule;

class JobReader {
 public:
  JobReader(XmlReader& reader, JsonBuffer& out, SegmentFailure& failure) noexcept
      : reader_(reader), out_(out), failure_(failure) {}

  // The reader has just yielded the start of an element in <segment>. `provenance` is what each line of the
  // segment ends with, up to its index. False: the failure is set.
  bool read(std::string_view provenance, uint64_t index) noexcept;

  // The failure of the reader, or of the schema at the reader's last token.
  bool fail_xml() noexcept;
  bool fail_schema(size_t offset, std::string reason) noexcept;
  // Nothing but declarations of namespaces and hints for validators may stand in a tag without attributes of
  // its own.
  static bool is_neutral(const XmlAttribute& attribute) noexcept;

 private:
  using Pair = std::pair<std::string, std::string>;

  bool write_head() noexcept;
  bool read_children(const ElementRule* rules, size_t count, std::string_view parent,
                     bool executable_required) noexcept;
  bool read_element(const ElementRule& rule) noexcept;
  bool read_text(std::string_view element, std::string& text) noexcept;
  bool read_arguments() noexcept;
  bool read_pairs(const ElementRule& rule, std::string_view item) noexcept;
  bool no_attributes() noexcept;
  // Reads on to the next child of `parent` (true) or to its end (false, as when it fails).
  bool next_child(std::string_view parent) noexcept;
  void write_key(std::string_view key) noexcept;

  XmlReader& reader_;
  JsonBuffer& out_;
  SegmentFailure& failure_;
  std::string text_;
  std::vector<Pair> pairs_;
  size_t cluster_at_ = 0;
  size_t digest_at_ = 0;
};

}  // namespace usher
