"""Many processes that send while a worker is busy."""

import os
from contextlib import ExitStack

from tests.end_to_end.faults.checker import assert_nothing_is_lost, is_all_done
from tests.end_to_end.server import needs_proc, program
from tests.helpers import eventually

pytestmark = needs_proc

SENDERS = 6
JOBS_EACH = 5000 if "TREADLE_SOAK" in os.environ else 300


def test_six_senders_beside_a_busy_worker_lose_nothing(jobs, journal, worker, tmp_path):
    """Each of them sends one by one; all is done, and told once. How long a send takes is printed."""
    command = ("-m", "tests.end_to_end.apps.sender", str(journal), str(JOBS_EACH))
    with worker():
        eventually(lambda: jobs.the_worker(), 30)
        with ExitStack() as stack:
            senders = [stack.enter_context(program(*command, folder=tmp_path)) for _ in range(SENDERS)]
            assert [sender.process.wait(60 + JOBS_EACH / 10) for sender in senders] == [0] * SENDERS
        eventually(lambda: is_all_done(jobs), 60 + JOBS_EACH / 10)
    took_ms = sorted(float(line) for sender in senders for line in sender.output.splitlines())
    assert len(took_ms) == len(jobs.rows()) == SENDERS * JOBS_EACH
    assert_nothing_is_lost(jobs, journal, [])
    shown = {f"p{part}": round(took_ms[len(took_ms) * part // 100], 2) for part in (50, 90, 99)}
    print(f"an enqueue, in ms: {shown}, at most {took_ms[-1]:.1f}")
