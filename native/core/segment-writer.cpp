#include "segment-writer.h"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <utility>

namespace usher {
namespace {

constexpr int64_t long_ago = INT64_MIN / 2;
constexpr int64_t never = INT64_MAX / 2;
// How stale the knowledge of free space may get.
constexpr int64_t space_check_ns = 100'000'000;
constexpr uint64_t space_check_bytes = 4 * 1024 * 1024;

// How often a stopping writer tries to publish, at once; it mustn't hold up the end for long.
constexpr int last_attempts_max = 10;

Code code_of(int error) noexcept {
  return error == ENOSPC || error == EDQUOT ? Code::store_full : Code::store_failing;
}

FileFailure failure(FileOperation operation, int error) noexcept { return {name_of(operation), error}; }

}  // namespace

SegmentWriter::SegmentWriter(SegmentWriterOptions options, GroupQueue& queue, FileOps& ops,
                             SegmentWriterListener& listener) noexcept
    : options_(std::move(options)),
      queue_(queue),
      listener_(listener),
      directory_(ops, options_.directory),
      presence_ns_(long_ago),
      last_seal_ns_(long_ago),
      space_checked_ns_(long_ago) {}

SegmentWriter::~SegmentWriter() {
  if (!running_) return;
  queue_.stop();
  pthread_join(thread_, nullptr);
}

FileFailure SegmentWriter::start() noexcept {
  if (const FileFailure found = directory_.open()) return found;
  // Signals are for the host program's threads.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  const int error = pthread_create(&thread_, nullptr, run_thread, this);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  running_ = error == 0;
  return {"pthread_create", error};
}

void* SegmentWriter::run_thread(void* writer) noexcept {
  pthread_setname_np(pthread_self(), "usher-writer");
  static_cast<SegmentWriter*>(writer)->run();
  return nullptr;
}

void SegmentWriter::presence_written(int64_t at_boot_ns) noexcept {
  int64_t known = presence_ns_.load(std::memory_order_relaxed);
  // Between two writes further apart than the lease others may have taken this instance for gone, and all that it has for
  // theirs: a later write doesn't make up for that.
  if (known != long_ago && boot_ns() - known >= options_.accept_lease_ns) lapsed_.store(true, std::memory_order_release);
  while (known < at_boot_ns && !presence_ns_.compare_exchange_weak(known, at_boot_ns, std::memory_order_release)) {
  }
}

void SegmentWriter::run() noexcept {
  // Before the first job comes: it then costs a write and a sync, no more.
  if (const FileFailure found = publish_sealed(true)) fail(found);
  while (true) {
    Group* group = queue_.take(next_deadline());
    if (group != nullptr) {
      commit(*group);
      listener_.uncommitted(queue_.done(group));
    } else if (queue_.stopping()) {
      break;
    }
    const int64_t now = boot_ns();
    if (retired_) continue;
    if (is_failing()) {
      if (now >= retry_at_ns_) try_again();
    } else if (segment_ != nullptr && segment_->jobs() > 0 && now >= next_deadline() && seal_wanted(0)) {
      seal();
    }
  }
  finish();
  listener_.stopped();
}

void SegmentWriter::finish() noexcept {
  if (retired_) return;
  if (is_failing()) try_again();
  if (segment_ != nullptr && segment_->jobs() > 0) {
    seal();
  } else if (segment_ != nullptr) {
    const uint64_t number = segment_->number();
    segment_.reset();
    directory_.remove_private(number);
  }
  // What still has no public name keeps its private one, and is found there.
  for (int i = 0; i < last_attempts_max && !sealed_.empty(); i++) try_again();
}

int64_t SegmentWriter::next_deadline() const noexcept {
  if (retired_) return never;
  if (is_failing()) return retry_at_ns_;
  if (segment_ == nullptr || segment_->jobs() == 0) return never;
  return std::min(first_commit_ns_ + options_.segment_age_ns, last_seal_ns_ + options_.seal_interval_ns);
}

void SegmentWriter::commit(Group& group) noexcept {
  // Groups that were on their way when the failure came.
  if (is_failing()) return listener_.refused(group, queue_.refusal());
  if (!has_space(group.xml.size())) return listener_.refused(group, queue_.refusal());
  // There is no next segment once the queue is stopping, unless it turns out to be needed.
  if (segment_ == nullptr) {
    if (const FileFailure found = publish_sealed(true)) fail(found);
    if (is_failing()) return listener_.refused(group, queue_.refusal());
  }
  // Others may have read the open segment for the last time: it must not grow any more.
  if (!lease_holds()) {
    retire();
    return listener_.refused(group, queue_.refusal());
  }
  if (segment_->jobs() == 0) first_commit_ns_ = boot_ns();
  const bool sealing = seal_wanted(group.xml.size());
  const uint64_t before = segment_->bytes();
  FileFailure found =
      failure(FileOperation::write, segment_->write_group(group, options_.stamp, clock_.now(), sealing));
  if (!found) found = failure(FileOperation::fdatasync, sync());
  if (found) {
    abandon();
    fail(found);
    return listener_.refused(group, queue_.refusal());
  }
  written_since_check_ += segment_->bytes() - before;
  if (!lease_holds()) return retire();
  acknowledged_in_segment_ = true;
  stats_.commits.fetch_add(1, std::memory_order_relaxed);
  listener_.committed(group);
  if (sealing) publish();
}

bool SegmentWriter::has_space(uint64_t bytes_next) noexcept {
  const int64_t now = boot_ns();
  if (now - space_checked_ns_ < space_check_ns && written_since_check_ + bytes_next < space_check_bytes) return true;
  space_checked_ns_ = now;
  written_since_check_ = 0;
  uint64_t bytes = 0;
  FileFailure found = directory_.free_bytes(bytes);
  if (!found && bytes < options_.reserve_bytes) found = {"statvfs", ENOSPC};
  if (!found) return true;
  fail(found);
  // What is committed is in order, and the reserve is there for its closing tag.
  if (segment_ != nullptr && segment_->jobs() > 0) seal();
  return false;
}

// Of the open segment together with that many bytes that come next.
bool SegmentWriter::seal_wanted(uint64_t bytes_next) noexcept {
  const int64_t now = boot_ns();
  return segment_->bytes() + bytes_next >= options_.segment_bytes_max ||
         now - first_commit_ns_ >= options_.segment_age_ns ||
         (now - last_seal_ns_ >= options_.seal_interval_ns && !queue_.waiting());
}

int SegmentWriter::sync() noexcept {
  const int64_t start = boot_ns();
  const int error = segment_->sync();
  stats_.sync_ns.fetch_add(static_cast<uint64_t>(boot_ns() - start), std::memory_order_relaxed);
  return error;
}

void SegmentWriter::seal() noexcept {
  if (!lease_holds()) return retire();
  FileFailure found = failure(FileOperation::write, segment_->write_end());
  if (!found) found = failure(FileOperation::fdatasync, sync());
  if (found) {
    abandon();
    return fail(found);
  }
  publish();
}

// The open segment is sealed and synced: close it, give it its name, and make the next one.
void SegmentWriter::publish() noexcept {
  if (!lease_holds()) return retire();
  last_seal_ns_ = boot_ns();
  if (const int error = segment_->close(); error != 0) {
    abandon();
    return fail(failure(FileOperation::close, error));
  }
  sealed_.push_back({segment_->number(), segment_->jobs(), segment_->bytes(), identity_, false});
  segment_.reset();
  if (const FileFailure found = publish_sealed(!is_failing() && !queue_.stopping())) fail(found);
}

// One sync of the directory makes both the new names of the sealed segments and the next segment's durable.
FileFailure SegmentWriter::publish_sealed(bool create_next) noexcept {
  FileFailure first;
  for (Sealed& sealed : sealed_) {
    if (sealed.linked) continue;
    const FileFailure found = directory_.publish(sealed.number, sealed.identity);
    if (found) {
      if (!first) first = found;
      continue;
    }
    sealed.linked = true;
    stats_.segments.fetch_add(1, std::memory_order_relaxed);
    // Not after the sync of the directory: its content is on stable storage and nobody changes it any more, and what is made of
    // it gets its name in the same directory, synced later than this one.
    listener_.published(sealed.number, sealed.jobs, sealed.bytes);
  }
  const bool creating = create_next && segment_ == nullptr && !first;
  if (creating) first = create();
  const FileFailure unsynced = directory_.sync();
  if (unsynced) {
    if (creating && segment_ != nullptr) abandon();
    return first ? first : unsynced;
  }
  std::erase_if(sealed_, [](const Sealed& sealed) { return sealed.linked; });
  return first;
}

FileFailure SegmentWriter::create() noexcept {
  acknowledged_in_segment_ = false;
  uint64_t first = next_number_;
  const FileFailure found = directory_.create(next_number_, segment_, identity_);
  if (found) return found;
  // Names that were taken by attempts which reported a failure: their numbers are given up.
  while (first != next_number_) listener_.abandoned(first++);
  next_number_++;
  return found;
}

bool SegmentWriter::lease_holds() const noexcept {
  const int64_t presence = presence_ns_.load(std::memory_order_acquire);
  if (lapsed_.load(std::memory_order_acquire)) return false;
  return presence != long_ago && boot_ns() - presence < options_.accept_lease_ns;
}

void SegmentWriter::retire() noexcept {
  retired_ = true;
  queue_.refuse(Code::retired);
  // Others may be reading what is there by now: not a byte and not a name is changed any more.
  segment_.reset();
  listener_.retired();
}

// Gives up the open segment. Its number is told in any case, for numbers are expected to follow each other; the file of
// one that holds nothing acknowledged goes, if it can be removed.
void SegmentWriter::abandon() noexcept {
  const uint64_t number = segment_->number();
  segment_.reset();
  if (!acknowledged_in_segment_) directory_.remove_private(number);
  listener_.abandoned(number);
  acknowledged_in_segment_ = false;
}

void SegmentWriter::fail(FileFailure failure) noexcept {
  retry_at_ns_ = boot_ns() + options_.retry_ns;
  const Code code = code_of(failure.error);
  if (queue_.refusal() == code) return;
  queue_.refuse(code);
  listener_.failing(code, failure.operation, failure.error);
}

void SegmentWriter::try_again() noexcept {
  if (!lease_holds()) return retire();
  FileFailure found = directory_.open();
  uint64_t free = 0;
  if (!found) found = directory_.free_bytes(free);
  if (!found && free < options_.reserve_bytes) found = {"statvfs", ENOSPC};
  if (!found) found = directory_.probe();
  if (!found) found = publish_sealed(!queue_.stopping());
  if (found) return fail(found);
  space_checked_ns_ = boot_ns();
  written_since_check_ = 0;
  queue_.refuse(Code::none);
  listener_.recovered();
}

}  // namespace usher
