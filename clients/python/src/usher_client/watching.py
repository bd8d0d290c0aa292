"""What a client lets be seen of its work: its counts, and the events of its connections."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Optional, Sequence

from .errors import UsherError


@dataclass
class Stats:
    #: Jobs put into frames, resends included.
    sent_jobs: int = 0
    sent_bytes: int = 0
    accepted_jobs: int = 0
    refused_jobs: int = 0
    #: Refusals after which the job was sent again.
    retried_jobs: int = 0
    in_doubt_jobs: int = 0
    #: Jobs that were flying when a connection was lost.
    resent_jobs: int = 0
    connections: int = 0
    #: Jobs that wait for their answers now, and what they take of memory on the wire.
    held_jobs: int = 0
    held_bytes: int = 0
    credit: int = 0


class Event(NamedTuple):
    #: "connected", "disconnected", "unreachable" (an address that couldn't be connected) or "goodbye".
    kind: str
    address: str
    #: Of disconnected and unreachable.
    error: Optional[UsherError] = None
    #: Of connected.
    host: str = ""
    instance: str = ""
    #: Of goodbye: where it says to go to, and why.
    addresses: Sequence[str] = ()
    reason: str = ""
