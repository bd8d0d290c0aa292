"""What a client can be told, what it does when it isn't told, and how addresses are written. Times are seconds."""

from __future__ import annotations

import json
import random
import re
from dataclasses import dataclass, fields
from typing import Callable, List, NamedTuple, Optional, Sequence, TypedDict, Union

from .crc32c import Crc32c, crc32c
from .errors import UsherError

DEFAULT_PORT = 7433
_ADDRESS = re.compile(r"(?:\[([0-9a-fA-F:.%\w]+)\]|([^:\[\]\s]+))(?::([0-9]{1,5}))?", re.ASCII)


class Address(NamedTuple):
    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: str) -> Address:
    match = _ADDRESS.fullmatch(text)
    if match is not None:
        port = DEFAULT_PORT if match[3] is None else int(match[3])
        if 1 <= port <= 65_535:
            return Address(match[1] or match[2], port)
    why = f"{json.dumps(text)} is not an address: write HOST, HOST:PORT or [IPV6]:PORT"
    raise UsherError("usage", why, {"address": text})


def parse_addresses(addresses: Union[str, Sequence[str]]) -> List[Address]:
    texts = [addresses] if isinstance(addresses, str) else addresses
    parsed = [parse_address(part.strip()) for text in texts for part in text.split(",") if part.strip() != ""]
    if not parsed:
        raise UsherError("usage", "no address to send to")
    return parsed


@dataclass(frozen=True)
class Options:
    """Of Client, AsyncClient and connect."""

    #: A name that is this producer's alone. Its number is derived from it, so that a second run means the same jobs: each job
    #: then needs a sequence of the caller's (or first_sequence). Left out: a random number, sequences count from 1.
    client_id: Optional[str] = None
    #: A producer's number of the caller's own making, instead of client_id.
    producer: Optional[int] = None
    #: Where counting begins, for jobs that come without a sequence.
    first_sequence: Optional[int] = None
    #: What people are shown for this producer; at most 255 bytes. Left out: client_id.
    name: Optional[str] = None
    #: For one address to be connected and to have sent WELCOME.
    connect_timeout_s: float = 5.0
    #: How long a job waits for others before its frame is sent.
    linger_s: float = 0.0
    #: A frame is sent without lingering when it has this much payload ...
    batch_bytes: int = 64 * 1024
    #: ... or so many jobs.
    batch_jobs: int = 1_000
    #: Jobs that may be held: waiting, sent, or refused and to be sent again.
    held_jobs_max: int = 100_000
    held_bytes_max: int = 64 * 1024 * 1024
    #: What a client does that holds so much: "wait" for room, or "reject" with queue_full.
    when_full: str = "wait"
    #: How long a job may take until it is answered. math.inf: for ever.
    timeout_s: float = 60.0
    #: Send again what was refused for a reason that passes, until the job's time is over.
    retry: bool = True
    #: Full jitter: a random time up to min(most, base × 2^attempt).
    backoff_base_s: float = 0.1
    backoff_most_s: float = 10.0
    #: A connection on which nothing comes back for this long, though it should, is given up.
    silence_s: float = 30.0
    #: Another CRC-32C, where there is a faster one.
    crc32c: Crc32c = crc32c
    #: 0 <= random() < 1. For tests.
    random: Callable[[], float] = random.random

    def __post_init__(self) -> None:
        if self.client_id is not None and self.producer is not None:
            raise UsherError("usage", "give client_id or producer, not both")
        if self.producer is not None and not 0 <= self.producer < 2**64:
            raise UsherError("usage", f"a producer's number has 64 bits, not {self.producer}")
        if len(self.shown_name.encode("utf-8")) > 255:
            raise UsherError("usage", "the name has more than 255 bytes")
        if self.when_full not in ("wait", "reject"):
            raise UsherError("usage", f'when_full is "wait" or "reject", not {self.when_full!r}')
        for field in fields(self):
            least = _LEAST.get(field.name)
            if least is not None and not getattr(self, field.name) >= least:
                raise UsherError("usage", f"{field.name} must be at least {least}, not {getattr(self, field.name)}")

    @property
    def shown_name(self) -> str:
        return self.name if self.name is not None else self.client_id or ""


_LEAST = {
    "connect_timeout_s": 0.001, "linger_s": 0, "batch_bytes": 1, "batch_jobs": 1, "held_jobs_max": 1, "held_bytes_max": 1,
    "timeout_s": 0.001, "backoff_base_s": 0, "backoff_most_s": 0.001, "silence_s": 0.001,
}  # fmt: skip


def full_jitter_s(attempt: int, base_s: float, most_s: float, random: Callable[[], float]) -> float:
    """How long to wait before the next attempt, so that clients that lost one host together don't come back together."""
    return random() * min(most_s, base_s * 2.0 ** min(attempt, 30))


class OptionArguments(TypedDict, total=False):
    """The fields of Options, as keyword arguments."""

    client_id: Optional[str]
    producer: Optional[int]
    first_sequence: Optional[int]
    name: Optional[str]
    connect_timeout_s: float
    linger_s: float
    batch_bytes: int
    batch_jobs: int
    held_jobs_max: int
    held_bytes_max: int
    when_full: str
    timeout_s: float
    retry: bool
    backoff_base_s: float
    backoff_most_s: float
    silence_s: float
    crc32c: Crc32c
    random: Callable[[], float]
