"""Arguments and results to JSON and back.

What JSON can say goes as it is. `datetime`, `date`, `time`, `timedelta`, `Decimal`, `UUID` and `bytes`
go as `{"$treadle": type, "value": …}`; a user's dict that holds the tag key is wrapped in the same
way, so nothing a user stores can be mistaken for a tag. Tuples come back as lists. NaN, infinities
and keys that are no strings are refused, since they would come back changed. Nothing in a row can
name a class to be made: a dataclass is built only where the parameter is annotated with it (see
`treadle.task`).
"""

import base64
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import is_dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

import msgspec

from treadle.errors import PayloadError, PayloadTooLarge

TAG = "$treadle"
MAX_DEPTH = 100
"""Of lists and dicts in one another; far below Python's own limit, so that what was kept can be read anywhere."""


class _Refused(Exception):
    """A value that JSON cannot carry; its path is collected on the way up."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.path: list[str] = []


def encode(value: Any, *, root: str = "the value", max_bytes: int | None = None) -> str:
    """The JSON of a value, which messages call `root`.

    Raises PayloadError with the path to the value that cannot be kept, and PayloadTooLarge where the
    JSON is longer than `max_bytes`.
    """
    return _to_json(_pack_root(value, root), root, max_bytes)


def encode_fields(fields: Mapping[str, Any], *, root: str, max_bytes: int | None = None) -> str:
    """The JSON of an object of ours, whose fields hold a user's values; a path begins at its field."""
    packed = {name: _pack_root(value, name) for name, value in fields.items()}
    return _to_json(packed, root, max_bytes)


def decode(data: str) -> Any:
    """The value of a JSON made by `encode`. Raises PayloadError where it is damaged."""
    try:
        return _unpack(msgspec.json.decode(data))
    except (
        msgspec.DecodeError,
        LookupError,
        ValueError,
        TypeError,
        AttributeError,
        ArithmeticError,
        RecursionError,
    ) as error:
        raise PayloadError(f"cannot read the stored JSON: {error}") from error


def plain(data: str) -> Any:
    """The stored JSON for a browser or a page: a tagged value as what JSON has for it."""
    return _untag(msgspec.json.decode(data))


def _untag(value: Any) -> Any:
    if type(value) is list:
        return [_untag(inner) for inner in value]
    if type(value) is dict:
        if value.get(TAG) == "timedelta":
            return timedelta(*value["value"]).total_seconds()
        if TAG in value:
            value = value["value"]
        return {key: _untag(inner) for key, inner in value.items()} if type(value) is dict else value
    return value


SECRET_NAMES = ("password", "passwd", "secret", "token", "api_key", "apikey", "authorization", "credential")


MASK = "…"
"""What is shown in the place of a value that is not."""


def redacted(value: Any) -> Any:
    """A plain value for display: what stands under a name that sounds secret is blanked."""
    if isinstance(value, dict):
        return {key: MASK if sounds_secret(key) else redacted(inner) for key, inner in value.items()}
    return [redacted(inner) for inner in value] if isinstance(value, list) else value


def sounds_secret(name: str) -> bool:
    """Whether a name is like that of a password."""
    return any(word in name.lower() for word in SECRET_NAMES)


def dump_plain(value: Any) -> str:
    """JSON of our own records, which need no tags."""
    return msgspec.json.encode(value).decode()


def _pack_root(value: Any, root: str) -> Any:
    try:
        return _pack(value)
    except _Refused as refused:
        path = root + "".join(reversed(refused.path))
        raise PayloadError(f"{path} {refused.reason}") from None
    except RecursionError:
        raise PayloadError(f"{root} is nested too deeply, or contains itself; {MAX_DEPTH} levels can be kept") from None


def _to_json(packed: Any, root: str, max_bytes: int | None) -> str:
    try:
        data = msgspec.json.encode(packed)
    except UnicodeEncodeError as error:
        raise PayloadError(f"{root}: a text is not Unicode: {error}") from None
    if max_bytes is not None and len(data) > max_bytes:
        raise PayloadTooLarge(
            f"{root}: {len(data):,} bytes as JSON, and the limit is {max_bytes:,}; keep the data in a "
            "file or a table and pass a reference to it, or raise the limit"
        )
    return data.decode()


