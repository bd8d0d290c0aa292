"""The producers' library for programs with an event loop. The same engine as Client, in its own thread: a loop that is busy costs
the connection nothing, and answers come back to the loop in bunches."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import TYPE_CHECKING, Any, AsyncIterable, AsyncIterator, Callable, Iterable, Optional, Sequence, Type, Union

from .answers import Accepted, BatchOwner, BatchResult, ConnectedTo, FutureOwner, OnAccepted, OnFailed
from .client import with_id
from .encoder import encode_fields
from .engine import Engine
from .errors import UsherError
from .first_connection import CONNECT_WITHIN_S, FirstConnection, too_late
from .jobs import JobInput, NumberedJob
from .options import OptionArguments, Options
from .watching import Event, Stats

if TYPE_CHECKING:
    from typing_extensions import Unpack

#: After so many jobs of an iterable that never waits, others of the loop have their turn.
_TURN_JOBS = 128


def _in_loop(loop: asyncio.AbstractEventLoop, callback: Callable[..., object], *args: Any) -> None:
    try:
        loop.call_soon_threadsafe(callback, *args)
    except RuntimeError:
        # The loop is closed: nobody waits any more.
        pass


class _LoopFutures(FutureOwner):
    def __init__(self, id_of: Callable[[int], str], loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(id_of)
        self._loop = loop

    def deliver(self) -> None:
        _in_loop(self._loop, self._settle)

    def _resolve(self, future: Any, accepted: Accepted) -> None:
        if not future.done():
            future.set_result(accepted)

    def _reject(self, future: Any, error: UsherError) -> None:
        if not future.done():
            future.set_exception(error)


class _LoopBatch(BatchOwner):
    def __init__(
        self, loop: asyncio.AbstractEventLoop, on_accepted: Optional[OnAccepted], on_failed: Optional[OnFailed]
    ) -> None:
        super().__init__(on_accepted, on_failed)
        self._loop = loop
        self.woken = asyncio.Event()

    def deliver(self) -> None:
        _in_loop(self._loop, self.woken.set)


class AsyncClient:
    """As Client, for the event loop in which it is made. Begins to connect at once, and goes on until close()."""

    def __init__(
        self,
        addresses: Union[str, Sequence[str]],
        *,
        on_event: Optional[Callable[[Event], object]] = None,
        _on_first: Optional[Callable[[Optional[UsherError]], object]] = None,
        **options: Unpack[OptionArguments],
    ) -> None:
        loop = asyncio.get_running_loop()
        self._loop = loop
        self._engine = Engine(addresses, Options(**options))
        if on_event is not None:
            listener = on_event
            self._engine.listeners.append(lambda event: _in_loop(loop, listener, event))
        if _on_first is not None:
            say = _on_first
            self._engine.listeners.append(
                FirstConnection(self._engine.addresses, lambda verdict: _in_loop(loop, say, verdict))
            )
        self._singles = _LoopFutures(self._engine.id_of, loop)
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

    async def send(self, job: JobInput, *, sequence: Optional[int] = None, timeout_s: Optional[float] = None) -> Accepted:
        """One job. Returns when it is on stable storage. Raises RefusedError (not accepted), UnsentError (never sent) or
        InDoubtError (sent, no answer). Cancelling it ends the waiting: a job that was sent already is in doubt then."""
        engine, loop = self._engine, self._loop
        end = loop.time() + (engine.options.timeout_s if timeout_s is None else timeout_s)
        try:
            fields = encode_fields(job)
            if engine.full:
                await self._make_room(end)
        except UsherError as error:
            raise with_id(error, self.producer, sequence) from error.__cause__
        future: "asyncio.Future[Accepted]" = loop.create_future()
        minted = engine.add(self._singles, fields, sequence, end - loop.time(), future)
        try:
            return await future
        except asyncio.CancelledError:
            engine.give_up(self._singles, minted)
            raise

    async def send_all(
        self,
        jobs: Union[Iterable[Union[JobInput, NumberedJob]], AsyncIterable[Union[JobInput, NumberedJob]]],
        *,
        timeout_s: Optional[float] = None,
        on_accepted: Optional[OnAccepted] = None,
        on_failed: Optional[OnFailed] = None,
    ) -> BatchResult:
        """Many jobs, or (sequence, job) pairs, from a plain or an asynchronous iterable, taken only as fast as there is room.
        Returns when each has its answer. Raises only what the iterable or a callback raises, and then too only when what was
        taken has its answer; cancelling ends the waiting. Callbacks are as Client.send_all has them."""
        owner = _LoopBatch(self._loop, on_accepted, on_failed)
        try:
            try:
                await self._send_each(jobs, owner, timeout_s)
            except Exception:
                await self._settle(owner)
                raise
            await self._settle(owner)
        except BaseException as error:
            if not isinstance(error, Exception):
                self._engine.give_up(owner)
            raise
        return owner.result

    async def _send_each(self, jobs: Any, owner: _LoopBatch, timeout_s: Optional[float]) -> None:
        engine = self._engine
        timeout = engine.options.timeout_s if timeout_s is None else timeout_s
        async for item in jobs if isinstance(jobs, AsyncIterable) else _in_turns(jobs):
            sequence, job = item if type(item) is tuple else (None, item)
            try:
                fields = encode_fields(job)
                # The time of a job begins when there is room for it: the iterable is as long as it likes.
                if engine.full:
                    await self._make_room(float("inf"))
                engine.add(owner, fields, sequence, timeout)
            except UsherError as error:
                owner.never_held(with_id(error, self.producer, sequence))
            if owner.has_news:
                owner.dispatch()

    async def _settle(self, owner: _LoopBatch) -> None:
        failure: Optional[Exception] = None
        while True:
            owner.woken.clear()
            try:
                owner.dispatch()
            except Exception as error:
                failure = failure or error
                continue
            if owner.settled:
                break
            await owner.woken.wait()
        if failure is not None:
            raise failure

    async def _make_room(self, end: float) -> None:
        """`end` of the loop's time."""
        engine, loop = self._engine, self._loop
        while engine.full:
            if engine.options.when_full == "reject":
                raise engine.queue_full()
            left = end - loop.time()
            if left <= 0:
                raise engine.no_room()
            room = asyncio.Event()
            if engine.when_room(lambda event=room: _in_loop(loop, event.set)):  # type: ignore[misc]
                try:
                    await asyncio.wait_for(room.wait(), None if left == float("inf") else left)
                except asyncio.TimeoutError:
                    # The next look says so.
                    continue

    async def drain(self) -> None:
        """Sends what lingers, and returns when nothing is held any more: each job has had its answer or its time."""
        empty = asyncio.Event()
        if self._engine.drain(lambda: _in_loop(self._loop, empty.set)):
            await empty.wait()

    async def close(self) -> None:
        """Takes no more jobs, waits for the answers of those it has, says GOODBYE."""
        await self._ended(self._engine.close)

    async def destroy(self) -> None:
        """At once: what was sent and not answered is in doubt, the rest is `closed`."""
        await self._ended(self._engine.destroy)

    async def _ended(self, end: Callable[[Callable[[], object]], None]) -> None:
        over = asyncio.Event()
        end(lambda: _in_loop(self._loop, over.set))
        await over.wait()

    async def __aenter__(self) -> "AsyncClient":
        return self

    async def __aexit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        # Whoever interrupts doesn't want to wait; an error of the caller's takes back no job.
        if error is None or isinstance(error, Exception):
            await self.close()
        else:
            await self.destroy()


async def _in_turns(jobs: Iterable[Any]) -> AsyncIterator[Any]:
    left = _TURN_JOBS
    for job in jobs:
        yield job
        left -= 1
        if left == 0:
            left = _TURN_JOBS
            await asyncio.sleep(0)


async def connect_async(
    addresses: Union[str, Sequence[str]],
    *,
    connect_within_s: float = CONNECT_WITHIN_S,
    on_event: Optional[Callable[[Event], object]] = None,
    **options: Unpack[OptionArguments],
) -> AsyncClient:
    """An AsyncClient that is connected. Raises as connect() does."""
    first: "asyncio.Future[Optional[UsherError]]" = asyncio.get_running_loop().create_future()

    def say(verdict: Optional[UsherError]) -> None:
        if not first.done():
            first.set_result(verdict)

    client = AsyncClient(addresses, on_event=on_event, _on_first=say, **options)
    try:
        try:
            verdict = await asyncio.wait_for(first, connect_within_s)
        except asyncio.TimeoutError:
            verdict = too_late(connect_within_s, client.last_error)
        if verdict is not None:
            raise verdict
    except BaseException:
        await asyncio.shield(client.destroy())
        raise
    return client
