"""Reads a job as people write it, field by field, and says the first thing that is wrong with it: with the codes and field
names with which usher itself would refuse, in the order of the TypeScript client. What it returns is plain: text is text,
nothing is None, envelopes are opened, a duration is seconds. Unknown keys are refused by name, because a misspelt limit
that is quietly left out is worse than a refusal."""

from __future__ import annotations

import json
import math
import re
from typing import Any, Collection, Dict, List, Mapping, Optional, Sequence, Tuple

from .errors import RefusedError

COUNT_MAX = 2**31 - 1
MEMORY_MAX = 2**53 - 1
#: Larger integers are no numbers to JSON.
NUMBER_BITS_MAX = 1023

TEXT_KEYS = ("name", "directory", "stdin_path", "stdout_path", "stderr_path", "pre_launch", "post_launch", "launcher")
COUNT_KEYS = ("node_count", "process_count", "processes_per_node", "cpu_cores_per_process", "gpu_cores_per_process")
_ATTRIBUTE_TEXT_KEYS = ("queue_name", "account", "reservation_id")
_BESIDE_KEYS = frozenset({"cluster", "traceparent"})
_SPEC_KEYS = frozenset(
    {*TEXT_KEYS, "executable", "arguments", "inherit_environment", "environment", "resources", "attributes"}
)
_RESOURCE_KEYS = frozenset({*COUNT_KEYS, "__version", "exclusive_node_use", "memory"})
_ATTRIBUTE_KEYS = frozenset({*_ATTRIBUTE_TEXT_KEYS, "duration", "custom_attributes"})

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_TRACEPARENT = re.compile("(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_WITH_UNIT = re.compile(r"([0-9]{1,10})(?:\.([0-9]{1,9}))?\s*([smh])")
_CLOCK = re.compile(r"([0-9]{1,7}):([0-5][0-9]):([0-5][0-9])")
_SECONDS_OF = {"s": 1, "m": 60, "h": 3600}


def text_problem(text: str) -> Optional[str]:
    """The code for a text that can't be sent, or None for one that can: half a surrogate pair has no UTF-8."""
    match = _NOT_XML.search(text)
    if match is None:
        return None
    return "text_not_utf8" if 0xD800 <= ord(match[0]) <= 0xDFFF else "text_not_xml"


def is_traceparent(text: str) -> bool:
    return _TRACEPARENT.fullmatch(text) is not None


def duration_seconds(value: object) -> Optional[int]:
    """`N s|m|h` (with or without a fraction, rounded up to whole seconds), `hh:mm:ss`, or an integer, which counts minutes.
    None for anything else. The range is the caller's to check."""
    if isinstance(value, str):
        measured = _WITH_UNIT.fullmatch(value)
        if measured is not None:
            unit = _SECONDS_OF[measured[3]]
            fraction = measured[2] or ""
            # Integers throughout: 0.1 h is 360 s, not 361.
            scale: int = 10 ** len(fraction)
            return int(measured[1]) * unit + -(-int(fraction or 0) * unit // scale)
        timed = _CLOCK.fullmatch(value)
        return None if timed is None else int(timed[1]) * 3600 + int(timed[2]) * 60 + int(timed[3])
    minutes = _whole(value)
    return None if minutes is None or minutes < 0 else minutes * 60


def _whole(value: object) -> Optional[int]:
    """JSON knows one kind of number: 2.0 is the integer 2."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return int(value)
    return int(value) if isinstance(value, float) and value.is_integer() else None


def number_text(value: float) -> str:
    """As JSON.stringify writes a number, so that both clients send the same bytes for it."""
    if isinstance(value, int):
        return str(int(value))
    if value == 0:
        return "0"
    sign = "-" if value < 0 else ""
    mantissa, _, exponent = repr(abs(float(value))).partition("e")
    before, _, after = mantissa.partition(".")
    digits = (before + after).rstrip("0") if after.strip("0") == "" else before + after
    digits = digits.lstrip("0")
    # Where the decimal point stands, counted from the first digit that is not 0.
    point = len(before) + int(exponent or 0) - (len(before + after) - len((before + after).lstrip("0")))
    digits = digits.rstrip("0") or "0"
    size = len(digits)
    if size <= point <= 21:
        return sign + digits + "0" * (point - size)
    if 0 < point <= 21:
        return f"{sign}{digits[:point]}.{digits[point:]}"
    if -6 < point <= 0:
        return f"{sign}0.{'0' * -point}{digits}"
    power = point - 1
    rest = "" if size == 1 else "." + digits[1:]
    return f"{sign}{digits[0]}{rest}e{'+' if power >= 0 else '-'}{abs(power)}"


def _kind(value: object) -> str:
    if value is None:
        return "None"
    if isinstance(value, Mapping):
        return "an object"
    return f"of type {type(value).__name__}"


def _place(field: str, detail: Optional[str]) -> str:
    return " ".join(part for part in (field, detail or "") if part)


def _refusal(code: str, field: str, why: str, detail: Optional[str] = None) -> RefusedError:
    place = _place(field, detail)
    details = {"field": field} if detail is None else {"field": field, "detail": detail}
    return RefusedError(code, f"{place}: {why}" if place else why, details)


def _check_keys(value: Mapping[Any, Any], known: Collection[str], prefix: str = "") -> None:
    for key in value:
        if key not in known:
            name = f"{prefix}{key}"
            why = ": ids are minted by the client that sends" if name == "id" else ""
            raise _refusal("field_unknown", name, f"{json.dumps(name)} is not a field of a job{why}")


def _object(value: object, field: str) -> Optional[Mapping[Any, Any]]:
    if value is None or isinstance(value, Mapping):
        return value
    raise _refusal("field_invalid", field, f"must be an object, not {_kind(value)}")


def _text(value: object, field: str, detail: Optional[str] = None, may_be_empty: bool = False) -> Optional[str]:
    if value is None:
        return None
    if not isinstance(value, str):
        raise _refusal("field_invalid", field, f"must be text, not {_kind(value)}", detail)
    if value == "" and not may_be_empty:
        raise _refusal("field_invalid", field, "must not be empty", detail)
    problem = text_problem(value)
    if problem is not None:
        why = "holds half of a surrogate pair" if problem == "text_not_utf8" else "holds a character that XML 1.0 can't carry"
        raise _refusal(problem, field, why, detail)
    return str(value)


def _boolean(value: object, field: str) -> Optional[bool]:
    if value is None or isinstance(value, bool):
        return value
    raise _refusal("field_invalid", field, f"must be true or false, not {_kind(value)}")


def _integer(value: object, field: str, least: int, most: int) -> Optional[int]:
    if value is None:
        return None
    whole = _whole(value)
    if whole is None or not least <= whole <= most:
        raise _refusal("field_invalid", field, f"must be an integer from {least} to {most}")
    return whole


def _texts(value: object, field: str) -> Optional[List[str]]:
    if value is None:
        return None
    # A text is a sequence of texts to Python, and surely not meant here.
    if isinstance(value, (str, bytes)) or not isinstance(value, Sequence):
        raise _refusal("field_invalid", field, f"must be a list of texts, not {_kind(value)}")
    texts = []
    for index, item in enumerate(value):
        if not isinstance(item, str):
            raise _refusal("field_invalid", field, f"must be text, not {_kind(item)}", str(index))
        texts.append(_text(item, field, str(index), True) or "")
    return texts


def _is_number(value: Any) -> bool:
    if isinstance(value, int):
        return value.bit_length() <= NUMBER_BITS_MAX
    return isinstance(value, float) and math.isfinite(value)


def _pairs(value: object, field: str, key_may_hold_equals: bool) -> Optional[Dict[str, str]]:
    mapping = _object(value, field)
    if mapping is None:
        return None
    pairs: Dict[str, str] = {}
    for key, item in mapping.items():
        if not isinstance(key, str):
            raise _refusal("field_invalid", field, "has a key that is not text", str(key))
        if key == "":
            raise _refusal("field_invalid", field, "has an empty key", key)
        if not key_may_hold_equals and "=" in key:
            raise _refusal("field_invalid", field, 'has a key with "=" in it', key)
        _text(key, field, key)
        if isinstance(item, bool):
            pairs[key] = "true" if item else "false"
        elif _is_number(item):
            pairs[key] = number_text(item)
        elif item is None:
            raise _refusal("field_invalid", field, "must be text, a number or a boolean, not None", key)
        else:
            pairs[key] = _text(item, field, key, True) or ""
    return pairs


def _resources(value: object) -> Dict[str, Any]:
    mapping = _object(value, "resources")
    if mapping is None:
        return {}
    _check_keys(mapping, _RESOURCE_KEYS, "resources.")
    version = mapping.get("__version")
    if version is not None and _whole(version) != 1:
        raise _refusal("field_invalid", "resources.__version", "must be 1")
    resources: Dict[str, Any] = {}
    for key in COUNT_KEYS:
        least = 0 if key == "gpu_cores_per_process" else 1
        resources[key] = _integer(mapping.get(key), f"resources.{key}", least, COUNT_MAX)
    resources["exclusive_node_use"] = _boolean(mapping.get("exclusive_node_use"), "resources.exclusive_node_use") or None
    resources["memory"] = _integer(mapping.get("memory"), "resources.memory", 1, MEMORY_MAX)
    return _present(resources)


def _duration(value: object) -> Optional[str]:
    if value is None:
        return None
    seconds = duration_seconds(value)
    if seconds is None or not 1 <= seconds <= COUNT_MAX:
        why = 'must be like "90 s", "15 m", "1.5 h", "hh:mm:ss" or minutes as an integer'
        raise _refusal("field_invalid", "attributes.duration", why)
    return f"{seconds} s"


def _attributes(value: object) -> Dict[str, Any]:
    mapping = _object(value, "attributes")
    if mapping is None:
        return {}
    _check_keys(mapping, _ATTRIBUTE_KEYS, "attributes.")
    attributes: Dict[str, Any] = {"duration": _duration(mapping.get("duration"))}
    for key in _ATTRIBUTE_TEXT_KEYS:
        attributes[key] = _text(mapping.get(key), f"attributes.{key}")
    attributes["custom_attributes"] = _pairs(mapping.get("custom_attributes"), "attributes.custom_attributes", True) or None
    return _present(attributes)


def _present(mapping: Dict[str, Any]) -> Dict[str, Any]:
    return {key: value for key, value in mapping.items() if value is not None}


def _spec(mapping: Mapping[Any, Any]) -> Dict[str, Any]:
    if mapping.get("executable") is None:
        raise _refusal("field_missing", "executable", "every job needs an executable")
    spec: Dict[str, Any] = {"executable": _text(mapping["executable"], "executable")}
    for key in TEXT_KEYS:
        spec[key] = _text(mapping.get(key), key)
    spec["arguments"] = _texts(mapping.get("arguments"), "arguments") or None
    # True is the default, and left out.
    inherits = _boolean(mapping.get("inherit_environment"), "inherit_environment")
    spec["inherit_environment"] = None if inherits else inherits
    spec["environment"] = _pairs(mapping.get("environment"), "environment", False) or None
    spec["resources"] = _resources(mapping.get("resources")) or None
    spec["attributes"] = _attributes(mapping.get("attributes")) or None
    return _present(spec)


def _check_product(resources: Mapping[str, int]) -> None:
    counts: Tuple[Optional[int], ...] = tuple(resources.get(key) for key in COUNT_KEYS[:3])
    nodes, processes, per_node = counts
    if nodes is None or processes is None or per_node is None or nodes * per_node == processes:
        return
    why = f"must be node_count × processes_per_node, {nodes * per_node}"
    raise _refusal("resources_contradict", "resources.process_count", why)


def checked_job(value: object) -> Dict[str, Any]:
    """A plain job, or RefusedError with the first problem."""
    if not isinstance(value, Mapping):
        raise _refusal("job_malformed", "", f"a job is an object, not {_kind(value)}")
    inner: Mapping[Any, Any] = value
    if "spec" not in value:
        _check_keys(value, _SPEC_KEYS | _BESIDE_KEYS)
    else:
        _check_keys(value, _BESIDE_KEYS | {"spec"})
        inner = _object(value["spec"], "spec") or {}
        _check_keys(inner, _SPEC_KEYS)
    beside = {"cluster": _text(value.get("cluster"), "cluster"), "traceparent": _text(value.get("traceparent"), "traceparent")}
    if beside["traceparent"] is not None and not is_traceparent(beside["traceparent"]):
        why = "must be a W3C traceparent (00-<32 hex digits>-<16 hex digits>-<2 hex digits>)"
        raise _refusal("field_invalid", "traceparent", why)
    spec = _spec(inner)
    _check_product(spec.get("resources", {}))
    return {**_present(beside), **spec}


