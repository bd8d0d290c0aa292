"""A job's bytes on the wire, without its length and sequence: fields in ascending order of tags, keys in byte order. The same
job always has the same bytes. Made to be fast for the jobs that programs send, which differ in little: each text and number
is checked and encoded once, and found again by its value. A job with anything unusual about it (an envelope, a None, a
subclass, a mistake) goes the slow way through checking.py, which makes it plain or says what is wrong.

What the fast way takes must be what the slow way takes. Values are looked up by equality, and 1 == True == 1.0: so the type
of whatever is not text is looked at first."""

from __future__ import annotations

from typing import Any, Callable, Dict, Mapping

from .checking import COUNT_MAX, MEMORY_MAX, NUMBER_BITS_MAX, checked_job, duration_seconds, is_traceparent, text_problem

#: Values that are kept for each field; then it is begun anew.
_KEPT_MAX = 4096
#: Longer texts are seldom the same, and would only fill memory.
_KEPT_CHARACTERS_MAX = 256


class _NotPlain(Exception):
    """Not for the fast way; it may be right nevertheless."""


def leb128(value: int) -> bytes:
    if value < 0x80:
        return bytes((value,))
    parts = bytearray()
    while value >= 0x80:
        parts.append((value & 0x7F) | 0x80)
        value >>= 7
    parts.append(value)
    return bytes(parts)


class _Kept(Dict[Any, bytes]):
    """Encoded fields by their values."""

    def __missing__(self, value: Any) -> bytes:
        encoded = self.encode(value)
        if len(encoded) <= _KEPT_CHARACTERS_MAX:
            if len(self) >= _KEPT_MAX:
                self.clear()
            self[value] = encoded
        return encoded

    def encode(self, value: Any) -> bytes:
        raise NotImplementedError


class _Texts(_Kept):
    def __init__(self, tag: int, may_be_empty: bool = False) -> None:
        self._tag = bytes((tag,))
        self._may_be_empty = may_be_empty

    def encode(self, value: Any) -> bytes:
        if type(value) is not str or (value == "" and not self._may_be_empty) or text_problem(value) is not None:
            raise _NotPlain
        data = value.encode("utf-8")
        return self._tag + leb128(len(data)) + data


class _Traceparents(_Texts):
    def encode(self, value: Any) -> bytes:
        if type(value) is not str or not is_traceparent(value):
            raise _NotPlain
        return super().encode(value)


