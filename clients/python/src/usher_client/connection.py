"""One TCP connection to one host. open_connection() blocks until WELCOME and is called by the thread that dials; afterwards the
connection belongs to the client's own thread, never blocks, and is used once: after it ended, another is made."""

from __future__ import annotations

import socket
import time
from collections import deque
from typing import Callable, Deque, List, Optional, Tuple

from .errors import DisconnectedError, UsherError, code_of_wire
from .frames import (
    COUNT_MAX_PER_FRAME, ERROR, PROTOCOL_VERSION, WELCOME, Error, Frame, FrameDecoder, Goodbye, Hello, Message, Ping, Welcome,
    decode_message, encode_message, encode_preamble,
)  # fmt: skip
from .options import Address, Options

_READ_BYTES = 256 * 1024
#: One call takes at most so many buffers; the kernel's own limit is 1024.
_BUFFERS_MAX = 64


def remote_error(address: str, message: Error) -> UsherError:
    code = code_of_wire(message.wire) or "disconnected"
    return UsherError(code, f"{address}: {message.message}", {"address": address, "wire": message.wire})


def lost(address: str, why: str) -> UsherError:
    return DisconnectedError("disconnected", f"{address}: {why}", {"address": address})


class Connection:
    def __init__(
        self, address: Address, welcome: Welcome, sock: socket.socket, decoder: FrameDecoder, early: List[Frame], options: Options
    ) -> None:
        self.address = str(address)
        self.welcome = welcome
        self.sock = sock
        self.credit = welcome.credit
        self.frame_jobs_max = min(welcome.frame_jobs_max, COUNT_MAX_PER_FRAME)
        #: GOODBYE was sent or received, or a refusal said that it is near: no more jobs here.
        self.leaving = False
        self.said_goodbye = False
        self._decoder = decoder
        #: What came in the same bytes as WELCOME.
        self.early = early
        self._options = options
        self._out: Deque[memoryview] = deque()
        self._silence_s = options.silence_s
        # Three pings fit into the shorter of the two times, so that one late look costs nothing.
        idle_s = welcome.idle_ms / 1000 or self._silence_s
        self._every_s = max(0.01, min(idle_s, self._silence_s) / 3)
        now = time.monotonic()
        self.check_at = now + self._every_s
        self._sent_at = self._heard_at = now
        self._pinged_at: Optional[float] = None
        self._token = 0

    def fileno(self) -> int:
        return self.sock.fileno()

    @property
    def wants_to_write(self) -> bool:
        return len(self._out) > 0

    def send(self, frame: bytes) -> None:
        """Puts a whole frame behind those that wait; write() sends them."""
        self._sent_at = time.monotonic()
        self._out.append(memoryview(frame))

    def send_message(self, message: Message) -> None:
        self.send(encode_message(message, self._options.crc32c))

    def goodbye(self) -> None:
        """No more jobs will come; the host answers what it has and closes."""
        self.leaving = True
        self.said_goodbye = True
        self.send_message(Goodbye(0, "", ()))

    def write(self) -> None:
        """As much as the socket takes. Raises OSError."""
        out = self._out
        while out:
            try:
                sent = self.sock.sendmsg([out[i] for i in range(min(len(out), _BUFFERS_MAX))])
            except (BlockingIOError, InterruptedError):
                return
            while out and sent >= len(out[0]):
                sent -= len(out.popleft())
            if sent > 0:
                out[0] = out[0][sent:]

    def read(self) -> Tuple[List[Frame], Optional[UsherError]]:
        """The frames that have come, and why no more will, if so."""
        frames: List[Frame] = []
        try:
            data = self.sock.recv(_READ_BYTES)
            if not data:
                return frames, lost(self.address, "the connection was closed")
            self._heard_at = time.monotonic()
            for frame in self._decoder.push(data):
                frames.append(frame)
        except (BlockingIOError, InterruptedError):
            pass
        except OSError as error:
            return frames, lost(self.address, str(error))
        except UsherError as error:
            # The stream can't be trusted any more; what came before the mistake stays as it is.
            return frames, UsherError(error.code, f"{self.address}: {error}", {"address": self.address})
        return frames, None

    def pong(self, token: int) -> None:
        """A PONG came."""
        if token == self._token:
            self._pinged_at = None

    def check(self, now: float, expecting: bool) -> None:
        """Pings where nothing was sent or heard for a while. Raises UsherError where the host is silent."""
        self.check_at = now + self._every_s
        if self._pinged_at is not None and now - max(self._heard_at, self._pinged_at) > self._silence_s:
            raise lost(self.address, f"nothing was heard for {self._silence_s} s")
        quiet = now - self._sent_at >= self._every_s * 0.9
        deaf = expecting and now - self._heard_at >= self._every_s * 0.9
        if (quiet or deaf) and self._pinged_at is None:
            self._pinged_at = now
            self._token += 1
            self.send_message(Ping(self._token))

    def close(self) -> None:
        self.sock.close()


def _connected(address: Address, end: float, stopped: Callable[[], bool]) -> socket.socket:
    """Tries all that the name stands for, in the resolver's order."""
    failure: Optional[OSError] = None
    for family, kind, protocol, _, where in socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM):
        left = end - time.monotonic()
        if left <= 0 or stopped():
            break
        sock = socket.socket(family, kind, protocol)
        try:
            sock.settimeout(left)
            sock.connect(where)
            return sock
        except OSError as error:
            sock.close()
            failure = error
    raise failure or TimeoutError("no connection in time")


def open_connection(address: Address, hello: Hello, options: Options, stopped: Callable[[], bool]) -> Connection:
    """Raises UsherError: `disconnected`, or the code of the host's ERROR."""
    where = str(address)
    end = time.monotonic() + options.connect_timeout_s
    decoder = FrameDecoder(options.crc32c)
    try:
        sock = _connected(address, end, stopped)
    except OSError as error:
        raise lost(where, str(error)) from error
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.sendall(encode_preamble() + encode_message(hello, options.crc32c))
        while True:
            # Short looks, so that a client that is closed doesn't wait for a host that says nothing.
            left = end - time.monotonic()
            if stopped():
                raise lost(where, "given up")
            if left <= 0:
                raise lost(where, f"no greeting within {options.connect_timeout_s} s")
            sock.settimeout(min(left, 0.1))
            try:
                data = sock.recv(_READ_BYTES)
            except socket.timeout:
                continue
            if not data:
                raise lost(where, "the connection was closed")
            frames = list(decoder.push(data))
            preamble = decoder.preamble
            # Version 0 is followed by an ERROR that says why; a version that wasn't offered must not be used.
            if preamble is not None and preamble.first > PROTOCOL_VERSION:
                raise UsherError("version_unsupported", f"{where}: the host chose version {preamble.first}", {"address": where})
            if not frames:
                continue
            kind = frames[0].kind
            message = decode_message(frames[0])
            if kind == ERROR and isinstance(message, Error):
                raise remote_error(where, message)
            if kind != WELCOME or not isinstance(message, Welcome):
                raise UsherError("frame_unexpected", f"{where}: a frame of type {kind} came before WELCOME", {"address": where})
            sock.setblocking(False)
            return Connection(address, message, sock, decoder, frames[1:], options)
    except OSError as error:
        sock.close()
        raise lost(where, str(error)) from error
    except BaseException:
        sock.close()
        raise

