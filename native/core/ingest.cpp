#include "ingest.h"

#include <algorithm>
#include <utility>

#include "listening-socket.h"

namespace usher {

Ingest::Ingest(IngestOptions options, IngestSink& sink) noexcept
    : sink_(sink),
      ops_(options.faults.empty()
               ? std::make_unique<FileOps>(options.direct_io)
               : std::unique_ptr<FileOps>(new FaultyFileOps(std::move(options.faults), options.direct_io))),
      queue_(static_cast<size_t>(std::min(options.writer.segment_bytes_max, group_bytes_max))),
      shared_(options.limits, options.identity, std::move(options.clusters), queue_),
      sockets_(shared_, options.sockets),
      writer_(std::move(options.writer), queue_, *ops_, *this) {
  for (uint32_t i = 0; i < options.threads; i++) {
    loops_.push_back(
        std::make_unique<SocketLoop>(sockets_, i, options.threads, static_cast<SocketLoopListener&>(*this)));
  }
}

FileFailure Ingest::start() noexcept {
  for (const auto& loop : loops_) {
    if (const FileFailure found = loop->start()) return found;
  }
  return writer_.start();
}

FileFailure Ingest::listen(const std::string& address, uint16_t& port) noexcept {
  std::vector<int> fds(loops_.size());
  if (const FileFailure found = listen_on(address, port, fds)) return found;
  for (size_t i = 0; i < fds.size(); i++) loops_[i]->listen(fds[i]);
  return {};
}

void Ingest::say_goodbye(Farewell farewell) noexcept {
  const auto shared = std::make_shared<const Farewell>(std::move(farewell));
  for (const auto& loop : loops_) loop->say(shared);
}

IngestEvents Ingest::collect() noexcept {
  IngestEvents events;
  {
    const std::lock_guard guard(events_mutex_);
    std::swap(events, events_);
    ready_ = false;
  }
  const auto since = [](const std::atomic<uint64_t>& count, uint64_t& told) {
    const uint64_t before = told;
    told = count.load(std::memory_order_relaxed);
    return told - before;
  };
  events.accepted = since(accepted_jobs_, told_accepted_);
  events.opened = since(sockets_.opened, told_opened_);
  events.turned_away = since(sockets_.turned_away, told_turned_away_);
  return events;
}

template <class Append>
void Ingest::answer(const Group& group, Append append) noexcept {
  const auto count = static_cast<uint32_t>(loops_.size());
  for (const auto& loop : loops_) {
    AnswerBatch batch;
    for (const Share& share : group.shares) {
      if (count > 1 && share.connection % count != loop->index()) continue;
      append(share, batch.bytes);
      if (share.credit > 0) append_credit(share.credit, batch.bytes);
      batch.answers.push_back({share.connection, batch.bytes.size(), share.jobs, share.credit});
    }
    if (!batch.answers.empty()) loop->answer(std::move(batch));
  }
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
  answer(group, [&group](const Share& share, OutputBytes& to) { append_acks(group, share, to); });
}

void Ingest::refused(const Group& group, Code code) noexcept {
  shared_.refused_jobs.fetch_add(group.jobs, std::memory_order_relaxed);
  answer(group, [&group, code](const Share& share, OutputBytes& to) { append_refusals(group, share, code, to); });
}

void Ingest::uncommitted(uint64_t bytes) noexcept {
  if (bytes > sockets_.limits.uncommitted_bytes_max / 2 || !sockets_.out_of_room.exchange(false)) return;
  for (const auto& loop : loops_) loop->room();
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

void Ingest::cut_off(uint64_t connection, Code code, std::string peer) noexcept {
  happen([&](IngestEvents& events) {
    if (events.cut_off.size() < IngestEvents::cut_off_max) {
      events.cut_off.push_back({connection, code, std::move(peer)});
    } else {
      events.cut_off_more++;
    }
  });
}

void Ingest::accepting(const char* operation, int error) noexcept {
  happen([=](IngestEvents& events) {
    events.accept_operation = operation;
    events.accept_error = error;
  });
}

void Ingest::emptied() noexcept {
  if (loops_emptied_.fetch_add(1) + 1 < loops_.size()) return;
  happen([](IngestEvents& events) { events.emptied = true; });
}

}  // namespace usher
