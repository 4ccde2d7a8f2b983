"""The benchmark of large stores keeps the level of jobs that it measures at."""

import pytest
from benchmarks.libraries import TREADLE
from benchmarks.processes import Site
from benchmarks.scale import STORE


@pytest.fixture
def site(tmp_path):
    return Site(TREADLE, tmp_path / "site", "DEFAULT", {})


def test_rounds_leave_as_many_jobs_as_they_found(site):
    """What a round takes it has sent before, so the next one meets as many."""
    site.ask(STORE, "fill", 100)
    timings = site.ask(STORE, "rounds", 3)
    assert [len(timings[name]) for name in ("claim", "finish", "batch")] == [3, 3, 3]
    # But for the batch that was held last.
    assert site.ask(STORE, "fill", 100)["sent"] == timings["size"]


def test_finishing_empties_the_store(site):
    """All that waits is run to its end, and nothing is left unfinished."""
    site.ask(STORE, "fill", 50)
    site.ask(STORE, "finish", 1000)
    assert site.send("unfinished") == 0
    assert site.ask(STORE, "sizes")["bytes"] > 0
