"""Every job that is held, in the order in which it will be sent, and who it belongs to. Pure bookkeeping: no timers, no
sockets, no mutex of its own. It must never forget a job without reporting it to its owner.

Jobs are kept in runs: consecutive sequences of one owner that came close upon one another. Runs are disjoint, and no job of
a run has its answer: what is answered is cut out of it."""

from __future__ import annotations

import struct
from bisect import bisect_left, bisect_right
from collections import deque
from typing import Callable, Deque, Dict, Iterable, List, Optional

from .answers import ConnectedTo, Owner
from .errors import UsherError

#: queued: will be in a frame to come. flying: in a frame on the present connection. delayed: refused, and to be queued again
#: when the pause is over. settled: cut into others, answered or given up.
QUEUED, FLYING, DELAYED, SETTLED = "queued", "flying", "delayed", "settled"

#: A run takes jobs only for so long, so that their times end together.
_OPEN_S = 0.01
_HEAD = struct.Struct("<IQ")


class Run:
    __slots__ = ("bytes_held", "deadline", "doubt", "first", "jobs", "open_until", "owner", "refusal", "state")

    def __init__(self, owner: Owner, first: int, jobs: List[bytes], deadline: float, open_until: float) -> None:
        self.owner = owner
        self.first = first
        #: As they stand in a JOBS payload. They never change, so that every attempt is the same.
        self.jobs = jobs
        self.bytes_held = sum(map(len, jobs))
        #: Of time.monotonic().
        self.deadline = deadline
        self.open_until = open_until
        self.state = QUEUED
        #: It was flying when a connection was lost: a host may have accepted it.
        self.doubt = False
        #: The last refusal for a reason that passes.
        self.refusal: Optional[UsherError] = None

    @property
    def end(self) -> int:
        return self.first + len(self.jobs)


