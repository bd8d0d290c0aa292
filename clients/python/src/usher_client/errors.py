"""Every failure that the client reports: UsherError with a code, and one table of codes. Match codes or classes, never
messages. The codes, their numbers and whether to try again are those of docs/protocol.md; a test compares them."""

from __future__ import annotations

from typing import Any, Mapping, NamedTuple, Optional


class CodeInfo(NamedTuple):
    summary: str
    #: Whether the same request, sent again later or elsewhere, can succeed.
    retryable: bool
    #: The number on the wire; 0 where the code never crosses it.
    wire: int = 0


CODES: Mapping[str, CodeInfo] = {
    # The connection: sent in an ERROR frame, which closes it.
    "not_usher": CodeInfo("the first bytes are not the preamble of this protocol", False, 1),
    "version_unsupported": CodeInfo("no version in the producer's range is spoken here", False, 2),
    "frame_corrupt": CodeInfo("the CRC doesn't match the frame", True, 3),
    "frame_too_large": CodeInfo("the payload is larger than WELCOME allows", False, 4),
    "frame_unexpected": CodeInfo("unknown type, flags set, or not allowed at this point", False, 5),
    "frame_malformed": CodeInfo("the payload doesn't have the shape of its type", False, 6),
    "credit_exceeded": CodeInfo("a JOBS frame was sent without credit for it", False, 7),
    "connections_exhausted": CodeInfo("this host has as many connections as it takes", True, 8),
    "hello_timeout": CodeInfo("no complete preamble and HELLO in time", True, 9),
    "frame_timeout": CodeInfo("a frame was begun and not completed in time", True, 10),
    "idle_timeout": CodeInfo("nothing arrived for longer than WELCOME allows", True, 11),
    "memory_exhausted": CodeInfo("too many incomplete frames wait in memory", True, 12),
    "output_overrun": CodeInfo("the producer doesn't read its answers", True, 13),
    # One job: sent in a REFUSED frame.
    "job_malformed": CodeInfo("the fields of the job don't parse", False, 32),
    "job_too_large": CodeInfo("the job is larger than WELCOME allows", False, 33),
    "field_missing": CodeInfo("a required field is not there", False, 34),
    "field_invalid": CodeInfo("the field's value is not one of those allowed", False, 35),
    "field_order": CodeInfo("the field or key is out of order or given twice", False, 36),
    "field_unknown": CodeInfo("no field has this name or tag", False, 37),
    "text_not_utf8": CodeInfo("the text is not UTF-8", False, 38),
    "text_not_xml": CodeInfo("the text holds a character that XML 1.0 can't carry", False, 39),
    "cluster_unknown": CodeInfo("no cluster of this name is configured here", False, 40),
    "cluster_required": CodeInfo("several clusters are configured and the job names none", False, 41),
    "resources_contradict": CodeInfo("process_count is not node_count × processes_per_node", False, 42),
    "store_full": CodeInfo("the store has less free space than is kept in reserve", True, 64),
    "store_failing": CodeInfo("writing or syncing to the store failed", True, 65),
    "draining": CodeInfo("this host is shutting down", True, 66),
    "retired": CodeInfo("this instance lost its accept lease", True, 67),
    # The client.
    "timed_out": CodeInfo("no answer in time", True),
    "disconnected": CodeInfo("no host could be reached", True),
    "aborted": CodeInfo("the caller gave up", False),
    "queue_full": CodeInfo("the client holds as many jobs as it was allowed to", True),
    "closed": CodeInfo("used after it was closed", False),
    "in_doubt": CodeInfo("sent, and nobody knows: it may or may not have been accepted", True),
    "usage": CodeInfo("the client was used wrongly", False),
    "internal": CodeInfo("a broken invariant: please report it", False),
}

_BY_WIRE = {info.wire: code for code, info in CODES.items() if info.wire != 0}


def code_of_wire(wire: int) -> Optional[str]:
    """The code with this number on the wire, or None for a number that this version doesn't know."""
    return _BY_WIRE.get(wire)


class UsherError(Exception):
    """`code` says what is known, `details` has `id`, `field`, `reason` and the like where there are any."""

    def __init__(self, code: str, message: str, details: Optional[Mapping[str, Any]] = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.details: Mapping[str, Any] = {} if details is None else details

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.code, self.message, self.details)

    @property
    def retryable(self) -> bool:
        return CODES[self.code].retryable

    @property
    def job_id(self) -> Optional[str]:
        """Of the job that this is about."""
        return self.details.get("id")


class RefusedError(UsherError):
    """The job was not accepted: a host refused it, or the client did on its behalf. `retryable` says whether time can help."""


class UnsentError(UsherError):
    """The job was not accepted, for it never left: `timed_out`, `aborted`, `closed` or `queue_full`."""


class InDoubtError(UsherError):
    """Sent and not answered, so nobody here knows. Sending it again with the same id is safe and settles it."""


class DisconnectedError(UsherError):
    """No host could be reached, or a connection ended."""
