"""What the client says of a job that wasn't accepted: always an UsherError whose code tells what is known."""

from __future__ import annotations

from typing import Optional

from .encoder import field_name
from .errors import CODES, InDoubtError, RefusedError, UnsentError, UsherError, code_of_wire
from .frames import RefusedJob

#: Refusals after which the job may be on the disk nevertheless (docs/protocol.md, "Resending is always safe").
_MAYBE_KEPT = frozenset({"store_full", "store_failing"})


def refusal_error(job_id: str, host: str, job: RefusedJob) -> RefusedError:
    """What a host said. A code that this version doesn't know can't be retried: it says so in its message and details."""
    known = code_of_wire(job.wire)
    code = known or "job_malformed"
    field = field_name(job.field)
    place = " ".join(part for part in (field, job.detail) if part)
    why = CODES[code].summary if known is not None else f"code {job.wire}, which this version doesn't know"
    message = f"job {job_id} was refused: {f'{place}: ' if place else ''}{why}"
    return RefusedError(code, message, {"id": job_id, "field": field, "detail": job.detail, "host": host, "wire": job.wire})


def too_large_error(job_id: str, job_bytes: int, bytes_max: int) -> RefusedError:
    message = f"job {job_id} has {job_bytes} bytes; a frame to this host takes {bytes_max}"
    return RefusedError("job_too_large", message, {"id": job_id, "bytes": job_bytes, "bytes_max": bytes_max})


def in_doubt_error(job_id: str, reason: str, cause: Optional[BaseException]) -> InDoubtError:
    message = f"job {job_id} was sent and not answered ({reason}): it may or may not have been accepted"
    error = InDoubtError("in_doubt", message, {"id": job_id, "reason": reason})
    error.__cause__ = cause
    return error


def given_up(job_id: str, why: str, sent: bool, refusal: Optional[UsherError], last_error: Optional[UsherError]) -> UsherError:
    """Its time is over (`timed_out`), or its caller's patience (`aborted`, `closed`)."""
    if sent:
        return in_doubt_error(job_id, why, refusal or last_error)
    if refusal is not None:
        return final_refusal(job_id, refusal, False)
    error = UnsentError(why, f"job {job_id}: {CODES[why].summary}; it was not sent", {"id": job_id, "reason": why})
    error.__cause__ = last_error
    return error


def final_refusal(job_id: str, refusal: UsherError, doubt: bool) -> UsherError:
    """A refusal after which the job isn't sent again. Where an earlier attempt may have been accepted, or the host can't know
    what of it reached the disk, a refusal for a reason that passes says nothing about the job."""
    if refusal.code in _MAYBE_KEPT or (doubt and refusal.retryable):
        return in_doubt_error(job_id, "refused", refusal)
    return refusal
