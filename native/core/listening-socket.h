// Sockets that listen, one for each loop, all on one address: the kernel spreads connections over them. It must never
// share the address with anybody else.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "segment-directory.h"

namespace usher {

// `address`: numeric, IPv4 or IPv6. `port` 0 takes any free one, and becomes it. Fills `fds`, non-blocking; nothing is left
// open after a failure.
FileFailure listen_on(const std::string& address, uint16_t& port, std::span<int> fds) noexcept;

}  // namespace usher
