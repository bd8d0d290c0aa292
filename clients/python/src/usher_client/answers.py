"""Who waits for answers: the future of one job, or a batch. Owners are told under the client's mutex and only note it; deliver()
is called afterwards without it, and is where futures are set and threads are woken."""

from __future__ import annotations

import threading
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass, field
from typing import Any, Callable, Deque, Dict, List, NamedTuple, Optional, Tuple, Union
from collections import deque

from .errors import UsherError


class Accepted(NamedTuple):
    """A job that is on stable storage."""

    id: str
    #: Who acknowledged it.
    host: str
    instance: str


@dataclass(frozen=True)
class BatchResult:
    accepted: int
    #: Jobs that weren't, and those nobody knows of (in_doubt).
    failed: int
    #: One for each job of `failed`, with details["id"] where it has one; empty where the caller takes them by on_failed.
    failures: List[UsherError] = field(default_factory=list)


class ConnectedTo(NamedTuple):
    """The host that jobs go to."""

    address: str
    host: str
    instance: str


class Owner:
    """Each job that it expects is reported exactly once."""

    def expect(self, sequence: int, token: Any) -> None:
        """A job is held for it now."""
        raise NotImplementedError

    def accepted(self, first: int, jobs: int, by: ConnectedTo) -> None:
        raise NotImplementedError

    def failed(self, sequence: int, error: UsherError) -> None:
        raise NotImplementedError

    def deliver(self) -> None:
        """Something was reported. Called without the mutex, by any thread, several at once."""
        raise NotImplementedError


#: (first, jobs, by), or (sequence, error).
_Report = Union[Tuple[int, int, ConnectedTo], Tuple[int, UsherError]]


class FutureOwner(Owner):
    """The futures of jobs that were sent one by one."""

    def __init__(self, id_of: Callable[[int], str]) -> None:
        self._id_of = id_of
        self._futures: Dict[int, Any] = {}
        self._reports: Deque[_Report] = deque()

    def expect(self, sequence: int, token: Any) -> None:
        self._futures[sequence] = token

    def accepted(self, first: int, jobs: int, by: ConnectedTo) -> None:
        self._reports.append((first, jobs, by))

    def failed(self, sequence: int, error: UsherError) -> None:
        self._reports.append((sequence, error))

    def deliver(self) -> None:
        self._settle()

    def _settle(self) -> None:
        futures = self._futures
        while True:
            try:
                report = self._reports.popleft()
            except IndexError:
                return
            if len(report) == 2:
                sequence, error = report
                self._reject(futures.pop(sequence), error)
            else:
                first, jobs, by = report
                for sequence in range(first, first + jobs):
                    self._resolve(futures.pop(sequence), Accepted(self._id_of(sequence), by.host, by.instance))

    def _resolve(self, future: "Future[Accepted]", accepted: Accepted) -> None:
        try:
            future.set_result(accepted)
        except InvalidStateError:
            # Its owner cancelled it and hears nothing.
            pass

    def _reject(self, future: "Future[Accepted]", error: UsherError) -> None:
        try:
            future.set_exception(error)
        except InvalidStateError:
            pass


OnAccepted = Callable[[int, int], object]
OnFailed = Callable[[UsherError], object]


class BatchOwner(Owner):
    """The jobs of one batch. What happened is dispatched in the thread of whoever sends it."""

    def __init__(self, on_accepted: Optional[OnAccepted], on_failed: Optional[OnFailed]) -> None:
        self._on_accepted = on_accepted
        self._on_failed = on_failed
        self._reports: Deque[_Report] = deque()
        self._accepted = 0
        self._failed = 0
        self._failures: List[UsherError] = []
        self._expected = 0
        self._answered = 0
        self.news = threading.Event()

    def expect(self, sequence: int, token: Any) -> None:
        self._expected += 1

    def accepted(self, first: int, jobs: int, by: ConnectedTo) -> None:
        self._reports.append((first, jobs, by))

    def failed(self, sequence: int, error: UsherError) -> None:
        self._reports.append((sequence, error))

    def deliver(self) -> None:
        self.news.set()

    def never_held(self, error: UsherError) -> None:
        """A job that is no job, or came too late."""
        self._failed += 1
        if self._on_failed is None:
            self._failures.append(error)
        else:
            self._on_failed(error)

    def dispatch(self) -> None:
        """Counts what was reported, and tells it to whoever asked to be told."""
        while self._reports:
            report = self._reports.popleft()
            if len(report) == 2:
                self._answered += 1
                self.never_held(report[1])
            else:
                first, jobs, _ = report
                self._answered += jobs
                self._accepted += jobs
                if self._on_accepted is not None:
                    self._on_accepted(first, jobs)

    @property
    def has_news(self) -> bool:
        return len(self._reports) > 0

    @property
    def settled(self) -> bool:
        """Only whoever adds the jobs may ask: no more may come meanwhile."""
        return self._answered == self._expected

    @property
    def result(self) -> BatchResult:
        return BatchResult(self._accepted, self._failed, self._failures)
