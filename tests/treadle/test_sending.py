"""How a map is cut."""

import pytest

from treadle.sending import fitting_parts


@pytest.mark.parametrize(
    ("items", "item_s", "parts"),
    [
        (1000, None, 64),  # nothing is known: 16 a slot
        (1000, 0.1, 64),  # 1.6 s each
        (1000, 0.00001, 2),  # 10 ms of work are two parts of 5 ms
        (10, 0.00001, 1),  # never none
        (1000, 0, 1),
        (1000, 1.0, 500),  # 2 s each, where 64 would take 16 s each
        (100_000, 1.0, 1000),  # never more rows than that
    ],
)
def test_parts_are_neither_too_short_nor_too_long(items: int, item_s: float | None, parts: int) -> None:
    """On four slots: 16 parts a slot, fewer where they would be under 5 ms, more where they would be over 2 s."""
    assert fitting_parts(items, 4, item_s) == parts


def test_many_slots_have_their_sixteen_parts_each() -> None:
    """Whatever the number of rows."""
    assert fitting_parts(1_000_000, 100, 0.01) == 1600
