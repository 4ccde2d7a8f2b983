"""Arguments and results as JSON."""

import json
from collections import OrderedDict, namedtuple
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, StrEnum
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.apps import Point

from treadle import codec
from treadle.errors import PayloadError, PayloadTooLarge

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
ZONES = st.none() | st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes)))
PLAIN = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT
    | st.binary()
    | st.dates()
    | st.times().map(lambda moment: moment.replace(fold=0))
    | st.timedeltas()
    | st.uuids()
    | st.decimals(allow_nan=False)
    | st.datetimes(timezones=ZONES).map(lambda moment: moment.replace(fold=0))
)
KEYS = TEXT | st.just(codec.TAG) | st.just("value")
VALUES = st.recursive(PLAIN, lambda inner: st.lists(inner) | st.dictionaries(KEYS, inner), max_leaves=20)


class Colour(Enum):
    RED = "red"


class Word(StrEnum):
    RED = "red"


class Named(str, Enum):  # noqa: UP042 (the older form, which users have)
    RED = "red"


@given(VALUES)
def test_what_can_be_kept_comes_back_the_same(value: Any) -> None:
    """Every value of the types that the payload rules list is the same after a round trip, type and all."""
    back = codec.decode(codec.encode(value))
    assert back == value
    assert repr(back) == repr(value)


@given(VALUES)
def test_what_is_kept_is_json(value: Any) -> None:
    """Any reader of JSON can read what is stored, and what is shown of it."""
    json.loads(codec.encode(value))
    json.dumps(codec.plain(codec.encode(value)), allow_nan=False)


@given(st.text())
def test_text_that_is_no_unicode_is_refused(text: str) -> None:
    """A text comes back the same, or is refused: a lone surrogate has no UTF-8."""
    try:
        kept = codec.encode(text)
    except PayloadError:
        assert any("\ud800" <= character <= "\udfff" for character in text)
    else:
        assert codec.decode(kept) == text


def test_tuples_come_back_as_lists() -> None:
    """JSON has one kind of sequence."""
    pair = namedtuple("pair", "a b")  # noqa: PYI024 (the plainest tuple with names)
    assert codec.decode(codec.encode((1, (2,)))) == [1, [2]]
    assert codec.decode(codec.encode(pair(1, 2))) == [1, 2]


def test_subclasses_go_as_their_base() -> None:
    """A subclass of what JSON knows is kept as that."""
    number = type("Number", (int,), {})(3)
    kept = codec.decode(codec.encode(OrderedDict(a=number)))
    assert type(kept) is dict
    assert type(kept["a"]) is int


def test_an_aware_time_keeps_its_moment() -> None:
    """A datetime comes back as the same moment, with its offset."""
    moment = datetime(2026, 3, 29, 2, 30, tzinfo=timezone(timedelta(hours=5, minutes=45)))
    assert codec.decode(codec.encode(moment)).utcoffset() == timedelta(hours=5, minutes=45)


