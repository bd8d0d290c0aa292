#include "transform.h"

#include <algorithm>
#include <string>
#include <utility>

#include "canonical-job.h"
#include "commit-mark.h"
#include "job-reader.h"
#include "segment-schema.h"
#include "xml-reader.h"

namespace usher {
namespace {

class SegmentReader {
 public:
  SegmentReader(std::span<const uint8_t> xml, JsonBuffer& out, const CanonicalKernel* kernel) noexcept
      : xml_(xml),
        out_(out),
        reader_(xml),
        job_(reader_, out_, failure_),
        checker_(xml),
        kernel_(kernel) {}

  TransformOutcome read() noexcept {
    out_.truncate(0);
    if (read_root() && read_jobs() && read_rest()) return {{}, jobs_};
    explain_by_mark();
    failure_.place = locate(xml_, failure_.offset);
    out_.truncate(0);
    return {std::move(failure_), 0};
  }

 private:
  std::string_view text(size_t from, size_t to) const noexcept {
    return {reinterpret_cast<const char*>(xml_.data()) + from, to - from};
  }

  bool read_root() noexcept {
    XmlToken token = reader_.next();
    while (token == XmlToken::instruction) token = reader_.next();
    if (token != XmlToken::start_element) return job_.fail_xml();
    const size_t start = reader_.token_offset();
    if (reader_.uri() != segment_uri || reader_.local() != "segment") {
      return job_.fail_schema(start, "the root element is " + quoted(reader_.name()) + ", not <segment> of " +
                                         std::string(segment_uri));
    }
    constexpr std::string_view names[] = {"store",   "host",   "instance", "pid",
                                          "version", "config", "number",   "opened"};
    const XmlAttribute* found[std::size(names)] = {};
    for (const XmlAttribute& attribute : reader_.attributes()) {
      if (JobReader::is_neutral(attribute)) continue;
      const auto* name = std::find(std::begin(names), std::end(names), attribute.local);
      if (!attribute.uri.empty() || name == std::end(names)) {
        return job_.fail_schema(attribute.offset, "<segment> has no attribute " + quoted(attribute.name));
      }
      found[name - names] = &attribute;
    }
    for (size_t i = 0; i < std::size(names); i++) {
      if (found[i] == nullptr) {
        return job_.fail_schema(start, "<segment> has no attribute " + quoted(names[i]));
      }
      if (found[i]->value.empty()) {
        return job_.fail_schema(found[i]->offset, "the attribute " + quoted(names[i]) + " is empty");
      }
    }
    const XmlAttribute& opened = *found[7];
    if (!is_timestamp(trimmed(opened.value))) {
      return job_.fail_schema(opened.offset,
                              quoted(opened.value) + " is no time of the form 2026-11-23T04:00:00.124Z");
    }
    if (!is_instance(found[2]->value)) {
      return job_.fail_schema(found[2]->offset, "the instance " + quoted(found[2]->value) +
                                                    " holds more than letters, digits, '.', '_' and '-'");
    }
    JsonBuffer provenance(1024);
    std::string key = ",\"provenance\":{\"";
    for (size_t i = 0; i < 7; i++) {
      const bool pid = names[i] == "pid";
      const bool number = names[i] == "number";
      provenance.append(key);
      provenance.append(number ? "segment" : names[i]);
      provenance.append("\":");
      key = ",\"";
      if (!pid && !number) {
        provenance.append_string(found[i]->value);
        continue;
      }
      const uint64_t max = pid ? int_max : segment_number_max;
      const auto value = parse_integer(found[i]->value, 1, max);
      if (!value) {
        return job_.fail_schema(found[i]->offset, quoted(names[i]) + " is " + quoted(found[i]->value) +
                                                      ", which is no integer from 1 to " +
                                                      std::to_string(max));
      }
      provenance.append(*value);
    }
    provenance.append(",\"index\":");
    provenance_.assign(reinterpret_cast<const char*>(provenance.data()), provenance.size());
    run_.provenance = provenance_;
    // What the fast way matches are names without a prefix.
    canonical_ =
        kernel_ != nullptr && reader_.name() == "segment" && provenance_.size() <= canonical_provenance_max;
    return true;
  }

