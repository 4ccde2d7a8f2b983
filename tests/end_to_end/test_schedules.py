"""Worker processes that send what is scheduled."""

from datetime import datetime, timedelta
from itertools import pairwise

import pytest
from tests.end_to_end.server import needs_proc
from tests.end_to_end.test_workers import workers
from tests.helpers import eventually

from treadle.clock import US_PER_S, SystemClock, as_us
from treadle.store.contract import ScheduleRow

pytestmark = needs_proc

on_both_stores = pytest.mark.parametrize("store_url", ["sqlite", "postgresql"], indirect=True)

TICKS = 4


def tick_of(row):
    """When a job was due."""
    return datetime.fromisoformat(row.headers["scheduled_for"])


@on_both_stores
def test_two_workers_send_each_tick_once(jobs, tmp_path, monkeypatch):
    """Two worker processes on one store send one job each second, and leave none out."""
    monkeypatch.setenv("SCHEDULED", "yes")
    with workers(jobs, tmp_path, 2):
        eventually(lambda: jobs.have_succeeded(TICKS), 30)
        rows = jobs.rows()
    ticks = [tick_of(row) for row in rows]
    assert {later - earlier for earlier, later in pairwise(ticks)} == {timedelta(seconds=1)}


@on_both_stores
def test_a_worker_catches_up_with_what_was_missed(jobs, tmp_path, monkeypatch):
    """After an hour without a worker one job is sent for all of its seconds, and then one each second."""
    monkeypatch.setenv("SCHEDULED", "yes")
    started_us = SystemClock().now_us()
    row = {"name": "each second", "cron": "* * * * * *", "timezone": "UTC", "task": ""}
    jobs.store.keep_schedules([ScheduleRow(**row, seen_at_us=started_us - 3600 * US_PER_S)])
    with workers(jobs, tmp_path, 1):
        eventually(lambda: jobs.have_succeeded(2), 30)
        first, second = jobs.rows()[:2]
    assert as_us(tick_of(first)) >= started_us - US_PER_S
    assert tick_of(second) - tick_of(first) == timedelta(seconds=1)
