"""The producers' library for programs with threads: jobs in, one answer for each out."""

from __future__ import annotations

import queue
import threading
import time
from concurrent.futures import Future
from types import TracebackType
from typing import TYPE_CHECKING, Callable, Iterable, Optional, Sequence, Type, Union

from .answers import Accepted, BatchOwner, BatchResult, ConnectedTo, FutureOwner, OnAccepted, OnFailed
from .encoder import encode_fields
from .engine import Engine
from .errors import UsherError
from .first_connection import CONNECT_WITHIN_S, FirstConnection, too_late
from .ids import format_job_id
from .jobs import JobInput, NumberedJob
from .options import OptionArguments, Options
from .watching import Event, Stats

if TYPE_CHECKING:
    from typing_extensions import Unpack


def with_id(error: UsherError, producer: int, sequence: Optional[int]) -> UsherError:
    """The error with the job's id in its details, where the caller numbered the job."""
    if sequence is None or "id" in error.details:
        return error
    named = type(error)(error.code, error.message, {"id": format_job_id(producer, sequence), **error.details})
    named.__cause__ = error.__cause__
    return named


class Client:
    """Begins to connect at once, in a thread of its own, and goes on until close(). Any thread may use it.

    `addresses` are "host:port", "host", "[::1]:7433"; one, a list, or several separated by commas: all hosts of one store. What
    else it can be told is in Options. `on_event` is called in the client's thread and must return soon.
    """

    def __init__(
        self,
        addresses: Union[str, Sequence[str]],
        *,
        on_event: Optional[Callable[[Event], object]] = None,
        _on_first: Optional[Callable[[Optional[UsherError]], object]] = None,
        **options: Unpack[OptionArguments],
    ) -> None:
        self._engine = Engine(addresses, Options(**options), on_event)
        if _on_first is not None:
            self._engine.listeners.append(FirstConnection(self._engine.addresses, _on_first))
        self._singles = FutureOwner(self._engine.id_of)
        self._engine.start()

    @property
    def producer(self) -> int:
        return self._engine.producer

    @property
    def stats(self) -> Stats:
        return self._engine.stats

    @property
    def connected_to(self) -> Optional[ConnectedTo]:
        """The host that jobs go to now."""
        return self._engine.connected_to

    @property
    def last_error(self) -> Optional[UsherError]:
        """Why there is no connection, or why the last one ended."""
        return self._engine.last_error

    def id_of(self, sequence: int) -> str:
        return self._engine.id_of(sequence)

    def send(self, job: JobInput, *, sequence: Optional[int] = None, timeout_s: Optional[float] = None) -> Accepted:
        """One job. Returns when it is on stable storage. Raises RefusedError (not accepted), UnsentError (never sent) or
        InDoubtError (sent, no answer)."""
        return self.begin_send(job, sequence=sequence, timeout_s=timeout_s).result()

    def begin_send(
        self, job: JobInput, *, sequence: Optional[int] = None, timeout_s: Optional[float] = None
    ) -> "Future[Accepted]":
        """One job, without waiting for its answer: the future has what send() returns or raises. Waits for room where the client
        is full. Raises at once what is wrong with the job itself. The future can't be cancelled: timeout_s ends the waiting."""
        engine = self._engine
        timeout = engine.options.timeout_s if timeout_s is None else timeout_s
        end = time.monotonic() + timeout
        try:
            fields = encode_fields(job)
            self._make_room(end)
        except UsherError as error:
            raise with_id(error, self.producer, sequence) from error.__cause__
        future: "Future[Accepted]" = Future()
        future.set_running_or_notify_cancel()
        engine.add(self._singles, fields, sequence, end - time.monotonic(), future)
        return future

    def send_all(
        self,
        jobs: Iterable[Union[JobInput, NumberedJob]],
        *,
        timeout_s: Optional[float] = None,
        on_accepted: Optional[OnAccepted] = None,
        on_failed: Optional[OnFailed] = None,
    ) -> BatchResult:
        """Many jobs, or (sequence, job) pairs, taken from the iterable only as fast as there is room. Returns when each has its
        answer. Raises only what the iterable or a callback raises, and then too only when what was taken has its answer; an
        interruption (KeyboardInterrupt) ends the waiting. Callbacks are called in this thread: on_accepted(first sequence, jobs)
        for each run, on_failed(error) for each job that wasn't, and the result then lists none, so that memory stays constant.
        """
        owner = BatchOwner(on_accepted, on_failed)
        try:
            try:
                self._send_each(jobs, owner, timeout_s)
            except Exception:
                self._settle(owner)
                raise
            self._settle(owner)
        except BaseException as error:
            if not isinstance(error, Exception):
                self._engine.give_up(owner)
            raise
        return owner.result

    def _send_each(
        self, jobs: Iterable[Union[JobInput, NumberedJob]], owner: BatchOwner, timeout_s: Optional[float]
    ) -> None:
        engine = self._engine
        timeout = engine.options.timeout_s if timeout_s is None else timeout_s
        for item in jobs:
            sequence, job = item if type(item) is tuple else (None, item)
            try:
                fields = encode_fields(job)
                # The time of a job begins when there is room for it: the iterable is as long as it likes.
                if engine.full:
                    self._make_room(float("inf"))
                engine.add(owner, fields, sequence, timeout)
            except UsherError as error:
                owner.never_held(with_id(error, self.producer, sequence))
            if owner.has_news:
                owner.dispatch()

    def _settle(self, owner: BatchOwner) -> None:
        """Waits until each job has its answer. A callback that raises doesn't end the waiting; the first error is raised then."""
        failure: Optional[Exception] = None
        while True:
            owner.news.clear()
            try:
                owner.dispatch()
            except Exception as error:
                failure = failure or error
                continue
            if owner.settled:
                break
            owner.news.wait()
        if failure is not None:
            raise failure

    def _make_room(self, end: float) -> None:
        """`end` of time.monotonic()."""
        engine = self._engine
        while engine.full:
            if engine.options.when_full == "reject":
                raise engine.queue_full()
            left = end - time.monotonic()
            if left <= 0:
                raise engine.no_room()
            room = threading.Event()
            if engine.when_room(room.set):
                room.wait(None if left == float("inf") else min(left, threading.TIMEOUT_MAX))

    def drain(self) -> None:
        """Sends what lingers, and returns when nothing is held any more: each job has had its answer or its time."""
        empty = threading.Event()
        if self._engine.drain(empty.set):
            empty.wait()

    def close(self) -> None:
        """Takes no more jobs, waits for the answers of those it has, says GOODBYE."""
        self._engine.close()
        self._engine.join()

    def destroy(self) -> None:
        """At once: what was sent and not answered is in doubt, the rest is `closed`."""
        self._engine.destroy()
        self._engine.join()

    def __enter__(self) -> "Client":
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        # Whoever interrupts doesn't want to wait; an error of the caller's takes back no job.
        if error is None or isinstance(error, Exception):
            self.close()
        else:
            self.destroy()


def connect(
    addresses: Union[str, Sequence[str]],
    *,
    connect_within_s: float = CONNECT_WITHIN_S,
    on_event: Optional[Callable[[Event], object]] = None,
    **options: Unpack[OptionArguments],
) -> Client:
    """A client that is connected. Raises DisconnectedError when no host could be reached in time, or at once what every host
    said when each refused for good (another protocol, no common version)."""
    verdicts: "queue.SimpleQueue[Optional[UsherError]]" = queue.SimpleQueue()
    client = Client(addresses, on_event=on_event, _on_first=verdicts.put, **options)
    try:
        try:
            verdict = verdicts.get(timeout=connect_within_s)
        except queue.Empty:
            verdict = too_late(connect_within_s, client.last_error)
        if verdict is not None:
            raise verdict
    except BaseException:
        client.destroy()
        raise
    return client
