"""The first connection of a client: awaited for so long, and given up at once where no host will ever take it."""

from __future__ import annotations

from typing import Callable, Optional, Set

from .errors import DisconnectedError, UsherError
from .watching import Event

CONNECT_WITHIN_S = 10.0


class FirstConnection:
    """Told of events, it says once whether there is a connection (None) or never will be (an error)."""

    def __init__(self, addresses: int, say: Callable[[Optional[UsherError]], object]) -> None:
        self._addresses = addresses
        self._say: Optional[Callable[[Optional[UsherError]], object]] = say
        self._hopeless: Set[str] = set()

    def __call__(self, event: Event) -> None:
        if self._say is None:
            return
        if event.kind == "unreachable" and event.error is not None:
            if event.error.retryable:
                self._hopeless.discard(event.address)
                return
            self._hopeless.add(event.address)
            if len(self._hopeless) < self._addresses:
                return
        elif event.kind != "connected":
            return
        say, self._say = self._say, None
        say(event.error)


def too_late(within_s: float, last: Optional[UsherError]) -> UsherError:
    why = "" if last is None else f": {last}"
    error = DisconnectedError("disconnected", f"no host could be reached within {within_s} s{why}")
    error.__cause__ = last
    return error
