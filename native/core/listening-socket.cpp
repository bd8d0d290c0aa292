#include "listening-socket.h"

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace usher {
namespace {

// The kernel takes the smaller of this and net.core.somaxconn.
constexpr int backlog = 4096;

union Address {
  sockaddr any;
  sockaddr_in v4;
  sockaddr_in6 v6;
};

bool set(int fd, int level, int option) noexcept {
  const int on = 1;
  return setsockopt(fd, level, option, &on, sizeof on) == 0;
}

FileFailure parse(const std::string& text, Address& address, socklen_t& length) noexcept {
  addrinfo hints{};
  hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (getaddrinfo(text.c_str(), "0", &hints, &found) != 0) return {"getaddrinfo", EINVAL};
  const bool fits = (found->ai_family == AF_INET || found->ai_family == AF_INET6) && found->ai_addrlen <= sizeof address;
  if (fits) {
    std::memcpy(&address, found->ai_addr, found->ai_addrlen);
    length = found->ai_addrlen;
  }
  freeaddrinfo(found);
  return {"getaddrinfo", fits ? 0 : EAFNOSUPPORT};
}

// The first socket takes the address for itself alone, and lets others share it only afterwards: so whoever else listens
// there is noticed, another usher of the same user too, which SO_REUSEPORT alone would let in.
FileFailure open_one(Address& address, socklen_t length, bool first, bool shared, int& fd) noexcept {
  fd = socket(address.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return {"socket", errno};
  // Inherited by what is accepted.
  if (!set(fd, SOL_SOCKET, SO_REUSEADDR) || !set(fd, SOL_SOCKET, SO_KEEPALIVE) || !set(fd, IPPROTO_TCP, TCP_NODELAY) ||
      (!first && !set(fd, SOL_SOCKET, SO_REUSEPORT))) {
    return {"setsockopt", errno};
  }
  if (bind(fd, &address.any, length) != 0) return {"bind", errno};
  if (getsockname(fd, &address.any, &length) != 0) return {"getsockname", errno};
  if (first && shared && !set(fd, SOL_SOCKET, SO_REUSEPORT)) return {"setsockopt", errno};
  if (listen(fd, backlog) != 0) return {"listen", errno};
  return {};
}

}  // namespace

FileFailure listen_on(const std::string& address, uint16_t& port, std::span<int> fds) noexcept {
  Address bound{};
  socklen_t length = 0;
  if (const FileFailure found = parse(address, bound, length)) return found;
  // Both have the port in the same place.
  bound.v4.sin_port = htons(port);
  for (int& fd : fds) fd = -1;
  for (size_t i = 0; i < fds.size(); i++) {
    const FileFailure found = open_one(bound, length, i == 0, fds.size() > 1, fds[i]);
    if (!found) continue;
    for (int& fd : fds) {
      if (fd >= 0) close(fd);
      fd = -1;
    }
    return found;
  }
  port = ntohs(bound.v4.sin_port);
  return {};
}

}  // namespace usher
