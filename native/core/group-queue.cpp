#include "group-queue.h"

#include <algorithm>
#include <chrono>

namespace usher {

GroupQueue::Appender::~Appender() {
  if (bytes_ == 0) return;
  queue_.uncommitted_bytes_.fetch_add(bytes_, std::memory_order_relaxed);
}

Group* GroupQueue::fresh() noexcept {
  Group* group;
  if (free_.empty()) {
    groups_.push_back(std::make_unique<Group>());
    group = groups_.back().get();
  } else {
    group = free_.back();
    free_.pop_back();
  }
  group->serial = ++serials_;
  return group;
}

void GroupQueue::rotate() noexcept {
  closed_.push_back(open_);
  open_ = fresh();
}

Group* GroupQueue::take(int64_t until_boot_ns) noexcept {
  std::unique_lock lock(mutex_);
  if (!has_jobs() && !stopping()) {
    const int64_t left = until_boot_ns - boot_ns();
    if (left <= 0) return nullptr;
    asleep_ = true;
    // The condition variable can't wait on the boot-time clock: after a suspend it wakes late, and nothing
    // that the writer does by age minds. Waking for nothing is harmless as well, so the wait isn't repeated.
    changed_.wait_for(lock, std::chrono::nanoseconds(std::min<int64_t>(left, 3'600'000'000'000)));
    asleep_ = false;
  }
  if (!closed_.empty()) {
    Group* group = closed_.front();
    closed_.pop_front();
    return group;
  }
  if (open_->jobs == 0) return nullptr;
  Group* group = open_;
  open_ = fresh();
  return group;
}

bool GroupQueue::waiting() noexcept {
  const std::lock_guard guard(mutex_);
  return has_jobs();
}

uint64_t GroupQueue::done(Group* group) noexcept {
  const uint64_t bytes = group->xml.size();
  const std::lock_guard guard(mutex_);
  group->clear();
  if (free_.size() < free_groups_max && group->xml.capacity() <= 4 * group_bytes_max_) {
    free_.push_back(group);
  } else {
    std::erase_if(groups_, [group](const auto& owned) { return owned.get() == group; });
  }
  return uncommitted_bytes_.fetch_sub(bytes) - bytes;
}

void GroupQueue::refuse(Code code) noexcept {
  // Under the mutex, so that a frame is refused or taken as a whole.
  const std::lock_guard guard(mutex_);
  refusal_.store(code, std::memory_order_relaxed);
}

void GroupQueue::wake() noexcept {
  {
    const std::lock_guard guard(mutex_);
    if (!asleep_ || !has_jobs()) return;
    asleep_ = false;
  }
  changed_.notify_one();
}

void GroupQueue::stop() noexcept {
  {
    const std::lock_guard guard(mutex_);
    stopping_.store(true, std::memory_order_release);
    asleep_ = false;
  }
  changed_.notify_one();
}

}  // namespace usher
