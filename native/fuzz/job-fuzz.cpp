// Fuzzes write_job_xml. The input is a job's fields behind one byte that picks the clusters. What is accepted
// must be within its bound, one line, and balanced markup without a raw character that XML forbids; what is
// refused must say so with a code of the table.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string_view>
#include <vector>

#include "../core/job-xml.h"

using namespace usher;

namespace {

void demand(bool good, const char* what) {
  if (good) return;
  std::fprintf(stderr, "broken: %s\n", what);
  std::abort();
}

// Elements nest, attributes are quoted, references are among those that docs/store.md names.
void demand_structure(std::string_view xml) {
  static constexpr std::string_view references[] = {"&amp;", "&lt;",  "&gt;", "&quot;",
                                                    "&#9;",  "&#10;", "&#13;"};
  std::vector<std::string_view> open;
  size_t at = 0;
  while (at < xml.size()) {
    const char c = xml[at];
    if (c == '&') {
      bool known = false;
      for (const std::string_view reference : references) known |= xml.substr(at).starts_with(reference);
      demand(known, "a reference that is not one of ours");
      at++;
    } else if (c == '<') {
      const size_t end = xml.find('>', at);
      demand(end != std::string_view::npos, "a tag without an end");
      const std::string_view tag = xml.substr(at + 1, end - at - 1);
      demand(tag.find('<') == std::string_view::npos, "a tag in a tag");
      if (tag.starts_with('/')) {
        demand(!open.empty() && open.back() == tag.substr(1), "an end tag that doesn't fit");
        open.pop_back();
      } else {
        const bool job = tag.starts_with("job ");
        const bool traced = tag.find(" traceparent=\"") != tag.npos;
        const bool named = tag.find(" name=\"") != tag.npos;
        size_t quotes = 0;
        for (const char in_tag : tag) quotes += in_tag == '"';
        demand(quotes == (job ? (traced ? 8u : 6u) : named ? 2u : 0u), "a quote too many or too few");
        demand(job == open.empty(), "a job is the outermost element and no other is");
        open.push_back(tag.substr(0, tag.find(' ')));
      }
      at = end + 1;
      demand(!open.empty() || at + 1 == xml.size(), "something follows the job");
    } else {
      const auto byte = static_cast<unsigned char>(c);
      demand(byte >= 0x20 || c == '\t' || c == '\n', "a raw control character");
      demand(c != '>', "a raw >");
      at++;
    }
  }
  demand(open.empty() && xml.ends_with("</job>\n"), "the job doesn't end");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const ClusterNames choices[] = {
      {{"main"}, 0}, {{"main", "gpu & \"big\""}, 1}, {{"main", "other"}, -1}};
  if (size == 0) return 0;
  const ClusterNames& clusters = choices[data[0] % 3];
  const size_t fields_size = size - 1;
  const auto fields = std::make_unique<uint8_t[]>(fields_size);
  if (fields_size > 0) std::memcpy(fields.get(), data + 1, fields_size);
  const size_t room = job_xml_bytes_max(fields_size, clusters);
  const auto out = std::make_unique<uint8_t[]>(room);
  JobRefusal refusal;
  const uint8_t* const end = write_job_xml({fields.get(), fields_size}, 0x9f8c2e71a4b0d3e5u, 17,
                                           "2026-11-23T04:00:00.124Z", clusters, out.get(), refusal);
  if (end == nullptr) {
    demand(refusal.code >= Code::job_malformed && refusal.code <= Code::resources_contradict,
           "a code of jobs");
    const std::string_view detail = refusal.detail_text();
    demand(
        check_text({reinterpret_cast<const uint8_t*>(detail.data()), detail.size()}).status == TextStatus::ok,
        "a detail that is not text");
    return 0;
  }
  const auto length = static_cast<size_t>(end - out.get());
  demand(length <= room, "the bound");
  const std::span<const uint8_t> xml(out.get(), length);
  demand(check_text(xml).status == TextStatus::ok, "XML that is not text");
  demand_structure({reinterpret_cast<const char*>(xml.data()), xml.size()});
  return 0;
}