@pytest.mark.parametrize(
    ("value", "tagged"),
    [
        (datetime(2026, 1, 2, tzinfo=UTC), {"$treadle": "datetime", "value": "2026-01-02T00:00:00+00:00"}),
        (date(2026, 1, 2), {"$treadle": "date", "value": "2026-01-02"}),
        (time(1, 2), {"$treadle": "time", "value": "01:02:00"}),
        (timedelta(days=-1, seconds=2), {"$treadle": "timedelta", "value": [-1, 2, 0]}),
        (Decimal("1.10"), {"$treadle": "decimal", "value": "1.10"}),
        (UUID(int=1), {"$treadle": "uuid", "value": "00000000-0000-0000-0000-000000000001"}),
        (b"\xff\x00", {"$treadle": "bytes", "value": "/wA="}),
        ({"$treadle": "date"}, {"$treadle": "dict", "value": {"$treadle": "date"}}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_the_stored_form_stays_as_it_is(value: Any, tagged: Any) -> None:
    """Rows outlive releases: the JSON of each tagged type never changes."""
    assert json.loads(codec.encode(value)) == tagged


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_floats_that_json_cannot_say_are_refused(value: float) -> None:
    """NaN and infinities are refused: they would come back as something else."""
    with pytest.raises(PayloadError, match=r'^kwargs\["rows"\]\[3\] is -?(nan|inf), which JSON cannot carry'):
        codec.encode_fields({"args": [], "kwargs": {"rows": [1, 2, 3, value]}}, root="the arguments")


def test_keys_that_are_no_strings_are_refused() -> None:
    """An integer key would come back as a string; the message names it, its type and where it stands."""
    with pytest.raises(PayloadError, match=r"^args\[0\]\[1\] has the key 7 of type int"):
        codec.encode_fields({"args": [[{}, {7: "seven"}]]}, root="the arguments")


@pytest.mark.parametrize(
    ("value", "name"),
    [({1}, "set"), (object(), "object"), (1j, "complex"), (bytearray(b"a"), "bytearray"), (len, "builtin")],
)
def test_a_value_that_json_cannot_carry_is_named_with_its_path(value: Any, name: str) -> None:
    """The message gives the path to the value and its type."""
    with pytest.raises(PayloadError, match=rf'^the message\["a"\]\[0\] is of type {name}'):
        codec.encode({"a": [value]}, root="the message")


@pytest.mark.parametrize("value", [Colour.RED, Word.RED, {Colour.RED: 1}, {Named.RED: 1}])
def test_enums_are_refused(value: Any) -> None:
    """An Enum would come back as another thing, as a value and as a key."""
    with pytest.raises(PayloadError):
        codec.encode(value)


def test_a_dataclass_without_annotation_is_refused_with_advice() -> None:
    """The message says that an annotation would make it possible."""
    with pytest.raises(PayloadError, match=r"is a dataclass, tests.apps.Point; annotate the parameter"):
        codec.encode([Point(1, 2)])


def test_what_contains_itself_is_refused() -> None:
    """A value that contains itself is an error of ours, and no RecursionError."""
    circle: list[Any] = []
    circle.append(circle)
    with pytest.raises(PayloadError, match="nested too deeply, or contains itself"):
        codec.encode(circle)


def test_a_value_over_the_limit_is_refused_with_both_sizes() -> None:
    """The message gives the size, the limit, and what to do instead."""
    assert codec.encode("x" * 8, max_bytes=10) == '"xxxxxxxx"'
    with pytest.raises(PayloadTooLarge, match=r"the photo: 2,002 bytes as JSON.* 10;.*pass a reference"):
        codec.encode("x" * 2000, root="the photo", max_bytes=10)


def test_the_limit_counts_bytes() -> None:
    """A character may be several bytes."""
    with pytest.raises(PayloadTooLarge):
        codec.encode("é" * 5, max_bytes=10)


@pytest.mark.parametrize(
    "damaged",
    [
        "",
        "{",
        "nonsense",
        '{"$treadle": "no such type", "value": 1}',
        '{"$treadle": ["list"], "value": 1}',
        '{"$treadle": "date"}',
        '{"$treadle": "date", "value": 5}',
        '{"$treadle": "date", "value": "2026-13-01"}',
        '{"$treadle": "decimal", "value": "ten"}',
        '{"$treadle": "bytes", "value": "?"}',
        '{"$treadle": "timedelta", "value": [1e300]}',
        '{"$treadle": "dict", "value": [1]}',
        "[" * 100_000,
    ],
    ids=lambda damaged: damaged[:40],
)
def test_damaged_json_is_an_error_of_ours(damaged: str) -> None:
    """Whatever stands in a row, reading it gives a value or a PayloadError."""
    with pytest.raises(PayloadError, match="cannot read the stored JSON"):
        codec.decode(damaged)


def test_what_can_be_kept_at_any_depth_can_be_read() -> None:
    """A value that the encoder takes is never too deep for the decoder, wherever it is called."""
    value: list[Any] = []
    for _ in range(codec.MAX_DEPTH):
        value = [value]
    kept = codec.encode(value)

    def decode_below(frames: int) -> Any:
        return decode_below(frames - 1) if frames else codec.decode(kept)

    assert decode_below(300) == value


def test_secrets_are_blanked_for_display() -> None:
    """What stands under a name that sounds secret is not shown, at any depth."""
    shown = codec.redacted({"user": "ann", "Password": "x", "deep": [{"api_key": {"a": 1}, "n": 2}]})
    assert shown == {"user": "ann", "Password": "…", "deep": [{"api_key": "…", "n": 2}]}


def test_what_is_shown_has_no_tags() -> None:
    """For a page each tagged value is what JSON has for it, and a user's tag key is as the user wrote it."""
    shown = codec.plain(codec.encode([date(2026, 1, 2), timedelta(seconds=90), {"$treadle": [b"a"]}]))
    assert shown == ["2026-01-02", 90.0, {"$treadle": ["YQ=="]}]


def test_our_own_records_need_no_tags() -> None:
    """`dump_plain` writes plain JSON."""
    assert json.loads(codec.dump_plain({"a": [1]})) == {"a": [1]}
