"""Fixtures of the core's tests."""

from collections.abc import Iterator

import pytest

from treadle.testing.pool_contract import Gate


@pytest.fixture
def gate() -> Iterator[Gate]:
    """Something closed that a function in any process waits for; open at the end in any case."""
    with Gate() as gate:
        yield gate
