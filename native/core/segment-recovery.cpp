#include "segment-recovery.h"

#include <string_view>

#include "commit-mark.h"

namespace usher {

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
  const std::string_view rest = text.substr(recovery.bytes);
  // The last line feed may be missing: the root is closed all the same.
  recovery.sealed =
      recovery.bytes > 0 && !recovery.corrupt && (rest == "\n</segment>\n" || rest == "\n</segment>");
  return recovery;
}

}  // namespace usher
