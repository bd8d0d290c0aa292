"""Which address is tried next, and when: over all addresses in a random order, those that a leaving host named first, the
one that was lost last, with full jitter between rounds that led to nothing. Each search for a host has a thread of its own,
because names are looked up and connections made by calls that block; there is one search at a time."""

from __future__ import annotations

import threading
from typing import Callable, List, Optional, Sequence

from .connection import Connection, open_connection
from .errors import UsherError
from .frames import Hello
from .options import Address, Options, full_jitter_s, parse_address


class Dialer:
    def __init__(
        self, addresses: Sequence[Address], hello: Hello, options: Options, on_unreachable: Callable[[str, UsherError], None]
    ) -> None:
        self._addresses = addresses
        self._hello = hello
        self._options = options
        self._on_unreachable = on_unreachable
        #: What a host named in its GOODBYE, for the next round.
        self._named: List[Address] = []
        #: The address that was lost or left.
        self._lost: Optional[str] = None
        #: Rounds since a host last accepted something.
        self._rounds = 0
        self._stopping = threading.Event()

    def productive(self) -> None:
        """A host does what it is there for: the next loss is answered at once."""
        self._rounds = 0

    def left(self, address: str, named: Sequence[str]) -> None:
        """A host takes no more jobs. Where it is the only one, it needs a moment."""
        self._named = []
        for text in named:
            try:
                self._named.append(parse_address(text))
            except UsherError:
                # An address that can't be read is of no use; the configured ones remain.
                continue
        self.lost(address)
        if not self._named and len(self._addresses) == 1:
            self._rounds = max(1, self._rounds)

    def lost(self, address: str) -> None:
        self._lost = address

    def dial(self, on_open: Callable[[Connection], None]) -> None:
        """Returns at once; on_open is called in another thread, once, unless stop() is called before."""
        threading.Thread(target=self._search, args=(on_open,), name="usher-client-dialer", daemon=True).start()

    def stop(self) -> None:
        """For good."""
        self._stopping.set()

    def _search(self, on_open: Callable[[Connection], None]) -> None:
        options = self._options
        stopped = self._stopping.is_set
        while not stopped():
            if self._rounds > 0:
                wait_s = full_jitter_s(self._rounds - 1, options.backoff_base_s, options.backoff_most_s, options.random)
                self._stopping.wait(wait_s)
            self._rounds += 1
            for address in self._candidates():
                if stopped():
                    return
                try:
                    connection = open_connection(address, self._hello, options, stopped)
                except UsherError as error:
                    self._fail(address, error)
                except Exception as error:
                    # A name that is none, a CRC of the caller's that raises: no reason to stop searching.
                    failure = UsherError("internal", f"{address}: {error}", {"address": str(address)})
                    failure.__cause__ = error
                    self._fail(address, failure)
                else:
                    on_open(connection)
                    return

    def _fail(self, address: Address, error: UsherError) -> None:
        if not self._stopping.is_set():
            self._on_unreachable(str(address), error)

    def _candidates(self) -> List[Address]:
        configured = list(self._addresses)
        for i in range(len(configured) - 1, 0, -1):
            j = int(self._options.random() * (i + 1))
            configured[i], configured[j] = configured[j], configured[i]
        candidates = list(dict.fromkeys([*self._named, *configured]))
        last = [address for address in candidates if str(address) == self._lost]
        self._named = []
        self._lost = None
        return [address for address in candidates if address not in last] + last
