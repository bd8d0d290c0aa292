"""The client's own thread, and everything that it shares with the threads of the callers. It keeps every job until a host has
said that it is on stable storage, or until the caller's time for it is over, and sends it again with the same id whenever that
isn't known. It must never mint a second id for a job, nor call one accepted that wasn't acknowledged.

A thread, because a producer that is busy elsewhere must still ping, resend and hear its answers. One mutex guards what is
shared: the outbox, the counts, what is asked of the thread. The socket is the thread's alone. No code of the caller's runs under
the mutex: owners note what they are told, and are asked to deliver it afterwards."""

from __future__ import annotations

import logging
import math
import selectors
import socket
import threading
import time
from collections import deque
from dataclasses import replace
from typing import Any, Callable, Deque, List, Optional, Sequence

from .answers import ConnectedTo, Owner
from .connection import Connection, lost, remote_error
from .dialer import Dialer
from .errors import UnsentError, UsherError, code_of_wire
from .frames import (
    HEADER_BYTES, Ack, Credit, Error, Frame, Goodbye, Hello, Ping, Pong, Refused, RefusedJob,
    decode_message, encode_jobs_frame,
)  # fmt: skip
from .ids import U64_MAX, format_job_id, producer_of_name, random_producer
from .options import Options, full_jitter_s, parse_addresses
from .outbox import FLYING, Outbox, Run
from .verdicts import final_refusal, given_up, refusal_error, too_large_error
from .watching import Event, Stats

log = logging.getLogger("usher_client")

#: How long a closing client waits for a host to answer GOODBYE.
_GOODBYE_S = 1.0
#: Times that are over are looked for at most this often.
_DEADLINES_EVERY_S = 0.01


