// The marks that end each group commit of a segment (docs/store.md): `<?usher-commit jobs="…" bytes="…"
// crc32c="…"?>` on a line of its own. Finds and checks them in bytes that may be torn or damaged, by looking
// at beginnings and ends of lines alone. It knows no XML and never trusts a byte that no true mark covers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace usher {

struct CommitMark {
  uint64_t jobs;
  uint64_t bytes;
  uint32_t crc32c;
};

inline constexpr std::string_view commit_mark_target = "usher-commit";

// Exactly as the segment writer writes it, from `<?` to `?>`; anything else is no mark.
std::optional<CommitMark> parse_commit_mark(std::string_view text) noexcept;

// Checks marks that are met from front to back; the CRC goes on from one to the next.
class CommitMarkChecker {
 public:
  explicit CommitMarkChecker(std::span<const uint8_t> document) noexcept : document_(document) {}

  // The mark `text`, which stands at `offset`, is true after so many jobs. If it isn't and `why` is given,
  // `why` says what is wrong with it, in words.
  bool is_true(size_t offset, std::string_view text, uint64_t jobs, std::string* why) noexcept;

 private:
  std::span<const uint8_t> document_;
  size_t checked_ = 0;
  uint32_t crc_ = 0;
};

// Goes through the lines of a document and stops at those that are marks, or were before a byte or two of
// them changed: a line that begins or ends as a mark does.
class CommitMarkScanner {
 public:
  explicit CommitMarkScanner(std::span<const uint8_t> document) noexcept
      : document_(document), checker_(document) {}

  // False: there are no more.
  bool next(std::string* why = nullptr) noexcept;

  // Of the mark found last.
  size_t offset() const noexcept { return offset_; }
  // One past its `?>`.
  size_t end() const noexcept { return end_; }
  bool is_true() const noexcept { return true_; }
  // Jobs that stand before it, counted by the lines that begin as a job does.
  uint64_t jobs() const noexcept { return jobs_; }

 private:
  std::span<const uint8_t> document_;
  CommitMarkChecker checker_;
  size_t line_ = 0;
  size_t offset_ = 0;
  size_t end_ = 0;
  uint64_t jobs_ = 0;
  bool true_ = false;
};

}  // namespace usher
