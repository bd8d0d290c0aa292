#include "socket-loop.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <utility>

#include "clock.h"

namespace usher {
namespace {

constexpr int64_t ms = 1'000'000;
// How often the clock is looked at for connections that let it pass.
constexpr int64_t sweep_every_ns = 250 * ms;
// How long a connection that was told to go may take to read that.
constexpr int64_t linger_ns = 2000 * ms;
// After accepting has failed.
constexpr int64_t accept_pause_ns = 100 * ms;

constexpr int events_max = 512;
constexpr int accepts_max = 64;
// Of connections beyond the limit, those that are given time to read why. The rest is closed at once.
constexpr size_t lingering_turned_away_max = 1024;
// What one connection may hand in during a turn.
constexpr size_t read_bytes_max = 256 * 1024;
// What all may, so that those who wait for an answer don't wait for many others to be read.
constexpr size_t turn_bytes_max = 1024 * 1024;
// What a read counts for at least: a system call costs about as much as decoding so many bytes.
constexpr size_t read_cost_bytes = 1024;
// Room for answers that a connection keeps when it has nothing to send.
constexpr size_t output_kept_max = 1024;

// In the place of a connection's address, which is never as low.
constexpr uint64_t wake_tag = 0;
constexpr uint64_t listener_tag = 1;

std::string_view message_of(Code code) noexcept {
  switch (code) {
    case Code::connections_exhausted: return "this host has as many connections as it takes";
    case Code::hello_timeout: return "no complete preamble and HELLO in time";
    case Code::frame_timeout: return "a frame was begun and not completed in time";
    case Code::idle_timeout: return "nothing arrived for longer than WELCOME allows";
    case Code::output_overrun: return "the producer doesn't read its answers";
    default: return "";
  }
}

std::string peer_of(int fd) noexcept {
  sockaddr_storage address{};
  socklen_t length = sizeof address;
  char text[INET6_ADDRSTRLEN] = "";
  // It may have gone already; then nobody knows.
  if (getpeername(fd, reinterpret_cast<sockaddr*>(&address), &length) != 0) return "";
  if (address.ss_family == AF_INET6) {
    const auto& v6 = reinterpret_cast<const sockaddr_in6&>(address);
    inet_ntop(AF_INET6, &v6.sin6_addr, text, sizeof text);
    return '[' + std::string(text) + "]:" + std::to_string(ntohs(v6.sin6_port));
  }
  const auto& v4 = reinterpret_cast<const sockaddr_in&>(address);
  inet_ntop(AF_INET, &v4.sin_addr, text, sizeof text);
  return std::string(text) + ':' + std::to_string(ntohs(v4.sin_port));
}

// What accept reports of a connection that has gone before it was accepted (accept(2)): the next may be in order.
bool concerns_one(int error) noexcept {
  switch (error) {
    case EINTR:
    case ECONNABORTED:
    case EPROTO:
    case ENOPROTOOPT:
    case EOPNOTSUPP:
    case ENETDOWN:
    case ENETUNREACH:
    case EHOSTDOWN:
    case EHOSTUNREACH:
    case ENONET: return true;
    default: return false;
  }
}

}  // namespace

SocketLoop::SocketLoop(SocketsShared& shared, uint32_t index, uint32_t count, SocketLoopListener& listener) noexcept
    : shared_(shared), index_(index), count_(count), listener_(listener) {}

SocketLoop::~SocketLoop() {
  if (running_) {
    tell([](Inbox& inbox) { inbox.stop = true; });
    pthread_join(thread_, nullptr);
  }
  if (inbox_.listener_fd >= 0) ::close(inbox_.listener_fd);
  if (wake_fd_ >= 0) ::close(wake_fd_);
  if (epoll_fd_ >= 0) ::close(epoll_fd_);
}

FileFailure SocketLoop::start() noexcept {
  buffer_ = std::make_unique_for_overwrite<uint8_t[]>(read_bytes_max);
  epoll_fd_ = epoll_create1(EPOLL_CLOEXEC);
  if (epoll_fd_ < 0) return {"epoll_create1", errno};
  wake_fd_ = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (wake_fd_ < 0) return {"eventfd", errno};
  // Each write is a change of its own: it never has to be read.
  epoll_event event{EPOLLIN | EPOLLET, {.u64 = wake_tag}};
  if (epoll_ctl(epoll_fd_, EPOLL_CTL_ADD, wake_fd_, &event) != 0) return {"epoll_ctl", errno};
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

template <class Change>
void SocketLoop::tell(Change change) noexcept {
  bool wake;
  {
    const std::lock_guard guard(inbox_mutex_);
    change(inbox_);
    wake = asleep_;
    asleep_ = false;
  }
  // Can't fail: the counter is far from its end.
  if (wake) eventfd_write(wake_fd_, 1);
}

void SocketLoop::listen(int fd) noexcept {
  tell([fd](Inbox& inbox) { inbox.listener_fd = fd; });
}

void SocketLoop::answer(AnswerBatch batch) noexcept {
  tell([&batch](Inbox& inbox) { inbox.batches.push_back(std::move(batch)); });
}

void SocketLoop::room() noexcept {
  tell([](Inbox& inbox) { inbox.room = true; });
}

void SocketLoop::say(std::shared_ptr<const Farewell> farewell) noexcept {
  tell([&farewell](Inbox& inbox) { inbox.farewell = std::move(farewell); });
}

void* SocketLoop::run_thread(void* loop) noexcept {
  pthread_setname_np(pthread_self(), "usher-sockets");
  static_cast<SocketLoop*>(loop)->run();
  return nullptr;
}

void SocketLoop::run() noexcept {
  for (bool going_on = true; going_on;) {
    wait();
    going_on = take_inbox();
    if (listener_ready_ && now_ns_ >= accept_again_ns_) accept_some();
    // Answers go out before more is read: somebody has waited for a sync for them.
    send_dirty();
    if (going_on) read_ready();
    send_dirty();
    if (now_ns_ >= sweep_ns_ || farewell_over()) sweep();
    send_dirty();
    forget_closed();
  }
  close_listener();
  for (const auto& [number, connection] : connections_) close(*connection);
}

bool SocketLoop::may_sleep() const noexcept {
  return (ready_.empty() || out_of_room_) && (!listener_ready_ || accept_failing_);
}

bool SocketLoop::farewell_over() const noexcept {
  return farewell_ && !emptied_ && now_ns_ >= farewell_->until_ns;
}

int SocketLoop::sleep_ms() const noexcept {
  int64_t until = INT64_MAX;
  if (!connections_.empty()) until = sweep_ns_;
  if (farewell_ && !emptied_) until = std::min(until, std::max(farewell_->until_ns, now_ns_));
  if (accept_failing_) until = std::min(until, accept_again_ns_);
  if (until == INT64_MAX) return -1;
  return static_cast<int>(std::clamp<int64_t>((until - now_ns_ + ms - 1) / ms, 0, 60'000));
}

void SocketLoop::wait() noexcept {
  int timeout = 0;
  if (may_sleep()) {
    const std::lock_guard guard(inbox_mutex_);
    if (inbox_.empty()) {
      asleep_ = true;
      timeout = sleep_ms();
    }
  }
  epoll_event events[events_max];
  // Interrupted, or failed as only a closed descriptor could make it: there is nothing to hear then.
  const int count = std::max(0, epoll_wait(epoll_fd_, events, events_max, timeout));
  now_ns_ = monotonic_ns();
  // Nothing is closed here: every address is that of a connection.
  for (int i = 0; i < count; i++) {
    const epoll_event& event = events[i];
    if (event.data.u64 == wake_tag) continue;
    if (event.data.u64 == listener_tag) {
      listener_ready_ = true;
      continue;
    }
    Connection& connection = *static_cast<Connection*>(event.data.ptr);
    if ((event.events & EPOLLOUT) != 0 && connection.blocked) {
      connection.blocked = false;
      mark_dirty(connection);
    }
    if ((event.events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) connection.hung_up = true;
    if ((event.events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) queue(connection);
  }
}

bool SocketLoop::take_inbox() noexcept {
  Inbox inbox;
  {
    const std::lock_guard guard(inbox_mutex_);
    asleep_ = false;
    if (inbox_.empty()) return true;
    std::swap(inbox, inbox_);
  }
  if (inbox.room) out_of_room_ = false;
  if (inbox.listener_fd >= 0) {
    listener_fd_ = inbox.listener_fd;
    epoll_event event{EPOLLIN | EPOLLET, {.u64 = listener_tag}};
    if (epoll_ctl(epoll_fd_, EPOLL_CTL_ADD, listener_fd_, &event) != 0) {
      listener_.accepting("epoll_ctl", errno);
      close_listener();
    }
  }
  for (const AnswerBatch& batch : inbox.batches) take(batch);
  if (inbox.farewell) {
    farewell_ = std::move(inbox.farewell);
    begin_farewell();
  }
  return !inbox.stop;
}

void SocketLoop::take(const AnswerBatch& batch) noexcept {
  size_t begin = 0;
  for (const AnswerBatch::Answer& answer : batch.answers) {
    const auto first = batch.bytes.begin() + static_cast<ptrdiff_t>(begin);
    const auto last = batch.bytes.begin() + static_cast<ptrdiff_t>(answer.end);
    begin = answer.end;
    const auto found = connections_.find(answer.connection);
    if (found == connections_.end()) continue;
    Connection& connection = *found->second;
    // Told about a mistake of its own, after which nothing more is said.
    if (connection.leaving) continue;
    connection.output.insert(connection.output.end(), first, last);
    connection.session.answered(answer.jobs, answer.credit, connection.output);
    mark_dirty(connection);
    if (connection.session.closed()) leave(connection);
  }
}

void SocketLoop::accept_some() noexcept {
  for (int i = 0; i < accepts_max; i++) {
    const int fd = accept4(listener_fd_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    const int error = fd >= 0 ? open(fd) : errno;
    if (error == 0 || (fd < 0 && concerns_one(error))) continue;
    const bool none_left = fd < 0 && (error == EAGAIN || error == EWOULDBLOCK);
    if (none_left) listener_ready_ = false;
    const char* const operation = fd < 0 ? "accept" : "epoll_ctl";
    if (accept_failing_ && none_left) listener_.accepting(operation, 0);
    if (!accept_failing_ && !none_left) listener_.accepting(operation, error);
    accept_failing_ = !none_left;
    accept_again_ns_ = none_left ? 0 : now_ns_ + accept_pause_ns;
    return;
  }
}

// Returns an errno.
int SocketLoop::open(int fd) noexcept {
  const uint64_t number = ++connections_opened_ * count_ + index_;
  auto owned = std::make_unique<Connection>(shared_.sessions, number, fd, now_ns_);
  Connection& connection = *owned;
  // Registered for good: what it waits for is kept in the connection.
  epoll_event event{EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, {.ptr = &connection}};
  if (epoll_ctl(epoll_fd_, EPOLL_CTL_ADD, fd, &event) != 0) return errno;
  const uint64_t before = shared_.connections.fetch_add(1, std::memory_order_relaxed);
  connection.counted = before < shared_.limits.connections_max;
  if (connection.counted) {
    shared_.opened.fetch_add(1, std::memory_order_relaxed);
    connections_.emplace(number, std::move(owned));
    return 0;
  }
  shared_.connections.fetch_sub(1, std::memory_order_relaxed);
  shared_.turned_away.fetch_add(1, std::memory_order_relaxed);
  if (lingering_turned_away_ >= lingering_turned_away_max) return 0;
  lingering_turned_away_++;
  connections_.emplace(number, std::move(owned));
  fail(connection, Code::connections_exhausted);
  return 0;
}

void SocketLoop::begin_farewell() noexcept {
  close_listener();
  for (const auto& [number, connection] : connections_) {
    if (!connection->leaving) bid_farewell(*connection);
  }
}

void SocketLoop::bid_farewell(Connection& connection) noexcept {
  connection.session.say_goodbye(farewell_->code, farewell_->reason, farewell_->addresses, connection.output);
  mark_dirty(connection);
  if (connection.session.closed()) leave(connection);
}

bool SocketLoop::has_room() noexcept {
  const GroupQueue& queue = shared_.sessions.queue;
  if (queue.uncommitted_bytes() < shared_.limits.uncommitted_bytes_max) return true;
  shared_.out_of_room.store(true);
  // The writer may have finished in between, when it didn't know that somebody waits for it.
  return queue.uncommitted_bytes() < shared_.limits.uncommitted_bytes_max;
}

void SocketLoop::read_ready() noexcept {
  if (ready_.empty() || out_of_room_) return;
  size_t left = turn_bytes_max;
  size_t done = 0;
  const size_t count = ready_.size();
  for (; done < count && left > 0; done++) {
    if (!has_room()) {
      out_of_room_ = true;
      break;
    }
    Connection& connection = *ready_[done];
    connection.queued = false;
    if (connection.closed()) continue;
    left -= std::min(left, std::max(read(connection), read_cost_bytes));
    // To the end of the row.
    if (!connection.closed() && connection.readable) queue(connection);
  }
  ready_.erase(ready_.begin(), ready_.begin() + static_cast<ptrdiff_t>(done));
  if (done > 0) shared_.sessions.queue.wake();
}

// Returns how many bytes came.
size_t SocketLoop::read(Connection& connection) noexcept {
  const ssize_t got = recv(connection.fd, buffer_.get(), read_bytes_max, 0);
  if (got < 0) {
    if (errno == EINTR) return 0;
    connection.readable = false;
    if (errno != EAGAIN && errno != EWOULDBLOCK) close(connection);
    return 0;
  }
  const auto length = static_cast<size_t>(got);
  if (length == 0) {
    // What is due to it now is still sent; what waits for its sync isn't.
    connection.readable = false;
    connection.read_ended = true;
    leave(connection);
    return 0;
  }
  // Less than there was room for: nothing is left, and more will be a change; but the end has been told of already.
  connection.readable = length == read_bytes_max || connection.hung_up;
  if (!connection.leaving) feed(connection, {buffer_.get(), length});
  return length;
}

void SocketLoop::feed(Connection& connection, std::span<const uint8_t> bytes) noexcept {
  Session& session = connection.session;
  session.feed(bytes, connection.output);
  connection.heard_ns = now_ns_;
  // A frame that ended and another that began in one read: the clock starts anew.
  const size_t partial = session.partial_bytes();
  if (partial == 0) {
    connection.frame_ns = 0;
  } else if (connection.frame_ns == 0 || partial <= bytes.size()) {
    connection.frame_ns = now_ns_;
  }
  if (!connection.output.empty()) mark_dirty(connection);
  if (!session.closed()) return;
  if (session.failure() != Code::none) listener_.cut_off(connection.number, session.failure(), peer_of(connection.fd));
  leave(connection);
}

void SocketLoop::send_dirty() noexcept {
  // Sending may make more to be sent, to the same connections.
  for (size_t i = 0; i < dirty_.size(); i++) {
    dirty_[i]->dirty = false;
    if (!dirty_[i]->closed()) send(*dirty_[i]);
  }
  dirty_.clear();
}

void SocketLoop::send(Connection& connection) noexcept {
  while (!connection.blocked && connection.unsent() > 0) {
    const ssize_t took =
        ::send(connection.fd, connection.output.data() + connection.sent, connection.unsent(), MSG_NOSIGNAL);
    if (took >= 0) {
      connection.sent += static_cast<size_t>(took);
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      connection.blocked = true;
    } else if (errno != EINTR) {
      return close(connection);
    }
  }
  if (connection.unsent() == 0) {
    connection.sent = 0;
    connection.output.clear();
    if (connection.output.capacity() > output_kept_max) OutputBytes().swap(connection.output);
    if (!connection.leaving) return;
    if (connection.read_ended) return close(connection);
    if (!connection.write_ended && shutdown(connection.fd, SHUT_WR) != 0) return close(connection);
    connection.write_ended = true;
    return;
  }
  if (connection.sent >= connection.unsent()) {
    connection.output.erase(connection.output.begin(), connection.output.begin() + static_cast<ptrdiff_t>(connection.sent));
    connection.sent = 0;
  }
  if (!connection.leaving && connection.unsent() > shared_.limits.output_bytes_max) fail(connection, Code::output_overrun);
}

void SocketLoop::sweep() noexcept {
  sweep_ns_ = now_ns_ + sweep_every_ns;
  const SocketLimits& limits = shared_.limits;
  const bool over = farewell_over();
  for (const auto& [number, owned] : connections_) {
    Connection& connection = *owned;
    if (connection.closed()) continue;
    if (over || (connection.leaving && now_ns_ >= connection.leave_by_ns)) {
      close(connection);
      continue;
    }
    if (connection.leaving) continue;
    // While nothing is read silence is ours, not the producer's.
    if (connection.queued) {
      connection.heard_ns = now_ns_;
      if (connection.frame_ns != 0) connection.frame_ns = now_ns_;
    } else if (!connection.session.greeted() && now_ns_ - connection.opened_ns > limits.hello_timeout_ns) {
      fail(connection, Code::hello_timeout);
    } else if (connection.session.greeted() && connection.frame_ns != 0 &&
               now_ns_ - connection.frame_ns > limits.frame_timeout_ns) {
      fail(connection, Code::frame_timeout);
    } else if (now_ns_ - connection.heard_ns > limits.idle_timeout_ns) {
      fail(connection, Code::idle_timeout);
    }
  }
}

// Tells why, and closes.
void SocketLoop::fail(Connection& connection, Code code) noexcept {
  connection.session.end(code, message_of(code), connection.output);
  listener_.cut_off(connection.number, code, peer_of(connection.fd));
  mark_dirty(connection);
  leave(connection);
}

void SocketLoop::leave(Connection& connection) noexcept {
  if (!connection.leaving) connection.leave_by_ns = now_ns_ + linger_ns;
  connection.leaving = true;
  mark_dirty(connection);
}

void SocketLoop::close(Connection& connection) noexcept {
  if (connection.closed()) return;
  connection.close();
  if (connection.counted) {
    shared_.connections.fetch_sub(1, std::memory_order_relaxed);
  } else {
    lingering_turned_away_--;
  }
  closed_.push_back(&connection);
}

void SocketLoop::close_listener() noexcept {
  if (listener_fd_ >= 0) ::close(listener_fd_);
  listener_fd_ = -1;
  listener_ready_ = false;
  accept_failing_ = false;
}

void SocketLoop::forget_closed() noexcept {
  if (!closed_.empty()) {
    std::erase_if(ready_, [](const Connection* connection) { return connection->closed(); });
    for (const Connection* connection : closed_) connections_.erase(connection->number);
    closed_.clear();
  }
  if (!farewell_ || emptied_ || !connections_.empty()) return;
  emptied_ = true;
  listener_.emptied();
}

void SocketLoop::queue(Connection& connection) noexcept {
  connection.readable = true;
  if (connection.queued) return;
  connection.queued = true;
  ready_.push_back(&connection);
}

void SocketLoop::mark_dirty(Connection& connection) noexcept {
  if (connection.dirty) return;
  connection.dirty = true;
  dirty_.push_back(&connection);
}

}  // namespace usher