class Engine:
    def __init__(
        self, addresses: "str | Sequence[str]", options: Options, on_event: Optional[Callable[[Event], object]] = None
    ) -> None:
        self.options = options
        known = options.client_id is not None or options.producer is not None
        if options.producer is not None:
            self.producer = options.producer
        else:
            self.producer = random_producer() if options.client_id is None else producer_of_name(options.client_id)
        self._next_sequence = options.first_sequence if known or options.first_sequence is not None else 1
        parsed = parse_addresses(addresses)
        self.addresses = len(parsed)
        self._mutex = threading.Lock()
        self._outbox = Outbox(options.batch_bytes, options.batch_jobs, self._too_large)
        self._stats = Stats()
        self._dialer = Dialer(parsed, Hello(self.producer, 0, options.shown_name), options, self._unreachable)
        self._connection: Optional[Connection] = None
        self._dialled: Optional[Connection] = None
        self._connected_to: Optional[ConnectedTo] = None
        self._last_error: Optional[UsherError] = None
        #: When what lingers goes.
        self._linger_until = math.inf
        #: What is queued goes without lingering.
        self._due = False
        #: Who waits for everything to be answered: nothing lingers meanwhile.
        self._draining = 0
        #: The pause after refusals that pass with time, and how many there were since a host last accepted something.
        self._pause_until: Optional[float] = None
        self._pauses = 0
        self._deadline = math.inf
        self._closing = False
        self._destroyed = False
        self._goodbye_until = math.inf
        self.ended = threading.Event()
        self._room: List[Callable[[], object]] = []
        self._empty: List[Callable[[], object]] = []
        self._at_end: List[Callable[[], object]] = []
        self._events: Deque[Event] = deque()
        self.listeners: List[Callable[[Event], object]] = [] if on_event is None else [on_event]
        # A byte wakes the thread. It is woken once, however many ask.
        self._woken = False
        self._wakes_at = math.inf
        self._wake_reader, self._wake_writer = socket.socketpair()
        self._wake_reader.setblocking(False)
        self._wake_writer.setblocking(False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._wake_reader, selectors.EVENT_READ)
        self._interest = 0
        self._thread = threading.Thread(target=self._run, name="usher-client", daemon=True)

    def start(self) -> None:
        self._dialer.dial(self._opened)
        self._thread.start()

    # What callers ask for, from any thread.

    def id_of(self, sequence: int) -> str:
        return format_job_id(self.producer, sequence)

    @property
    def stats(self) -> Stats:
        with self._mutex:
            connection = self._connection
            credit = 0 if connection is None else connection.credit
            return replace(self._stats, held_jobs=self._outbox.held_jobs, held_bytes=self._outbox.held_bytes, credit=credit)

    @property
    def connected_to(self) -> Optional[ConnectedTo]:
        return self._connected_to

    @property
    def last_error(self) -> Optional[UsherError]:
        """Why there is no connection, or why the last one ended."""
        return self._last_error

    @property
    def is_own_thread(self) -> bool:
        return threading.current_thread() is self._thread

    def add(self, owner: Owner, fields: bytes, given: Optional[int], timeout_s: float, token: Any = None) -> int:
        """Holds a job, and returns its sequence."""
        now = time.monotonic()
        deadline = now + timeout_s
        with self._mutex:
            if self._closing:
                raise UnsentError("closed", "the client was closed", {} if given is None else {"id": self.id_of(given)})
            outbox = self._outbox
            sequence = self._next_sequence if given is None else given
            if sequence is None:
                raise UsherError("usage", "a producer with a name gives each job its sequence, or sets first_sequence")
            if not 0 <= sequence <= U64_MAX:
                raise UsherError("usage", f"sequences are integers from 0 to 2^64-1, not {sequence}")
            if outbox.find(sequence) is not None:
                job_id = self.id_of(sequence)
                raise UsherError("usage", f"job {job_id} is being sent already", {"id": job_id})
            if given is None:
                self._next_sequence = sequence + 1
            jobs_before, bytes_before = outbox.queued_jobs, outbox.queued_bytes
            owner.expect(sequence, token)
            outbox.add(owner, sequence, fields, deadline, now)
            self._deadline = min(self._deadline, deadline)
            wake = self._deadline < self._wakes_at
            if self.options.linger_s == 0 or self._draining > 0:
                self._due = True
                wake = wake or jobs_before == 0
            else:
                batch_jobs, batch_bytes = self.options.batch_jobs, self.options.batch_bytes
                if self._linger_until == math.inf:
                    self._linger_until = now + self.options.linger_s
                    wake = True
                wake = wake or jobs_before < batch_jobs <= outbox.queued_jobs or bytes_before < batch_bytes <= outbox.queued_bytes
            if wake:
                self._wake()
        return sequence

    @property
    def full(self) -> bool:
        outbox, options = self._outbox, self.options
        held = outbox.held_jobs >= options.held_jobs_max or outbox.held_bytes >= options.held_bytes_max
        return held and not self._closing

    def queue_full(self) -> UnsentError:
        jobs, held = self._outbox.held_jobs, self._outbox.held_bytes
        return UnsentError("queue_full", f"{jobs} jobs ({held} bytes) are held already", {"held_jobs": jobs, "held_bytes": held})

    def no_room(self) -> UnsentError:
        error = UnsentError("timed_out", "no room in time; the job was not sent")
        error.__cause__ = self._last_error
        return error

    def when_room(self, callback: Callable[[], object]) -> bool:
        """Calls back once, as soon as it is worth looking whether there is room. False, and never, where there is some."""
        with self._mutex:
            if not self.full:
                return False
            self._room.append(callback)
            return True

    def drain(self, callback: Callable[[], object]) -> bool:
        """Sends what lingers, and calls back once when nothing is held any more. False, and never, where nothing is."""
        with self._mutex:
            if self._outbox.held_jobs == 0:
                return False
            self._draining += 1
            self._empty.append(callback)
            self._wake()
            return True

    def give_up(self, owner: Owner, sequence: Optional[int] = None) -> None:
        """The caller doesn't wait any longer: for one job of the owner's, or for all."""
        with self._mutex:
            if sequence is None:
                for run in self._outbox.runs():
                    if run.owner is owner:
                        self._give_up(run, "aborted")
            else:
                run_of = self._outbox.find(sequence)
                if run_of is not None and run_of.owner is owner:
                    self._outbox.fail(run_of, sequence, self._verdict(run_of, sequence, "aborted"))
            self._wake()
        self._deliver()

    def close(self, at_end: Optional[Callable[[], object]] = None) -> None:
        """Takes no more jobs, and ends when those it has are answered. Returns at once."""
        self._end(False, at_end)

    def destroy(self, at_end: Optional[Callable[[], object]] = None) -> None:
        """Ends at once: what was sent and not answered is in doubt. Returns before it has ended."""
        self._end(True, at_end)

    def _end(self, at_once: bool, at_end: Optional[Callable[[], object]]) -> None:
        with self._mutex:
            self._closing = True
            self._destroyed = self._destroyed or at_once
            over = self.ended.is_set()
            if at_end is not None and not over:
                self._at_end.append(at_end)
            if not over:
                self._wake()
        if over and at_end is not None:
            at_end()

    def join(self) -> None:
        """Returns when it has ended, and each job has been reported."""
        if not self.is_own_thread:
            self._thread.join()

    def _wake(self) -> None:
        if self._woken:
            return
        self._woken = True
        try:
            self._wake_writer.send(b".")
        except OSError:
            # Full: the thread has enough to wake from. Closed: it has ended.
            pass

    # What dialers report, in their threads.

    def _opened(self, connection: Connection) -> None:
        with self._mutex:
            if not self.ended.is_set():
                self._dialled = connection
                self._wake()
                return
        connection.close()

    def _unreachable(self, address: str, error: UsherError) -> None:
        with self._mutex:
            self._last_error = error
            self._events.append(Event("unreachable", address, error))
            self._wake()

    # The thread.

    def _run(self) -> None:
        try:
            while self._step():
                pass
        except BaseException:
            # A broken invariant. Nobody may wait for ever for a thread that is no more.
            log.critical("the client's thread ended by an error; what it held is given up", exc_info=True)
        finally:
            self._finish()

    def _step(self) -> bool:
        """One turn: what is due, then what is there to be read. False when the client has ended."""
        with self._mutex:
            self._woken = False
            now = time.monotonic()
            if self._destroyed:
                return False
            self._adopt()
            self._look_at_times(now)
            self._flush()
            if self._closing and self._outbox.held_jobs == 0 and not self._part(now):
                return False
            self._leave_when_answered()
            self._wakes_at = self._next_look()
        self._deliver()
        self._write()
        timeout_s = None if self._wakes_at == math.inf else max(0.0, self._wakes_at - time.monotonic())
        for key, mask in self._selector.select(timeout_s):
            if key.fileobj is self._wake_reader:
                self._swallow_wakes()
            elif key.fileobj is self._connection and mask & selectors.EVENT_READ:
                self._read()
        return True

    def _swallow_wakes(self) -> None:
        try:
            while len(self._wake_reader.recv(4096)) == 4096:
                pass
        except BlockingIOError:
            pass

    def _finish(self) -> None:
        with self._mutex:
            self._closing = True
            self._dialer.stop()
            for run in self._outbox.runs():
                self._give_up(run, "closed")
            connection, self._connection = self._connection, None
            dialled, self._dialled = self._dialled, None
            if connection is not None:
                self._events.append(Event("disconnected", connection.address, UsherError("closed", "the client was closed")))
            self._connected_to = None
            self.ended.set()
            at_end, self._at_end = self._at_end, []
        for each in (connection, dialled):
            if each is not None:
                each.close()
        self._selector.close()
        self._wake_reader.close()
        self._wake_writer.close()
        self._deliver()
        for callback in at_end:
            self._call(callback)

    def _call(self, callback: Callable[..., object], *args: Any) -> None:
        try:
            callback(*args)
        except Exception:
            # It is the caller's, and the client goes on without it.
            log.exception("a callback failed")

    def _deliver(self) -> None:
        """Tells owners and callers what has happened, without the mutex."""
        with self._mutex:
            told, self._outbox.told = self._outbox.told, {}
            callbacks: List[Callable[[], object]] = []
            if self._room and not self.full:
                callbacks, self._room = self._room, []
            if self._empty and self._outbox.held_jobs == 0:
                callbacks += self._empty
                self._draining -= len(self._empty)
                self._empty = []
            events = list(self._events)
            self._events.clear()
        for owner in told:
            self._call(owner.deliver)
        for callback in callbacks:
            self._call(callback)
        for event in events:
            for listener in list(self.listeners):
                self._call(listener, event)

    # Time.

    def _look_at_times(self, now: float) -> None:
        if now >= self._deadline:
            self._deadline = math.inf
            for run in self._outbox.runs():
                if run.deadline <= now:
                    self._give_up(run, "timed_out")
                else:
                    self._deadline = min(self._deadline, max(run.deadline, now + _DEADLINES_EVERY_S))
        if now >= self._linger_until:
            self._linger_until = math.inf
            self._due = True
        if self._pause_until is not None and now >= self._pause_until:
            self._pause_until = None
            self._outbox.resume()
            self._due = True
        connection = self._connection
        if connection is not None and now >= connection.check_at:
            try:
                connection.check(now, self._outbox.flying_runs > 0)
            except UsherError as error:
                self._lose(connection, error)

    def _next_look(self) -> float:
        at = min(self._deadline, self._linger_until, self._goodbye_until)
        if self._pause_until is not None:
            at = min(at, self._pause_until)
        if self._connection is not None:
            at = min(at, self._connection.check_at)
        return at

    def _verdict(self, run: Run, sequence: int, why: str) -> UsherError:
        sent = run.doubt or run.state is FLYING
        error = given_up(self.id_of(sequence), why, sent, run.refusal, self._last_error)
        if error.code == "in_doubt":
            self._stats.in_doubt_jobs += 1
        return error

    def _give_up(self, run: Run, why: str) -> None:
        self._outbox.fail_all(run, lambda sequence: self._verdict(run, sequence, why))

    # Jobs out. With the mutex.

    def _too_large(self, run: Run, frame_bytes_max: int) -> None:
        self._stats.refused_jobs += 1
        error = too_large_error(self.id_of(run.first), run.bytes_held, frame_bytes_max)
        self._outbox.fail(run, run.first, error)

    def _flush(self) -> None:
        connection, outbox, options = self._connection, self._outbox, self.options
        if connection is None or connection.leaving or self._pause_until is not None:
            return
        frame_bytes_max = connection.welcome.frame_bytes_max
        while outbox.queued_jobs > 0:
            everything = self._due or self._draining > 0 or self._closing
            if not everything and outbox.queued_bytes < options.batch_bytes and outbox.queued_jobs < options.batch_jobs:
                break
            credit = connection.credit - HEADER_BYTES
            jobs = outbox.take_frame(
                options.batch_bytes, options.batch_jobs, frame_bytes_max, connection.frame_jobs_max, credit
            )
            if not jobs:
                break
            frame = encode_jobs_frame(jobs, sum(map(len, jobs)), options.crc32c)
            connection.credit -= len(frame)
            connection.send(frame)
            self._stats.sent_jobs += len(jobs)
            self._stats.sent_bytes += len(frame)
        if outbox.queued_jobs == 0:
            self._due = False
            self._linger_until = math.inf

    # The connection.

    def _adopt(self) -> None:
        connection, self._dialled = self._dialled, None
        if connection is None:
            return
        self._connection = connection
        self._interest = selectors.EVENT_READ
        self._selector.register(connection, self._interest)
        self._stats.connections += 1
        welcome = connection.welcome
        self._connected_to = ConnectedTo(connection.address, welcome.host, welcome.instance)
        self._events.append(Event("connected", connection.address, None, welcome.host, welcome.instance))
        self._due = True
        self._take(connection, connection.early)

    def _write(self) -> None:
        connection = self._connection
        if connection is None:
            return
        try:
            connection.write()
        except OSError as error:
            # What the host said before is still to be read: an ERROR that names the reason, or answers.
            self._read_rest(connection)
            with self._mutex:
                self._lose(connection, lost(connection.address, str(error)))
            return
        interest = selectors.EVENT_READ | (selectors.EVENT_WRITE if connection.wants_to_write else 0)
        if interest != self._interest:
            self._interest = interest
            self._selector.modify(connection, interest)

    def _read(self) -> None:
        connection = self._connection
        if connection is None:
            return
        frames, error = connection.read()
        with self._mutex:
            self._take(connection, frames)
            if error is not None:
                self._lose(connection, error)

    def _read_rest(self, connection: Connection) -> None:
        for _ in range(16):
            if self._connection is connection:
                self._read()

    def _take(self, connection: Connection, frames: Sequence[Frame]) -> None:
        try:
            for frame in frames:
                if self._connection is not connection:
                    return
                self._received(connection, frame)
        except UsherError as error:
            # The stream can't be trusted any more; what is known of the jobs on it stays as it is.
            details = {"address": connection.address}
            self._lose(connection, UsherError(error.code, f"{connection.address}: {error}", details))

    def _received(self, connection: Connection, frame: Frame) -> None:
        message = decode_message(frame)
        if isinstance(message, Ack):
            by = self._connected_to or ConnectedTo(connection.address, "", "")
            for first, jobs in message.ranges:
                self._stats.accepted_jobs += self._outbox.acknowledge(first, jobs, by)
            self._dialer.productive()
            self._pauses = 0
        elif isinstance(message, Credit):
            connection.credit += message.bytes_granted
        elif isinstance(message, Refused):
            for job in message.jobs:
                self._refused(connection, job)
            self._pause_for_delayed(connection)
        elif isinstance(message, Ping):
            connection.send_message(Pong(message.token))
        elif isinstance(message, Pong):
            connection.pong(message.token)
        elif isinstance(message, Goodbye):
            connection.leaving = True
            self._dialer.left(connection.address, message.addresses)
            self._events.append(
                Event("goodbye", connection.address, addresses=tuple(message.addresses), reason=message.reason)
            )
        elif isinstance(message, Error):
            self._lose(connection, remote_error(connection.address, message))
        else:
            raise UsherError("frame_unexpected", f"a frame of type {frame.kind} is not for a producer")

    def _refused(self, connection: Connection, job: RefusedJob) -> None:
        run = self._outbox.find(job.sequence)
        if run is None or run.state is not FLYING:
            return
        error = refusal_error(self.id_of(job.sequence), connection.welcome.host, job)
        if self.options.retry and error.retryable:
            self._stats.retried_jobs += 1
            if code_of_wire(job.wire) in ("draining", "retired"):
                connection.leaving = True
            self._outbox.delay(run, job.sequence, error)
            return
        self._dialer.productive()
        final = final_refusal(self.id_of(job.sequence), error, run.doubt)
        if final.code == "in_doubt":
            self._stats.in_doubt_jobs += 1
        else:
            self._stats.refused_jobs += 1
        self._outbox.fail(run, job.sequence, final)

    def _pause_for_delayed(self, connection: Connection) -> None:
        """Refusals that pass with time hold back everything: whatever made a store refuse one job makes it refuse the next."""
        if self._pause_until is not None or self._outbox.delayed_runs == 0:
            return
        options = self.options
        wait_s = 0.0
        if not connection.leaving:
            wait_s = full_jitter_s(self._pauses, options.backoff_base_s, options.backoff_most_s, options.random)
            self._pauses += 1
        self._pause_until = time.monotonic() + wait_s

    def _leave_when_answered(self) -> None:
        """A host that takes no more jobs is left as soon as it has answered those it has."""
        connection = self._connection
        if connection is None or not connection.leaving or connection.said_goodbye or self._outbox.flying_runs > 0:
            return
        where = connection.address
        self._lose(connection, UsherError("draining", f"{where} takes no more jobs", {"address": where}))

    def _part(self, now: float) -> bool:
        """Nothing is held, and nothing will come: says GOODBYE. False when there is nobody to wait for any more."""
        connection = self._connection
        if connection is None or now >= self._goodbye_until:
            return False
        if not connection.said_goodbye:
            if connection.leaving:
                return False
            connection.goodbye()
            self._goodbye_until = now + _GOODBYE_S
        return True

    def _lose(self, connection: Connection, error: UsherError) -> None:
        if self._connection is not connection:
            return
        self._connection = None
        self._connected_to = None
        self._last_error = error
        self._selector.unregister(connection)
        connection.close()
        self._stats.resent_jobs += self._outbox.ground()
        self._due = True
        self._events.append(Event("disconnected", connection.address, error))
        self._dialer.lost(connection.address)
        if not (self._closing and self._outbox.held_jobs == 0):
            self._dialer.dial(self._opened)
