"""Preamble, frames and messages: writing them, and finding them in bytes that were cut anywhere. Pure.

Frame: u32 CRC-32C of the rest | u32 payload bytes | u8 type | u8 flags (0) | u16 count | payload. Little-endian."""

from __future__ import annotations

import struct
from typing import Iterator, NamedTuple, Optional, Sequence, Union

from .crc32c import Crc32c, crc32c
from .errors import UsherError

PROTOCOL_VERSION = 1
PREAMBLE_BYTES = 8
HEADER_BYTES = 12
COUNT_MAX_PER_FRAME = 0xFFFF
#: The largest answer that is taken from a host: 65,535 refusals with full details.
ANSWER_BYTES_MAX = COUNT_MAX_PER_FRAME * (12 + 0xFF)

HELLO, WELCOME, JOBS, ACK, REFUSED, CREDIT, PING, PONG, GOODBYE, ERROR = range(1, 11)
_COUNTED = frozenset({JOBS, ACK, REFUSED, GOODBYE})

_HEADER = struct.Struct("<IIBBH")
_HEADER_REST = struct.Struct("<IBBH")
_PREAMBLE = struct.Struct("<4sHH")
_CRC = struct.Struct("<I")
_HELLO = struct.Struct("<QI")
_WELCOME = struct.Struct("<IIIIQI16s")
_RANGE = struct.Struct("<QI")
_REFUSAL = struct.Struct("<QHB")
_U64 = struct.Struct("<Q")
_U16 = struct.Struct("<H")
_U8 = struct.Struct("<B")


class Hello(NamedTuple):
    producer: int
    features: int
    name: str


class Welcome(NamedTuple):
    features: int
    frame_bytes_max: int
    job_bytes_max: int
    frame_jobs_max: int
    credit: int
    idle_ms: int
    #: Of the store, with hyphens.
    store: str
    instance: str
    host: str
    version: str


class Jobs(NamedTuple):
    jobs: int
    payload: bytes


class Ack(NamedTuple):
    #: (first sequence, jobs)
    ranges: Sequence[tuple[int, int]]


class RefusedJob(NamedTuple):
    sequence: int
    #: The number on the wire (errors.code_of_wire).
    wire: int
    #: Its tag, 0 for the job.
    field: int
    detail: str


class Refused(NamedTuple):
    jobs: Sequence[RefusedJob]


class Credit(NamedTuple):
    bytes_granted: int


class Ping(NamedTuple):
    token: int


class Pong(NamedTuple):
    token: int


class Goodbye(NamedTuple):
    wire: int
    reason: str
    addresses: Sequence[str]


class Error(NamedTuple):
    wire: int
    message: str


Message = Union[Hello, Welcome, Jobs, Ack, Refused, Credit, Ping, Pong, Goodbye, Error]


class Preamble(NamedTuple):
    #: The lowest version the producer speaks, or the one that usher chose (0: none).
    first: int
    #: The highest version its sender speaks.
    highest: int


class Frame(NamedTuple):
    kind: int
    #: Of the items in the payload.
    items: int
    payload: bytes


def encode_preamble(first: int = PROTOCOL_VERSION, highest: int = PROTOCOL_VERSION) -> bytes:
    return _PREAMBLE.pack(b"USHR", first, highest)


def encode_frame(kind: int, count: int, payload: bytes, crc: Crc32c = crc32c) -> bytes:
    rest = _HEADER_REST.pack(len(payload), kind, 0, count) + payload
    return _CRC.pack(crc(rest)) + rest


def encode_jobs_frame(jobs: Sequence[bytes], payload_bytes: int, crc: Crc32c = crc32c) -> bytes:
    """A JOBS frame of encoded jobs; joined once, as it goes to the socket but for the four bytes of the CRC."""
    rest = b"".join((_HEADER_REST.pack(payload_bytes, JOBS, 0, len(jobs)), *jobs))
    return _CRC.pack(crc(rest)) + rest


def _text(text: str, width: struct.Struct) -> bytes:
    data = text.encode("utf-8")
    return width.pack(len(data)) + data


def encode_message(message: Message, crc: Crc32c = crc32c) -> bytes:
    count = 0
    if isinstance(message, Hello):
        kind, payload = HELLO, _HELLO.pack(message.producer, message.features) + _text(message.name, _U8)
    elif isinstance(message, Welcome):
        kind = WELCOME
        store = bytes.fromhex(message.store.replace("-", ""))
        payload = _WELCOME.pack(*message[:6], store) + b"".join(_text(text, _U8) for text in message[7:])
    elif isinstance(message, Jobs):
        kind, count, payload = JOBS, message.jobs, message.payload
    elif isinstance(message, Ack):
        kind, count, payload = ACK, len(message.ranges), b"".join(_RANGE.pack(*each) for each in message.ranges)
    elif isinstance(message, Refused):
        kind, count = REFUSED, len(message.jobs)
        payload = b"".join(
            _REFUSAL.pack(job.sequence, job.wire, job.field) + _text(job.detail, _U8) for job in message.jobs
        )
    elif isinstance(message, (Credit, Ping, Pong)):
        kind = CREDIT if isinstance(message, Credit) else PING if isinstance(message, Ping) else PONG
        payload = _U64.pack(message[0])
    elif isinstance(message, Goodbye):
        kind, count = GOODBYE, len(message.addresses)
        payload = _U16.pack(message.wire) + b"".join(_text(text, _U8) for text in (message.reason, *message.addresses))
    else:
        kind, payload = ERROR, _U16.pack(message.wire) + _text(message.message, _U16)
    return encode_frame(kind, count, payload, crc)