class _Integers(_Kept):
    """Only for values whose type is int."""

    def __init__(self, tag: int, least: int = 1, most: int = COUNT_MAX) -> None:
        self._tag = tag
        self._least = least
        self._most = most

    def encode(self, value: Any) -> bytes:
        if not self._least <= value <= self._most:
            raise _NotPlain
        size = max(1, (value.bit_length() + 7) // 8)
        return bytes((self._tag, size)) + int(value).to_bytes(size, "little")


class _Durations(_Integers):
    """Only for texts."""

    def encode(self, value: Any) -> bytes:
        seconds = duration_seconds(value) if type(value) is str else None
        if seconds is None:
            raise _NotPlain
        return super().encode(seconds)


class _Pairs(_Kept):
    """By key and value; both are text."""

    def __init__(self, tag: int, key_may_hold_equals: bool) -> None:
        self._tag = bytes((tag,))
        self._key_may_hold_equals = key_may_hold_equals

    def encode(self, value: Any) -> bytes:
        key, text = value
        if type(key) is not str or type(text) is not str or key == "" or (not self._key_may_hold_equals and "=" in key):
            raise _NotPlain
        if text_problem(key) is not None or text_problem(text) is not None:
            raise _NotPlain
        key_data = key.encode("utf-8")
        data = leb128(len(key_data)) + key_data + text.encode("utf-8")
        return self._tag + leb128(len(data)) + data

    def all_of(self, mapping: Any) -> bytes:
        if type(mapping) is not dict:
            raise _NotPlain
        # Python compares texts by code points, and so UTF-8 compares its bytes.
        keys = sorted(mapping) if len(mapping) > 1 else mapping
        parts = []
        for key in keys:
            value = mapping[key]
            if type(value) is int and value.bit_length() <= NUMBER_BITS_MAX:
                value = str(value)
            elif type(value) is bool:
                value = "true" if value else "false"
            elif type(value) is not str:
                raise _NotPlain
            parts.append(self[key, value])
        return b"".join(parts)


_ARGUMENT = _Texts(5, may_be_empty=True).__getitem__


def _arguments(value: Any) -> bytes:
    if type(value) is not list and type(value) is not tuple:
        raise _NotPlain
    return b"".join(map(_ARGUMENT, value))


def _inherit_environment(value: Any) -> bytes:
    if value is False:
        return b"\x07\x01\x00"
    if value is True:
        return b""
    raise _NotPlain


_RESOURCES: Mapping[str, _Integers] = {
    "node_count": _Integers(16),
    "process_count": _Integers(17),
    "processes_per_node": _Integers(18),
    "cpu_cores_per_process": _Integers(19),
    "gpu_cores_per_process": _Integers(20, 0),
    "memory": _Integers(22, 1, MEMORY_MAX),
}
_FACTORS = frozenset({"node_count", "process_count", "processes_per_node"})


def _resources(value: Any) -> bytes:
    if type(value) is not dict:
        raise _NotPlain
    parts = []
    for key, item in value.items():
        if type(item) is int:
            if key in _RESOURCES:
                parts.append(_RESOURCES[key][item])
            elif key != "__version" or item != 1:
                raise _NotPlain
        elif key == "exclusive_node_use" and item is True:
            parts.append(b"\x15\x01\x01")
        else:
            raise _NotPlain
    if "processes_per_node" in value and value.keys() >= _FACTORS:
        product = value["node_count"] * value["processes_per_node"]
        if product != value["process_count"]:
            raise _NotPlain
    parts.sort()
    return b"".join(parts)


_CUSTOM_ATTRIBUTES = _Pairs(36, key_may_hold_equals=True)
_DURATIONS = _Durations(32)


def _duration(value: Any) -> bytes:
    # An integer counts minutes. True is none.
    return _DURATIONS[f"{value} m" if type(value) is int and value <= COUNT_MAX else value]


_ATTRIBUTES: Mapping[str, Callable[[Any], bytes]] = {
    "queue_name": _Texts(33).__getitem__,
    "account": _Texts(34).__getitem__,
    "reservation_id": _Texts(35).__getitem__,
    "custom_attributes": _CUSTOM_ATTRIBUTES.all_of,
    "duration": _duration,
}


def _attributes(value: Any) -> bytes:
    if type(value) is not dict:
        raise _NotPlain
    parts = [_ATTRIBUTES[key](item) for key, item in value.items()]
    parts.sort()
    return b"".join(parts)


_FIELDS: Mapping[str, Callable[[Any], bytes]] = {
    "cluster": _Texts(1).__getitem__,
    "traceparent": _Traceparents(2).__getitem__,
    "name": _Texts(3).__getitem__,
    "executable": _Texts(4).__getitem__,
    "arguments": _arguments,
    "directory": _Texts(6).__getitem__,
    "inherit_environment": _inherit_environment,
    "environment": _Pairs(8, key_may_hold_equals=False).all_of,
    "stdin_path": _Texts(9).__getitem__,
    "stdout_path": _Texts(10).__getitem__,
    "stderr_path": _Texts(11).__getitem__,
    "resources": _resources,
    "attributes": _attributes,
    "pre_launch": _Texts(48).__getitem__,
    "post_launch": _Texts(49).__getitem__,
    "launcher": _Texts(50).__getitem__,
}


def _encode_plain(job: Mapping[str, Any]) -> bytes:
    if "executable" not in job:
        raise _NotPlain
    parts = [_FIELDS[key](value) for key, value in job.items()]
    # Each part begins with the tag of its first field, and no two parts have one in common.
    parts.sort()
    return b"".join(parts)


def encode_fields(job: object) -> bytes:
    """The fields of a job. Raises RefusedError with the first thing that is wrong with it."""
    if type(job) is dict:
        try:
            return _encode_plain(job)
        # Keys that are no fields, keys and values that can't be looked up, texts without UTF-8: the slow way says what.
        except (_NotPlain, KeyError, TypeError):
            pass
    return _encode_plain(checked_job(job))


#: Names of fields by their tags, as REFUSED shows them.
FIELD_NAMES: Mapping[int, str] = {
    1: "cluster", 2: "traceparent", 3: "name", 4: "executable", 5: "arguments", 6: "directory", 7: "inherit_environment",
    8: "environment", 9: "stdin_path", 10: "stdout_path", 11: "stderr_path", 16: "resources.node_count",
    17: "resources.process_count", 18: "resources.processes_per_node", 19: "resources.cpu_cores_per_process",
    20: "resources.gpu_cores_per_process", 21: "resources.exclusive_node_use", 22: "resources.memory",
    32: "attributes.duration", 33: "attributes.queue_name", 34: "attributes.account", 35: "attributes.reservation_id",
    36: "attributes.custom_attributes", 48: "pre_launch", 49: "post_launch", 50: "launcher",
}  # fmt: skip


def field_name(tag: int) -> str:
    """`field 99` for one that is not known, "" for the job."""
    return "" if tag == 0 else FIELD_NAMES.get(tag, f"field {tag}")
