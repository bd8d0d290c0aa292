"""The name of a job: the producer's number and the job's sequence, written `9f8c2e71a4b0d3e5-17`. Minted before the first
attempt, so that every retry is safe. Must never be made up anew for a job that was sent."""

from __future__ import annotations

import hashlib
import re
import secrets
from typing import NamedTuple, Optional

U64_MAX = 2**64 - 1
_ID = re.compile(r"([0-9a-f]{16})-(0|[1-9][0-9]{0,19})", re.ASCII)


class JobId(NamedTuple):
    producer: int
    sequence: int

    def __str__(self) -> str:
        return format_job_id(self.producer, self.sequence)


def format_job_id(producer: int, sequence: int) -> str:
    return f"{producer:016x}-{sequence}"


def parse_job_id(text: str) -> Optional[JobId]:
    """None where the text is not exactly how format_job_id would write it."""
    match = _ID.fullmatch(text)
    if match is None:
        return None
    sequence = int(match[2])
    return None if sequence > U64_MAX else JobId(int(match[1], 16), sequence)


def producer_of_name(name: str) -> int:
    """The producer's number of a client that is known by a name: the first 8 bytes of the SHA-256 of the name in UTF-8,
    big-endian. Whoever uses the name must be alone with it and give each job its own sequence."""
    return int.from_bytes(hashlib.sha256(name.encode("utf-8")).digest()[:8], "big")


def random_producer() -> int:
    """For a producer that lives once: no other will have this number."""
    return secrets.randbits(64)
