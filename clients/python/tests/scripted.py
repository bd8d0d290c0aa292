"""A host that does what a test tells it: greets, then answers JOBS by a script. And a line that breaks where it is told to."""

from __future__ import annotations

import socket
import struct
import threading
import time
from typing import Callable, List, NamedTuple, Optional, Sequence, Tuple

from usher_client.errors import CODES
from usher_client.frames import (
    Ack, Credit, Error, FrameDecoder, Goodbye, Hello, Jobs, Message, Ping, Pong, Refused, RefusedJob, Welcome,
    decode_message, encode_message, encode_preamble,
)  # fmt: skip

WELCOME = Welcome(0, 1 << 20, 1 << 18, 10_000, 1 << 22, 60_000, "1b4e28ba-2fa1-11d2-883f-0016d3cca427", "one", "host1", "0.1.0")


def until(what: str, condition: Callable[[], bool], within_s: float = 20) -> None:
    end = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"{what}: not within {within_s} s")
        time.sleep(0.002)


class Batch(NamedTuple):
    """A JOBS frame that came."""

    sequences: List[int]
    jobs: List[bytes]
    frame_bytes: int


class Peer:
    """One connection of a producer."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.messages: List[Message] = []
        self.batches: List[Batch] = []
        self.closed = False
        self.is_cut = False

    def send(self, message: Message) -> None:
        self.sock.sendall(encode_message(message))

    def ack(self, sequences: Sequence[int]) -> None:
        self.send(Ack([(sequence, 1) for sequence in sequences]))

    def refuse(self, code: str, sequences: Sequence[int], field: int = 0, detail: str = "") -> None:
        self.send(Refused([RefusedJob(sequence, CODES[code].wire, field, detail) for sequence in sequences]))

    def credit(self, count: int) -> None:
        self.send(Credit(count))

    def goodbye(self, addresses: Sequence[str] = (), code: str = "draining") -> None:
        self.send(Goodbye(CODES[code].wire, "bye", addresses))

    def cut(self) -> None:
        """Ends the connection: what else has come on it is not looked at."""
        self.is_cut = True
        self.sock.shutdown(socket.SHUT_RDWR)


Script = Callable[[Peer, Batch], None]


def accept(peer: Peer, batch: Batch) -> None:
    peer.ack(batch.sequences)
    peer.credit(batch.frame_bytes)


def nothing(peer: Peer, batch: Batch) -> None:
    """Takes jobs and never answers."""


class ScriptedServer:
    def __init__(self, on_jobs: Script = accept, welcome: Optional[Welcome] = WELCOME, on_ping: bool = True) -> None:
        self.on_jobs = on_jobs
        #: None: says nothing at all.
        self.welcome = welcome
        self.answers_pings = on_ping
        #: Sent instead of WELCOME.
        self.first: Optional[bytes] = None
        #: Sent in the same bytes as WELCOME.
        self.behind_welcome = b""
        self.peers: List[Peer] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._closing = False
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def batches(self) -> List[Batch]:
        return [batch for peer in list(self.peers) for batch in list(peer.batches)]

    @property
    def sequences(self) -> List[int]:
        return [sequence for batch in self.batches for sequence in batch.sequences]

    def close(self) -> None:
        self._closing = True
        # Wakes accept().
        socket.create_connection(("127.0.0.1", self.port)).close()
        self._threads[0].join()
        self._listener.close()
        for peer in self.peers:
            try:
                peer.cut()
            except OSError:
                pass
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        while True:
            sock, _ = self._listener.accept()
            if self._closing:
                sock.close()
                return
            peer = Peer(sock)
            self.peers.append(peer)
            thread = threading.Thread(target=self._serve, args=(peer,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, peer: Peer) -> None:
        decoder = FrameDecoder()
        try:
            while True:
                data = peer.sock.recv(1 << 16)
                if not data:
                    break
                for frame in decoder.push(data):
                    if not peer.is_cut:
                        self._received(peer, decode_message(frame), 12 + len(frame.payload))
        except OSError:
            pass
        finally:
            peer.closed = True
            peer.sock.close()

    def _received(self, peer: Peer, message: Message, frame_bytes: int) -> None:
        peer.messages.append(message)
        if isinstance(message, Hello):
            if self.first is not None:
                peer.sock.sendall(self.first)
            elif self.welcome is not None:
                peer.sock.sendall(encode_preamble() + encode_message(self.welcome) + self.behind_welcome)
        elif isinstance(message, Ping) and self.answers_pings:
            peer.send(Pong(message.token))
        elif isinstance(message, Goodbye):
            peer.send(Goodbye(0, "", ()))
            peer.cut()
        elif isinstance(message, Jobs):
            batch = Batch([], [], frame_bytes)
            at = 0
            while at < len(message.payload):
                size, sequence = struct.unpack_from("<IQ", message.payload, at)
                batch.sequences.append(sequence)
                batch.jobs.append(message.payload[at : at + 4 + size])
                at += 4 + size
            peer.batches.append(batch)
            self.on_jobs(peer, batch)


def error_bytes(code: str, version: int = 0) -> bytes:
    return encode_preamble(version, 1) + encode_message(Error(CODES[code].wire, code))


class BreakingLine:
    """Stands between a producer and a host, and breaks each connection after so many bytes of one direction. Both ends see
    that it ended; what was passed on before has arrived."""

    def __init__(self, target: str) -> None:
        host, _, port = target.rpartition(":")
        self._target = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        #: The next connections' limits, (bytes to the host, bytes to the producer); later ones have none.
        self.limits: List[Tuple[Optional[int], Optional[int]]] = []
        #: How many connections broke by their limit.
        self.broken = 0
        self.joined = 0
        self._sockets: List[socket.socket] = []
        self._closing = False
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def close(self) -> None:
        self._closing = True
        socket.create_connection(("127.0.0.1", self.port)).close()
        self._threads[0].join()
        self._listener.close()
        for sock in self._sockets:
            _shut(sock)
        for thread in self._threads:
            thread.join()
        for sock in self._sockets:
            sock.close()

    def _accept(self) -> None:
        while True:
            producer, _ = self._listener.accept()
            if self._closing:
                producer.close()
                return
            self.joined += 1
            limits = self.limits.pop(0) if self.limits else (None, None)
            try:
                host = socket.create_connection(self._target)
            except OSError:
                producer.close()
                continue
            self._sockets += [producer, host]
            for source, sink, limit in ((producer, host, limits[0]), (host, producer, limits[1])):
                sink.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                thread = threading.Thread(target=self._pass_on, args=(source, sink, limit))
                self._threads.append(thread)
                thread.start()

    def _pass_on(self, source: socket.socket, sink: socket.socket, limit: Optional[int]) -> None:
        left = limit
        try:
            while left is None or left > 0:
                data = source.recv(65536 if left is None else min(left, 65536))
                if not data:
                    break
                sink.sendall(data)
                if left is not None:
                    left -= len(data)
            if left == 0:
                self.broken += 1
        except OSError:
            pass
        _shut(source)
        _shut(sink)


def _shut(sock: socket.socket) -> None:
    try:
        sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        # It is shut already.
        pass
