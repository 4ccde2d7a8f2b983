"""A Flask application under gunicorn, with several web processes and, mostly, no worker process."""

import signal
from collections import Counter
from contextlib import contextmanager

import pytest
from tests.end_to_end.jobs import lines
from tests.end_to_end.server import at_once, free_port, kill_process, needs_proc, program, serving
from tests.helpers import eventually, is_alive

from treadle.clock import US_PER_S

pytestmark = needs_proc

FACTORY = "tests.end_to_end.apps.factory:create_app()"
JOBS = 200
WEB_PROCESSES = 4
CLIENTS = 8


@contextmanager
def gunicorn(folder, *options, app=FACTORY, processes=WEB_PROCESSES, **environment):
    command = ("-m", "gunicorn", "-b", "127.0.0.1:PORT", "-w", str(processes), *options, app)
    with serving(*command, folder=folder, **environment) as server:
        yield server


def elected(jobs):
    """The web process that runs the embedded worker."""
    return eventually(lambda: jobs.the_worker("embedded"), 20)


def reports_of_each_process(server, ids):
    """What each web process says of these jobs, asked by many clients until all processes have answered."""
    reports = {}

    def ask(_):
        answer = server.post("/states", ids).json
        reports[answer["pid"]] = Counter(answer["states"])

    eventually(lambda: at_once(ask, range(CLIENTS)) and len(reports) == WEB_PROCESSES, 30)
    return list(reports.values())


# Four web processes, no worker process


def test_200_jobs_of_8_clients(jobs, tmp_path):
    """200 jobs sent over HTTP by 8 clients at once each end exactly once, and every web process can report on all."""
    with gunicorn(tmp_path) as server:
        sent = at_once(lambda number: server.send("string_length", "x" * number), range(JOBS), CLIENTS)
        results = at_once(server.result, sent, CLIENTS)
        reports = reports_of_each_process(server, [job["id"] for job in sent])
        assert elected(jobs)
    assert results == list(range(JOBS))
    assert reports == [Counter(succeeded=JOBS)] * WEB_PROCESSES
    assert (jobs.outcomes(), jobs.accepted_once()) == ({"succeeded": JOBS}, True)


def test_preload(jobs, tmp_path):
    """With --preload the master runs nothing: one of the web processes does, and each may compute now."""
    with gunicorn(tmp_path, "--preload") as server:
        assert server.result(server.send("string_length", "abc")) == 3
        assert at_once(lambda _: server.post("/lengths", ["a", "bc"]).json, range(CLIENTS)) == [[1, 2]] * CLIENTS
        assert elected(jobs).pid != server.pid
        reports_of_each_process(server, [])
        assert len(jobs.workers()) == 1


def test_threads(jobs, tmp_path):
    """With gthread workers, many requests of one process at once send and look, and each job ends exactly once."""
    with gunicorn(tmp_path, "-k", "gthread", "--threads", "8", processes=1) as server:
        sent = at_once(lambda number: server.send("string_length", "x" * number), range(JOBS), CLIENTS)
        assert at_once(server.result, sent, CLIENTS) == list(range(JOBS))
    assert (jobs.outcomes(), jobs.accepted_once()) == ({"succeeded": JOBS}, True)


def test_a_module_level_app_needs_no_setting(jobs, tmp_path):
    """An application at module level is found by its module, under gunicorn too, without WORKER_APP."""
    with gunicorn(tmp_path, app="tests.end_to_end.apps.module:app", processes=2) as server:
        assert server.result(server.send("string_length", "abc")) == 3


def test_a_factory_without_a_target_is_told_what_to_set(tmp_path):
    """Under gunicorn a factory without WORKER_APP fails its first send, and the log names the setting."""
    with gunicorn(tmp_path, processes=1, FLASK_WORKER_APP="null") as server:
        assert server.post("/send/string_length", ["abc"]).status == 500
        assert "treadle.errors.AppNotFound" in server.output
        assert 'WORKER_APP = "package.module:create_app()"' in server.output


# The elected process dies, or steps aside


def test_another_process_takes_over(jobs, journal, gate, tmp_path):
    """After `kill -9` of the elected web process another is elected, and its jobs are finished."""
    with gunicorn(tmp_path) as server:
        job = server.send_hold(journal, gate)
        reports_of_each_process(server, [])
        first = elected(jobs)
        waiting = [server.send("string_length", "abc") for _ in range(20)]
        killed_at_us = kill_process(first.pid)
        gate.touch()
        assert [server.result(j) for j in (job, *waiting)] == ["open"] + [3] * 20
        second = elected(jobs)
    assert (second.id != first.id, jobs.accepted_once()) == (True, True)
    print(f"elected again after {(second.started_at_us - killed_at_us) / US_PER_S:.3f} s")