class Outbox:
    def __init__(self, run_bytes_max: int, run_jobs_max: int, on_too_large: Callable[[Run, int], None]) -> None:
        self._run_bytes_max = run_bytes_max
        self._run_jobs_max = run_jobs_max
        #: For a run of one job that no frame can take: must fail it.
        self._on_too_large = on_too_large
        self.held_jobs = 0
        self.held_bytes = 0
        self.queued_jobs = 0
        self.queued_bytes = 0
        #: In the order of sending; settled ones are skipped when met.
        self._queue: Deque[Run] = deque()
        self._flying: Dict[Run, None] = {}
        self._delayed: List[Run] = []
        #: First sequences, ascending, and their runs.
        self._firsts: List[int] = []
        self._runs: Dict[int, Run] = {}
        #: Owners to whom something was reported.
        self.told: Dict[Owner, None] = {}

    @property
    def flying_runs(self) -> int:
        return len(self._flying)

    @property
    def delayed_runs(self) -> int:
        return len(self._delayed)

    def runs(self) -> List[Run]:
        return list(self._runs.values())

    def find(self, sequence: int) -> Optional[Run]:
        """The run with this job, if it is held."""
        index = bisect_right(self._firsts, sequence) - 1
        if index < 0:
            return None
        run = self._runs[self._firsts[index]]
        return run if sequence < run.first + len(run.jobs) else None

    def add(self, owner: Owner, sequence: int, fields: bytes, deadline: float, now: float) -> None:
        """The caller has made sure that the job is not held."""
        job = _HEAD.pack(len(fields) + 8, sequence) + fields
        size = len(job)
        last = self._queue[-1] if self._queue else None
        if (
            last is not None
            and last.owner is owner
            and last.open_until >= now
            and last.first + len(last.jobs) == sequence
            and last.state is QUEUED
            and last.bytes_held + size <= self._run_bytes_max
            and len(last.jobs) < self._run_jobs_max
            and (last.deadline == deadline or abs(last.deadline - deadline) <= _OPEN_S)
        ):
            last.jobs.append(job)
            last.bytes_held += size
            last.deadline = max(last.deadline, deadline)
            self.held_jobs += 1
            self.held_bytes += size
            self.queued_jobs += 1
            self.queued_bytes += size
        else:
            run = Run(owner, sequence, [job], deadline, now + _OPEN_S)
            self._index(run)
            self._enqueue(run)

    def take_frame(
        self, batch_bytes: int, batch_jobs: int, frame_bytes_max: int, frame_jobs_max: int, credit: int
    ) -> List[bytes]:
        """The jobs of the next frame, for which there are `credit` bytes without its header; none while there is nothing to
        send or not enough credit."""
        jobs: List[bytes] = []
        size = 0
        bytes_aim = min(batch_bytes, frame_bytes_max)
        jobs_aim = min(batch_jobs, frame_jobs_max)
        while self._queue:
            run = self._queue[0]
            if run.state is not QUEUED:
                self._queue.popleft()
                continue
            if run.bytes_held > frame_bytes_max or len(run.jobs) > frame_jobs_max:
                self._cut_down(run, frame_bytes_max, frame_jobs_max)
                continue
            if jobs and (size + run.bytes_held > bytes_aim or len(jobs) + len(run.jobs) > jobs_aim):
                break
            if size + run.bytes_held > credit:
                break
            self._queue.popleft()
            self.queued_jobs -= len(run.jobs)
            self.queued_bytes -= run.bytes_held
            run.state = FLYING
            self._flying[run] = None
            jobs.extend(run.jobs)
            size += run.bytes_held
        return jobs

    def acknowledge(self, first: int, count: int, by: ConnectedTo) -> int:
        """Jobs that the present connection acknowledged. Returns how many of them were waited for."""
        accepted = 0
        end = first + count
        while first < end:
            index = bisect_right(self._firsts, first) - 1
            run = self._runs[self._firsts[index]] if index >= 0 else None
            if run is None or run.end <= first:
                if index + 1 >= len(self._firsts):
                    break
                first = self._firsts[index + 1]
                continue
            until = min(end, run.end)
            if run.state is FLYING:
                owner = run.owner
                self._cut_out(run, first, until)
                owner.accepted(first, until - first, by)
                self.told[owner] = None
                accepted += until - first
            first = until
        return accepted

    def fail(self, run: Run, sequence: int, error: UsherError) -> None:
        """Refused for good, or given up: reported to the owner, and never sent again."""
        self._cut_out(run, sequence, sequence + 1)
        run.owner.failed(sequence, error)
        self.told[run.owner] = None

    def fail_all(self, run: Run, error_of: Callable[[int], UsherError]) -> None:
        # What is said of a job depends on where it was: asked before it is cut out.
        errors = [error_of(sequence) for sequence in range(run.first, run.end)]
        self._cut_out(run, run.first, run.end)
        for sequence, error in enumerate(errors, run.first):
            run.owner.failed(sequence, error)
        self.told[run.owner] = None

    def delay(self, run: Run, sequence: int, refusal: UsherError) -> None:
        """Refused for now: waits for resume()."""
        at = sequence - run.first
        single = self._part(run, at, at + 1)
        self._cut_out(run, sequence, sequence + 1)
        single.refusal = refusal
        single.state = DELAYED
        self._index(single)
        self._delayed.append(single)

    def resume(self) -> None:
        """What was delayed is queued again, before what has never been sent."""
        waiting = [run for run in self._delayed if run.state is DELAYED]
        self._delayed = []
        self._enqueue_first(waiting)

    def ground(self) -> int:
        """The connection is gone: what was flying is in doubt and will be sent again, first. Returns how many jobs that are."""
        again = list(self._flying)
        self._flying.clear()
        for run in again:
            run.doubt = True
        self._enqueue_first(again)
        return sum(len(run.jobs) for run in again)

    def _part(self, run: Run, start: int, end: int) -> Run:
        part = Run(run.owner, run.first + start, run.jobs[start:end], run.deadline, 0.0)
        part.doubt = run.doubt
        part.refusal = run.refusal
        part.state = run.state
        return part

    def _cut_out(self, run: Run, first: int, end: int) -> None:
        """Forgets these jobs of it. What is left before and after them goes on as runs of their own."""
        state = run.state
        rest = [
            self._part(run, start, stop)
            for start, stop in ((0, first - run.first), (end - run.first, len(run.jobs)))
            if start < stop
        ]
        self._unindex(run)
        if state is FLYING:
            del self._flying[run]
        elif state is QUEUED:
            self.queued_jobs -= len(run.jobs)
            self.queued_bytes -= run.bytes_held
        run.state = SETTLED
        for part in rest:
            self._index(part)
            if state is FLYING:
                self._flying[part] = None
            elif state is DELAYED:
                self._delayed.append(part)
        if state is QUEUED and rest:
            self._replace_queued(run, rest)
        elif state is DELAYED:
            self._delayed = [each for each in self._delayed if each is not run]

    def _replace_queued(self, run: Run, parts: List[Run]) -> None:
        at = self._queue.index(run)
        self._queue.rotate(-at)
        self._queue.popleft()
        self._enqueue_first(parts)
        self._queue.rotate(at)

    def _cut_down(self, run: Run, bytes_max: int, jobs_max: int) -> None:
        """The first of the queue, which no frame of this connection can take, in parts that fit."""
        if len(run.jobs) == 1:
            self._on_too_large(run, bytes_max)
            return
        cuts = [0]
        size = 0
        for at, job in enumerate(run.jobs):
            if at > cuts[-1] and (size + len(job) > bytes_max or at - cuts[-1] >= jobs_max):
                cuts.append(at)
                size = 0
            size += len(job)
        cuts.append(len(run.jobs))
        parts = [self._part(run, start, end) for start, end in zip(cuts, cuts[1:])]
        self._queue.popleft()
        self.queued_jobs -= len(run.jobs)
        self.queued_bytes -= run.bytes_held
        self._unindex(run)
        run.state = SETTLED
        for part in parts:
            self._index(part)
        self._enqueue_first(parts)

    def _index(self, run: Run) -> None:
        self.held_jobs += len(run.jobs)
        self.held_bytes += run.bytes_held
        firsts = self._firsts
        if not firsts or run.first > firsts[-1]:
            firsts.append(run.first)
        else:
            firsts.insert(bisect_left(firsts, run.first), run.first)
        self._runs[run.first] = run

    def _unindex(self, run: Run) -> None:
        self.held_jobs -= len(run.jobs)
        self.held_bytes -= run.bytes_held
        del self._firsts[bisect_left(self._firsts, run.first)]
        del self._runs[run.first]

    def _enqueue(self, run: Run) -> None:
        run.state = QUEUED
        self._queue.append(run)
        self.queued_jobs += len(run.jobs)
        self.queued_bytes += run.bytes_held

    def _enqueue_first(self, runs: Iterable[Run]) -> None:
        for run in reversed(list(runs)):
            run.state = QUEUED
            self._queue.appendleft(run)
            self.queued_jobs += len(run.jobs)
            self.queued_bytes += run.bytes_held
