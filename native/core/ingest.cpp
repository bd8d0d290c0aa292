#include "ingest.h"

#include <algorithm>
#include <utility>

namespace usher {

Ingest::Ingest(IngestOptions options, IngestSink& sink) noexcept
    : sink_(sink),
      uncommitted_bytes_max_(options.uncommitted_bytes_max),
      ops_(options.faults.empty() ? std::make_unique<FileOps>()
                                  : std::unique_ptr<FileOps>(new FaultyFileOps(std::move(options.faults)))),
      queue_(static_cast<size_t>(std::min(options.writer.segment_bytes_max, group_bytes_max))),
      shared_(options.limits, options.identity, std::move(options.clusters), queue_),
      writer_(std::move(options.writer), queue_, *ops_, *this) {}

uint64_t Ingest::open() noexcept {
  const uint64_t connection = ++last_connection_;
  sessions_.emplace(connection, std::make_unique<Session>(shared_, connection));
  return connection;
}

bool Ingest::feed(uint64_t connection, std::span<const uint8_t> bytes, OutputBytes& out,
                  FeedResult& result) noexcept {
  const auto found = sessions_.find(connection);
  if (found == sessions_.end()) return false;
  Session& session = *found->second;
  session.feed(bytes, out);
  bool pause = false;
  if (queue_.uncommitted_bytes() >= uncommitted_bytes_max_) {
    paused_.store(true);
    // The writer may have finished in between, when it didn't know that somebody waits for it.
    pause = queue_.uncommitted_bytes() >= uncommitted_bytes_max_ || !paused_.exchange(false);
  }
  result = {session.closed(), pause, session.partial_bytes(), session.greeted()};
  return true;
}

bool Ingest::say_goodbye(uint64_t connection, Code code, std::string_view reason,
                         std::span<const std::string> addresses, OutputBytes& out) noexcept {
  const auto found = sessions_.find(connection);
  if (found == sessions_.end()) return false;
  found->second->say_goodbye(code, reason, addresses, out);
  return true;
}

IngestEvents Ingest::collect() noexcept {
  IngestEvents events;
  {
    const std::lock_guard guard(events_mutex_);
    std::swap(events, events_);
    ready_ = false;
  }
  OutputBytes goodbyes;
  std::vector<IngestEvents::Output> outputs;
  OutputBytes bytes;
  bytes.reserve(events.bytes.size());
  outputs.reserve(events.outputs.size());
  size_t begin = 0;
  for (const IngestEvents::Output& output : events.outputs) {
    const auto first = events.bytes.begin() + static_cast<ptrdiff_t>(begin);
    const auto last = events.bytes.begin() + static_cast<ptrdiff_t>(output.end);
    begin = output.end;
    const auto found = sessions_.find(output.connection);
    // Gone, or told about a mistake of its own after which nothing more is said.
    if (found == sessions_.end() || found->second->closed()) continue;
    Session& session = *found->second;
    bytes.insert(bytes.end(), first, last);
    session.answered(output.jobs, output.credit, bytes);
    outputs.push_back({output.connection, bytes.size(), output.jobs, output.credit});
    if (session.closed()) events.closes.push_back(output.connection);
  }
  events.bytes = std::move(bytes);
  events.outputs = std::move(outputs);
  return events;
}

template <class Change>
void Ingest::happen(Change change) noexcept {
  bool tell;
  {
    const std::lock_guard guard(events_mutex_);
    change(events_);
    tell = !ready_;
    ready_ = true;
  }
  if (tell) sink_.events_ready();
}

void Ingest::committed(const Group& group) noexcept {
  accepted_jobs_.fetch_add(group.jobs, std::memory_order_relaxed);
  jobs_bytes_.fetch_add(group.xml.size(), std::memory_order_relaxed);
  happen([&group](IngestEvents& events) {
    events.accepted += group.jobs;
    for (const Share& share : group.shares) {
      append_acks(group, share, events.bytes);
      if (share.credit > 0) append_credit(share.credit, events.bytes);
      events.outputs.push_back({share.connection, events.bytes.size(), share.jobs, share.credit});
    }
  });
}

void Ingest::refused(const Group& group, Code code) noexcept {
  shared_.refused_jobs.fetch_add(group.jobs, std::memory_order_relaxed);
  happen([&group, code](IngestEvents& events) {
    for (const Share& share : group.shares) {
      append_refusals(group, share, code, events.bytes);
      if (share.credit > 0) append_credit(share.credit, events.bytes);
      events.outputs.push_back({share.connection, events.bytes.size(), share.jobs, share.credit});
    }
  });
}

void Ingest::uncommitted(uint64_t bytes) noexcept {
  if (bytes <= uncommitted_bytes_max_ / 2 && paused_.exchange(false)) {
    happen([](IngestEvents& events) { events.resume = true; });
  }
}

void Ingest::published(uint64_t segment, uint32_t jobs, uint64_t bytes) noexcept {
  happen([=](IngestEvents& events) { events.published.push_back({segment, jobs, bytes}); });
}

void Ingest::abandoned(uint64_t segment) noexcept {
  happen([=](IngestEvents& events) { events.abandoned.push_back(segment); });
}

void Ingest::failing(Code code, const char* operation, int error) noexcept {
  happen([=](IngestEvents& events) {
    events.failure = code;
    events.failed_operation = operation;
    events.failed_error = error;
    events.recovered = false;
  });
}

void Ingest::recovered() noexcept {
  // A failure that wasn't collected yet is still told, so that it is seen; it came before.
  happen([](IngestEvents& events) { events.recovered = true; });
}

void Ingest::retired() noexcept {
  happen([](IngestEvents& events) { events.retired = true; });
}

void Ingest::stopped() noexcept {
  happen([](IngestEvents& events) { events.stopped = true; });
}

}  // namespace usher