  bool read_jobs() noexcept {
    for (;;) {
      if (canonical_ && reader_.between_tokens()) read_canonical_jobs();
      switch (reader_.next()) {
        case XmlToken::start_element:
          if (!job_.read(provenance_, jobs_)) return false;
          jobs_++;
          break;
        case XmlToken::end_element: return true;
        case XmlToken::text:
          if (is_white_space(reader_.text())) break;
          return job_.fail_schema(reader_.text_offset(), "text stands between the jobs");
        case XmlToken::instruction:
          if (reader_.target() != commit_mark_target) break;
          if (!read_mark()) return false;
          reader_.pass_white_space();
          break;
        case XmlToken::end:
        case XmlToken::failure: return job_.fail_xml();
      }
    }
  }

  void read_canonical_jobs() noexcept {
    run_.jobs = jobs_;
    const uint8_t* in = xml_.data() + reader_.position();
    in = kernel_->read_jobs(in, xml_.data() + reader_.characters_end(), run_, out_);
    jobs_ = run_.jobs;
    reader_.advance_to(static_cast<size_t>(in - xml_.data()));
  }

  bool read_mark() noexcept {
    const size_t start = reader_.token_offset();
    std::string why;
    if (!checker_.is_true(start, text(start, reader_.position()), jobs_, &why)) {
      failure_ = {SegmentError::segment_corrupt, std::move(why), {}, start};
      return false;
    }
    marked_ = true;
    jobs_marked_ = jobs_;
    return true;
  }

  // What follows the closing tag; and whether the last mark stood behind all jobs.
  bool read_rest() noexcept {
    const size_t closed = reader_.token_offset();
    XmlToken token = reader_.next();
    while (token == XmlToken::instruction) token = reader_.next();
    if (token != XmlToken::end) return job_.fail_xml();
    if (!marked_ || jobs_ == jobs_marked_) return true;
    failure_ = {SegmentError::segment_corrupt,
                "the last commit mark stands behind job " + std::to_string(jobs_marked_) + " of " +
                    std::to_string(jobs_) + "; the one behind the last job is missing",
                {}, closed};
    return false;
  }

  // Where bytes have changed since they were written, that is why the document can't be read: a false mark
  // behind the place tells.
  void explain_by_mark() noexcept {
    if (failure_.code == SegmentError::segment_corrupt) return;
    CommitMarkScanner scanner(xml_);
    std::string why;
    while (scanner.next(&why)) {
      if (scanner.is_true() || scanner.offset() < failure_.offset) continue;
      failure_.code = SegmentError::segment_corrupt;
      failure_.reason += "; " + why;
      return;
    }
  }

  std::span<const uint8_t> xml_;
  JsonBuffer& out_;
  XmlReader reader_;
  SegmentFailure failure_;
  JobReader job_;
  CommitMarkChecker checker_;
  std::string provenance_;
  CanonicalRun run_;
  uint64_t jobs_ = 0;
  uint64_t jobs_marked_ = 0;
  bool marked_ = false;
  bool canonical_ = false;
  const CanonicalKernel* kernel_;
};

}  // namespace

Transformed transform(std::span<const uint8_t> xml, const CanonicalKernel* kernel) noexcept {
  // Lines come out longer than jobs go in, mostly by their provenance; memory not needed is never touched.
  JsonBuffer lines(xml.size() + xml.size() / 2);
  TransformOutcome outcome = transform(xml, lines, kernel);
  Transformed result;
  result.failure = std::move(outcome.failure);
  result.jobs = outcome.jobs;
  if (result.failure) return result;
  result.bytes = lines.size();
  result.jsonl = lines.release();
  return result;
}

TransformOutcome transform(std::span<const uint8_t> xml, JsonBuffer& lines, const CanonicalKernel* kernel) noexcept {
  return SegmentReader(xml, lines, kernel).read();
}

}  // namespace usher
