#include "segment-recovery.h"

#include <string_view>

#include "commit-mark.h"

namespace usher {
namespace {

constexpr std::string_view closing_tag = "</segment>";

// White space pads each write to whole blocks. The last of it may be missing: the root is closed all the same.
bool is_closing(std::string_view rest) noexcept {
  const size_t from = rest.find_first_not_of(" \n");
  if (from == std::string_view::npos || !rest.substr(from).starts_with(closing_tag)) return false;
  return rest.find_first_not_of(" \n", from + closing_tag.size()) == std::string_view::npos;
}

}  // namespace

SegmentRecovery recover_segment(std::span<const uint8_t> document) noexcept {
  SegmentRecovery recovery;
  CommitMarkScanner scanner(document);
  bool false_seen = false;
  while (scanner.next()) {
    if (false_seen) recovery.corrupt = true;
    if (!scanner.is_true()) {
      false_seen = true;
      continue;
    }
    recovery.bytes = scanner.end();
    recovery.jobs = scanner.jobs();
  }
  const std::string_view text(reinterpret_cast<const char*>(document.data()), document.size());
  recovery.sealed = recovery.bytes > 0 && !recovery.corrupt && is_closing(text.substr(recovery.bytes));
  return recovery;
}

}  // namespace usher