def test_a_new_worker_process_takes_the_place_of_the_embedded_one(jobs, tmp_path):
    """When a worker process starts, the embedded worker drains and leaves; when that ends, one is elected again."""
    with gunicorn(tmp_path, processes=2) as server:
        server.result(server.send("string_length", "abc"))
        elected(jobs)
        with program("-m", "flask", "--app", FACTORY, "worker", "run", folder=tmp_path) as worker:
            eventually(lambda: [w.pid for w in jobs.workers()] == [worker.pid], 20)
            sent = [server.send("string_length", "abc") for _ in range(20)]
            assert [server.result(job) for job in sent] == [3] * 20
            [its_id] = [w.id for w in jobs.workers()]
        assert server.result(server.send("string_length", "abc")) == 3
        assert elected(jobs)
    attempts = jobs.attempts()
    assert {attempt.worker_id for job in sent for attempt in attempts[job["id"]]} == {its_id}


def test_a_running_job_ends_before_the_embedded_worker_leaves(jobs, journal, gate, tmp_path):
    """The embedded worker that steps aside lets its running job end, and takes no other."""
    with gunicorn(tmp_path, processes=2) as server:
        job = server.send_hold(journal, gate)
        first = elected(jobs)
        with program("-m", "flask", "--app", FACTORY, "worker", "run", folder=tmp_path):
            eventually(lambda: len(jobs.workers()) == 2, 20)
            assert server.result(server.send("string_length", "abc")) == 3
            gate.touch()
            assert server.result(job) == "open"
            eventually(lambda: jobs.the_worker("process"), 20)
    assert [(a.worker_id, a.outcome) for a in jobs.attempts()[job["id"]]] == [(first.id, "succeeded")]


# Stopping


@pytest.mark.parametrize("options", [(), ("--preload",), ("-k", "gthread", "--threads", "2")])
def test_sigterm_interrupts_with_refund(jobs, journal, gate, tmp_path, options):
    """SIGTERM of gunicorn interrupts the running job: it is ready again, and neither attempt nor crash is counted."""
    with gunicorn(tmp_path, *options, processes=2) as server:
        job = server.send_hold(journal, gate)
        assert server.stop() == 0
    [row] = [row for row in jobs.rows() if row.id == job["id"]]
    assert (row.state, row.attempt, row.crashes) == ("ready", 0, 0)
    assert (jobs.outcomes(), jobs.workers()) == ({"interrupted": 1}, [])
    assert not is_alive(int(lines(journal)[0]))


def test_a_recycled_web_process_interrupts_with_refund(jobs, journal, gate, tmp_path):
    """When gunicorn is told to reload (SIGHUP), the elected process gives its job back, and a new one runs it."""
    with gunicorn(tmp_path, processes=2) as server:
        job = server.send_hold(journal, gate)
        first = elected(jobs)
        server.signal(signal.SIGHUP)
        eventually(lambda: not is_alive(first.pid), 20)
        gate.touch()
        assert server.result(job) == "open"
    [interrupted, succeeded] = jobs.attempts()[job["id"]]
    assert (interrupted.outcome, succeeded.outcome) == ("interrupted", "succeeded")


def test_what_waits_is_done_after_a_restart(jobs, journal, gate, tmp_path):
    """Jobs that were waiting when the server stopped are done once it runs again and has served a request."""
    with gunicorn(tmp_path, processes=1, FLASK_WORKER_CONCURRENCY="1") as server:
        sent = [server.send_hold(journal, gate), *(server.send("string_length", "abc") for _ in range(20))]
    gate.touch()
    with gunicorn(tmp_path, processes=1) as server:
        assert [server.result(job) for job in sent] == ["open"] + [3] * 20
    assert jobs.accepted_once()


def test_gunicorn_may_start_the_worker_itself(jobs, tmp_path):
    """With `post_worker_init = worker.start_embedded` what waits is done before any request comes."""
    with gunicorn(tmp_path, processes=1, FLASK_WORKER_EMBEDDED="never") as server:
        server.send("string_length", "abc")
    config = "python:tests.end_to_end.apps.gunicorn_config"
    with program("-m", "gunicorn", "-b", f"127.0.0.1:{free_port()}", "-c", config, FACTORY, folder=tmp_path):
        eventually(lambda: jobs.have_succeeded(1), 20)


def test_no_process_is_left_behind(jobs, journal, gate, tmp_path):
    """After `kill -9` of gunicorn's whole group no child process of theirs lives on."""
    with gunicorn(tmp_path, processes=2) as server:
        server.send_hold(journal, gate)
        server.kill()
        eventually(lambda: not is_alive(int(lines(journal)[0])), 5)