class _Reader:
    """Takes a payload apart, and says frame_malformed where it ends too early or too late."""

    __slots__ = ("at", "payload")

    def __init__(self, payload: bytes) -> None:
        self.payload = payload
        self.at = 0

    def raw(self, size: int) -> bytes:
        end = self.at + size
        if end > len(self.payload):
            raise UsherError("frame_malformed", f"the payload ends at {len(self.payload)}, in the middle of a value")
        data = self.payload[self.at : end]
        self.at = end
        return data

    def unpack(self, shape: struct.Struct) -> tuple[int, ...]:
        return shape.unpack(self.raw(shape.size))

    def text(self, width: struct.Struct = _U8, cut: bool = False) -> str:
        (size,) = self.unpack(width)
        try:
            return self.raw(size).decode("utf-8", "ignore" if cut else "strict")
        except UnicodeDecodeError as error:
            raise UsherError("frame_malformed", "a text is not UTF-8") from error

    def end(self) -> None:
        if self.at != len(self.payload):
            raise UsherError("frame_malformed", f"{len(self.payload) - self.at} bytes are left over")


def _refused_job(read: _Reader) -> RefusedJob:
    sequence, wire, field = read.unpack(_REFUSAL)
    # A detail may have been cut anywhere, also within a character.
    return RefusedJob(sequence, wire, field, read.text(cut=True))


def _welcome(read: _Reader) -> Welcome:
    features, frame_bytes, job_bytes, frame_jobs, credit, idle_ms, store = _WELCOME.unpack(read.raw(_WELCOME.size))
    uuid = store.hex()
    hyphenated = "-".join((uuid[:8], uuid[8:12], uuid[12:16], uuid[16:20], uuid[20:]))
    return Welcome(
        features, frame_bytes, job_bytes, frame_jobs, credit, idle_ms, hyphenated, read.text(), read.text(), read.text()
    )


def decode_message(frame: Frame) -> Message:
    """Raises UsherError: frame_unexpected for an unknown type, frame_malformed for a payload of another shape."""
    kind, count, payload = frame
    if kind == ACK:
        if len(payload) != count * _RANGE.size:
            raise UsherError("frame_malformed", f"{len(payload)} bytes for {count} ranges")
        return Ack(list(_RANGE.iter_unpack(payload)))
    if count != 0 and kind not in _COUNTED:
        raise UsherError("frame_malformed", f"a count of {count} in a frame of type {kind}, which has none")
    read = _Reader(payload)
    message: Message
    if kind == CREDIT:
        message = Credit(*read.unpack(_U64))
    elif kind == REFUSED:
        message = Refused([_refused_job(read) for _ in range(count)])
    elif kind == WELCOME:
        message = _welcome(read)
    elif kind == PING:
        message = Ping(*read.unpack(_U64))
    elif kind == PONG:
        message = Pong(*read.unpack(_U64))
    elif kind == GOODBYE:
        message = Goodbye(read.unpack(_U16)[0], read.text(), [read.text() for _ in range(count)])
    elif kind == ERROR:
        message = Error(read.unpack(_U16)[0], read.text(_U16))
    elif kind == HELLO:
        producer, features = read.unpack(_HELLO)
        message = Hello(producer, features, read.text())
    elif kind == JOBS:
        message = Jobs(count, read.raw(len(payload)))
    else:
        raise UsherError("frame_unexpected", f"there is no frame of type {kind}")
    read.end()
    return message


class FrameDecoder:
    """Finds the preamble and the frames in a stream, however it was cut."""

    __slots__ = ("_crc", "_held", "_payload_bytes_max", "preamble")

    def __init__(self, crc: Crc32c = crc32c, payload_bytes_max: int = ANSWER_BYTES_MAX) -> None:
        self._crc = crc
        self._payload_bytes_max = payload_bytes_max
        self._held = bytearray()
        self.preamble: Optional[Preamble] = None

    def push(self, data: Union[bytes, bytearray, memoryview]) -> Iterator[Frame]:
        """The frames that are whole now. Raises UsherError when the bytes aren't what the protocol says; the stream is then
        over. Frames must be taken to the end before the next push."""
        held = self._held
        held += data
        at = 0
        try:
            if self.preamble is None:
                if len(held) < PREAMBLE_BYTES:
                    return
                magic, first, highest = _PREAMBLE.unpack_from(held)
                if magic != b"USHR":
                    raise UsherError("not_usher", 'the first bytes are not "USHR"')
                self.preamble = Preamble(first, highest)
                at = PREAMBLE_BYTES
            while len(held) - at >= HEADER_BYTES:
                crc, payload_bytes, kind, flags, count = _HEADER.unpack_from(held, at)
                if payload_bytes > self._payload_bytes_max:
                    allowed = self._payload_bytes_max
                    raise UsherError("frame_too_large", f"a payload of {payload_bytes} bytes, where {allowed} are allowed")
                end = at + HEADER_BYTES + payload_bytes
                if end > len(held):
                    return
                if self._crc(held[at + 4 : end]) != crc:
                    raise UsherError("frame_corrupt", "the CRC doesn't match the frame")
                if flags != 0:
                    raise UsherError("frame_unexpected", f"flags {flags} in a frame of type {kind}")
                frame = Frame(kind, count, bytes(held[at + HEADER_BYTES : end]))
                at = end
                yield frame
        finally:
            del held[:at]