# A set by exact type is what makes the common case quick: one look-up a value.
_AS_IT_IS = frozenset({str, int, bool, type(None)})


def _pack(value: Any, depth: int = 0) -> Any:
    kind = type(value)
    if kind in _AS_IT_IS:
        return value
    packer = _PACKERS.get(kind)
    if packer is None:
        return _pack_subclass(value, depth)
    if depth > MAX_DEPTH:
        raise RecursionError
    return packer(value, depth)


def _pack_float(value: float, depth: int) -> float:
    if math.isfinite(value):
        return float(value)
    raise _Refused(f"is {value}, which JSON cannot carry; use None or a string")


def _pack_list(values: Any, depth: int) -> list[Any]:
    packed = []
    for index, value in enumerate(values):
        try:
            packed.append(_pack(value, depth + 1))
        except _Refused as refused:
            refused.path.append(f"[{index}]")
            raise
    return packed


def _pack_dict(values: Mapping[Any, Any], depth: int) -> dict[str, Any]:
    packed = {}
    for key, value in values.items():
        if not isinstance(key, str) or isinstance(key, Enum):
            raise _Refused(
                f"has the key {key!r} of type {type(key).__name__}; JSON keys are strings, so it would "
                "come back changed"
            )
        try:
            packed[str(key)] = _pack(value, depth + 1)
        except _Refused as refused:
            refused.path.append(f"[{json.dumps(key)}]")
            raise
    return {TAG: "dict", "value": packed} if TAG in packed else packed


def _tagged(name: str, to_json: Callable[[Any], Any]) -> Callable[[Any, int], dict[str, Any]]:
    return lambda value, depth: {TAG: name, "value": to_json(value)}


_PACKERS: dict[type, Callable[[Any, int], Any]] = {
    float: _pack_float,
    list: _pack_list,
    tuple: _pack_list,
    dict: _pack_dict,
    datetime: _tagged("datetime", datetime.isoformat),
    date: _tagged("date", date.isoformat),
    time: _tagged("time", time.isoformat),
    timedelta: _tagged("timedelta", lambda value: [value.days, value.seconds, value.microseconds]),
    Decimal: _tagged("decimal", str),
    UUID: _tagged("uuid", str),
    bytes: _tagged("bytes", lambda value: base64.b64encode(value).decode()),
}

_UNPACKERS: dict[str, Callable[[Any], Any]] = {
    "dict": lambda value: {key: _unpack(inner) for key, inner in value.items()},
    "datetime": datetime.fromisoformat,
    "date": date.fromisoformat,
    "time": time.fromisoformat,
    "timedelta": lambda value: timedelta(*value),
    "decimal": Decimal,
    "uuid": UUID,
    "bytes": lambda value: base64.b64decode(value, validate=True),
}

# Subclasses of these go as their base; an Enum does not, for it would come back as another thing.
_BASES = (str, int, float, dict, list, tuple)


def _pack_subclass(value: Any, depth: int) -> Any:
    if isinstance(value, Enum):
        raise _Refused(f"is {value!r}, an Enum; pass its value")
    for base in _BASES:
        if isinstance(value, base):
            return _pack(base(value), depth)  # type: ignore[arg-type]  # mypy sees the union of all bases
    name = f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")
    if is_dataclass(value) and not isinstance(value, type):
        raise _Refused(f"is a dataclass, {name}; annotate the parameter or the return with it")
    raise _Refused(f"is of type {name}, which JSON cannot carry; pass an id or plain data")


def _unpack(value: Any) -> Any:
    if type(value) is list:
        return [_unpack(inner) for inner in value]
    if type(value) is dict:
        if TAG in value:
            return _UNPACKERS[value[TAG]](value["value"])
        return {key: _unpack(inner) for key, inner in value.items()}
    return value
