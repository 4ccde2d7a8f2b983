"""`FlaskWorker`: one object, any number of applications."""

import asyncio

import pytest
from flask import Blueprint, Flask
from quart import Quart
from tests.flask_worker.site import (
    count_to,
    create_plain_app,
    double_soon,
    fail,
    fail_twice,
    reject,
    snooze,
    string_length,
    worker,
)

from flask_worker import FlaskWorker
from treadle.errors import (
    ConfigurationError,
    InvalidTask,
    JobCancelled,
    JobFailed,
    JobNotFound,
    NotATask,
    PayloadError,
    SettingsError,
    WouldDeadlock,
)


def not_registered_here():
    return None


# Making one


def test_an_app_may_be_given_at_once():
    """`FlaskWorker(app)` is `FlaskWorker()` and `init_app(app)`."""
    app = Flask(__name__)
    FlaskWorker(app)
    assert "worker" in app.extensions


def test_a_factory_serves_any_number_of_apps(make_app):
    """One FlaskWorker serves each application that a factory makes."""
    first, second = make_app(), make_app()
    assert first.extensions["worker"] is not second.extensions["worker"]


def test_init_app_opens_nothing(tmp_path):
    """Neither the instance folder nor the store is there before something is sent."""
    app = Flask(__name__, instance_path=str(tmp_path / "instance"))
    FlaskWorker(app)
    assert not (tmp_path / "instance").exists()


def test_the_store_is_in_the_instance_folder(tmp_path):
    """Without WORKER_DATABASE_URL jobs are kept in `treadle.sqlite3` in the instance folder, which is made."""
    app = Flask(__name__, instance_path=str(tmp_path / "instance"))
    FlaskWorker(app)
    app.extensions["worker"].store.close()
    assert (tmp_path / "instance" / "treadle.sqlite3").exists()


def test_a_second_init_app_is_refused(app):
    """To call init_app twice for one application is an error that names the application."""
    with pytest.raises(ConfigurationError, match=rf"{app.name} has a FlaskWorker already"):
        FlaskWorker(app)


def test_an_unknown_key_is_answered_with_the_near_one():
    """An unknown WORKER_ key is refused at start, with the key that was probably meant."""
    app = Flask(__name__)
    app.config["WORKER_CONCURENCY"] = 2
    with pytest.raises(SettingsError, match="unknown setting 'WORKER_CONCURENCY', did you mean 'WORKER_CONCURRENCY'"):
        FlaskWorker(app)


def test_a_wrong_value_is_refused_at_start():
    """A wrong value is refused at start, with the key, the value, and what is allowed."""
    app = Flask(__name__)
    app.config["WORKER_MODE"] = "imediate"
    with pytest.raises(SettingsError, match=r"WORKER_MODE='imediate'.*'immediate'"):
        FlaskWorker(app)


def test_an_app_that_was_refused_may_be_tried_again():
    """A wrong setting leaves nothing behind: once it is put right, init_app works."""
    app = Flask(__name__)
    app.config["WORKER_MODE"] = "imediate"
    with pytest.raises(SettingsError):
        FlaskWorker(app)
    app.config["WORKER_MODE"] = "immediate"
    FlaskWorker(app)


def test_an_app_with_a_blueprint_of_our_name_may_have_ours_under_another(app):
    """Flask refuses the second `worker`; after that nothing of ours is left behind, so a setting puts it right."""
    site = Flask("has-workers")
    site.register_blueprint(Blueprint("worker", __name__))
    own = FlaskWorker()
    with pytest.raises(ValueError, match="'worker' is already registered"):
        own.init_app(site)
    site.config["WORKER_URL_PREFIX"] = None
    own.init_app(site)
    site.register_blueprint(own.blueprint, name="jobs")


def test_what_the_constructor_was_given_holds_for_init_app_too():
    """For each application that it is called for."""
    own = FlaskWorker(identify=lambda: "ada")
    for app in (Flask("one"), Flask("other")):
        own.init_app(app)
        assert app.extensions["worker"].identify() == "ada"


def test_keys_of_others_are_left_alone():
    """A config key that does not begin with WORKER_ is none of our business."""
    app = Flask(__name__)
    app.config["WORKERS_DAY"] = "1 May"
    FlaskWorker(app)


def test_what_is_no_flask_application_is_refused():
    """An application of Quart has the same methods, and nothing would work; the error says what to use there."""
    with pytest.raises(ConfigurationError, match=r"Quart is not Flask.*use treadle\.Treadle"):
        FlaskWorker(Quart("quart"))


# Two apps


def test_two_apps_share_no_jobs(make_app):
    """A job of one application is not found in another of the same process."""
    one, other = make_app(), make_app()
    with one.app_context():
        job = worker.send_function(string_length, "abc")
    with other.app_context(), pytest.raises(JobNotFound):
        worker.job(job.id)


def test_two_apps_share_no_settings(make_app):
    """Each application has its own settings: here one runs at once what the other keeps."""
    for mode, state in (("immediate", "succeeded"), ("collect", "ready")):
        with make_app(WORKER_MODE=mode).app_context():
            assert worker.send_function(string_length, "abc").state == state


def test_a_task_of_another_worker_is_refused(app):
    """A task of a FlaskWorker that does not serve this application cannot be sent."""
    other = FlaskWorker()
    with pytest.raises(NotATask, match="another application"):
        worker.send_function(other.task(not_registered_here))


# Where there is no app


@pytest.mark.parametrize(
    "use",
    [
        lambda: worker.send_function(string_length, "abc"),
        lambda: worker.job("1"),
        lambda: worker.pool,
        worker.run_pending,
        lambda: asyncio.run(worker.asend_function(string_length, "abc")),
    ],
)
def test_outside_of_a_context_flask_explains(use):
    """Outside of an application context every verb raises Flask's own error, which says what to do."""
    with pytest.raises(RuntimeError, match="application context"):
        use()


def test_an_app_without_a_worker_is_told_what_to_call():
    """In an application that was never initialised the error names init_app."""
    with (
        create_plain_app().app_context(),
        pytest.raises(ConfigurationError, match=r"has no FlaskWorker: call worker\.init_app"),
    ):
        worker.send_function(string_length, "abc")


# Tasks


def test_the_decorated_name_stays_callable():
    """A task called like a function is the function, with no application around."""
    assert string_length("abc") == 3
    assert asyncio.run(double_soon(4)) == 8


def test_a_task_that_takes_a_context_stays_callable():
    """In a direct call the context is there and reports to nobody."""
    assert count_to(3) == 3


@pytest.mark.parametrize("what", [len, "string_length", None, lambda text: len(text)])
def test_what_is_no_task_is_not_sent(app, what):
    """A function that is not a task is refused with how to make it one, and nothing is sent."""
    with pytest.raises(NotATask, match="decorate it with @task"):
        worker.send_function(what, "abc")
    assert worker.sent() == []


def test_arguments_that_do_not_fit_are_refused_at_the_call(app):
    """Arguments that do not fit the signature are a TypeError before anything is kept."""
    with pytest.raises(TypeError, match=r"string_length.*too many positional arguments"):
        worker.send_function(string_length, "abc", "def")
    assert worker.sent() == []


def test_arguments_that_json_cannot_carry_are_refused(app):
    """An argument that cannot be kept is a PayloadError with the path to the value."""
    with pytest.raises(PayloadError, match=r"args\[0\]\[1\]"):
        worker.send_function(string_length, [1, {2}])
    assert worker.sent() == []


# Sending and looking


def test_send_and_result(app):
    """A job that was sent and run has the state succeeded and the function's result."""
    job = worker.send_function(string_length, "abc")
    assert job.state == "ready"
    worker.run_pending()
    assert (worker.job(job.id).state, job.result()) == ("succeeded", 3)


def test_a_job_with_a_key_is_sent_once(app):
    """While it has not ended, who sends another gets it."""
    keyed = string_length.options(unique_key="length")
    job = worker.send_function(keyed, "abc")
    assert worker.send_function(keyed, "other").id == job.id
    worker.run_pending()
    assert worker.send_function(keyed, "other").id != job.id


def test_progress_and_messages(app):
    """What a running job reports is on the job."""
    worker.send_function(count_to, 4)
    [job] = worker.run_pending()
    assert (job.progress.done, job.progress.total, job.progress.message) == (4, 4, "step 4")
    assert [message.body for message in job.messages] == [{"counted": 4}]


def test_a_failed_job_tells_why(app):
    """result() of a failed job raises JobFailed, whose cause holds the remote traceback."""
    worker.send_function(fail, "no such file")
    [job] = worker.run_pending()
    with pytest.raises(JobFailed, match="ValueError: no such file") as caught:
        job.result()
    assert "Traceback" in str(caught.value.__cause__)


def test_attempts_are_kept(app):
    """Each run of a job is an attempt with its own outcome."""
    job = worker.send_function(fail_twice)
    while job.refresh().state != "failed":
        worker.run_pending()
    assert [(a.number, a.outcome) for a in job.attempts] == [(1, "raised"), (2, "raised")]


def test_cancel_of_a_job_not_started(app):
    """A job that has not started is cancelled, never runs, and has no result."""
    job = worker.send_function(string_length, "abc")
    assert job.cancel()
    assert worker.run_pending() == []
    with pytest.raises(JobCancelled):
        job.result()


def test_a_job_carries_the_limits_of_its_task(app):
    """Set at decoration or for one send."""
    limited = string_length.options(timeout_s=5, memory_mb=100, cores=2)
    assert worker.send_function(limited, "abc").refresh().row.limits == {"timeout_s": 5, "memory_mb": 100, "cores": 2}


def test_cancel_of_a_finished_job_does_nothing(app):
    """A job that has ended cannot be cancelled, and stays as it is."""
    worker.send_function(string_length, "abc")
    [job] = worker.run_pending()
    assert not job.cancel()
    assert job.refresh().state == "succeeded"


@pytest.mark.parametrize("job_id", ["", "nowhere", "01890a5d-ac96-774b-bcce-b302099a8057", "\0", None, 7])
def test_an_unknown_id_is_not_found(app, job_id):
    """An id that no job has, or no job can have, raises JobNotFound."""
    with pytest.raises(JobNotFound):
        worker.job(job_id)


def test_jobs_lists_those_that_fit(app):
    """`jobs` lists the newest that fit, and `send_many` sends many in order."""
    sent = worker.send_many([string_length.bind("a"), string_length.bind("bc")])
    worker.send_function(fail, "x")
    assert {job.id for job in worker.jobs(task=string_length.name)} == {job.id for job in sent}
    assert worker.jobs(state="failed") == []


def test_send_map_has_one_result(app):
    """A `send_map` is one job, whose result is the list of all results in order."""
    whole = worker.send_map(string_length, ["a", "bc", "def"], parts=2)
    worker.run_pending()
    assert whole.result() == [1, 2, 3]


def test_an_async_task_runs(app):
    """An async function is sent like any other."""
    worker.send_function(double_soon, 4)
    [job] = worker.run_pending()
    assert job.result() == 8


def test_options_of_one_send(app):
    """`task.options` changes a copy for one send; the task itself stays as it was."""
    job = worker.send_function(string_length.options(queue="mail", labels={"tenant": "acme"}), "abc")
    assert (job.queue, job.labels) == ("mail", {"tenant": "acme"})
    assert worker.send_function(string_length, "abc").queue == "default"


# The modes of users' tests


def test_immediate_runs_inside_the_send(make_app):
    """In mode immediate the job has run when send_function returns."""
    with make_app(WORKER_MODE="immediate").app_context():
        job = worker.send_function(string_length, "abc")
        assert (job.state, job.result()) == ("succeeded", 3)


def test_what_a_task_raises_is_kept_in_the_modes_too(make_app):
    """In mode immediate a snooze leaves the job waiting, and a rejection fails it."""
    with make_app(WORKER_MODE="immediate").app_context():
        assert worker.send_function(snooze, 0).state == "scheduled"
        assert str(worker.send_function(reject, "no such account").error) == "treadle.errors.Reject: no such account"


def test_immediate_keeps_a_failure(make_app):
    """In mode immediate a function that raises fails its job, not the send."""
    with make_app(WORKER_MODE="immediate").app_context():
        assert worker.send_function(fail, "x").state == "failed"


def test_collect_runs_on_demand(app):
    """In mode collect a job runs when run_pending is called, once, and is returned as it ended."""
    worker.send_function(string_length, "abc")
    assert [job.state for job in worker.run_pending()] == ["succeeded"]
    assert worker.run_pending() == []


def test_sent_lists_the_calls(app):
    """`sent` lists the calls of a task, or of all, with their arguments, oldest first."""
    worker.send_function(string_length, "abc")
    worker.send_function(fail, message="x")
    assert [(call.args, call.kwargs) for call in worker.sent()] == [(("abc",), {}), ((), {"message": "x"})]
    assert [call.task for call in worker.sent(string_length)] == [string_length.name]


def test_store_keeps_the_job_in_the_file(make_app, tmp_path):
    """In mode store the job is in the file, where another application object finds and runs it."""
    url = f"sqlite:///{tmp_path / 'jobs.sqlite3'}"
    with make_app(WORKER_MODE="store", WORKER_DATABASE_URL=url).app_context():
        job = worker.send_function(string_length, "abc")
    with make_app(WORKER_MODE="store", WORKER_DATABASE_URL=url).app_context():
        assert [ran.id for ran in worker.run_pending()] == [job.id]
        assert worker.job(job.id).result() == 3


def test_waiting_where_nobody_runs_is_refused(app):
    """In mode collect `result()` of a job that has not run raises WouldDeadlock and names run_pending."""
    with pytest.raises(WouldDeadlock, match="run_pending"):
        worker.send_function(string_length, "abc").result()


# Computing now


def test_pool_map_uses_other_processes(make_app):
    """`worker.pool.map` runs plain functions and tasks in child processes, and gives results in order."""
    with make_app(WORKER_CONCURRENCY=1).app_context():
        assert list(worker.pool.map(len, ["a", "bc"])) == [1, 2]
        assert list(worker.pool.map(string_length, ["a", "bc"])) == [1, 2]


def test_each_app_has_its_own_pool(make_app):
    """Two applications do not share a pool, and one application has only one."""
    one, other = make_app(), make_app()
    with one.app_context():
        pool = worker.pool
        assert worker.pool is pool
    with other.app_context():
        assert worker.pool is not pool


# For coroutines


def test_the_async_twins_do_the_same(app):
    """Each verb has a twin to await, which works on the current application."""

    async def use():
        job = await worker.asend_function(string_length, "abc")
        await worker.asend_many([string_length.bind("a")])
        whole = await worker.asend_map(string_length, ["a", "bc"])
        await asyncio.to_thread(worker.run_pending)
        assert (await worker.ajob(job.id)).state == "succeeded"
        assert len(await worker.ajobs(task=string_length.name, state="succeeded")) >= 2
        return await job.aresult(), await whole.aresult()

    assert asyncio.run(use()) == (3, [1, 2])


def test_result_in_a_running_loop_is_refused(app):
    """`result()` in a coroutine would stop the loop: it is refused, and names the twin."""
    job = worker.send_function(string_length, "abc")

    async def use():
        job.result()

    with pytest.raises(WouldDeadlock, match="aresult"):
        asyncio.run(use())


# The embedded worker's place


def test_a_test_runner_starts_no_embedded_worker(make_app, tmp_path):
    """A request under a test runner starts no worker, whatever the mode."""
    url = f"sqlite:///{tmp_path / 'jobs.sqlite3'}"
    app = make_app(WORKER_MODE="store", WORKER_DATABASE_URL=url, TESTING=False, WORKER_APP="x:app")
    assert app.test_client().get("/ping").text == "ok"
    assert app.extensions["worker"].store.workers() == []


# Schedules


def test_a_schedule_may_be_declared_before_any_app_exists(make_app):
    """Each application that a factory makes has it, and one that the factory itself declares is there once."""
    worker = FlaskWorker()
    cleanup = worker.task(string_length.function)
    worker.schedule("0 3 * * *", cleanup.bind("abc"), timezone="Europe/Berlin", name="nightly")
    for _ in range(2):
        app = Flask("scheduled")
        worker.init_app(app)
        worker.schedule("0 4 * * *", cleanup.bind("abc"), name="early")
        assert [schedule.name for schedule in app.extensions["worker"].schedules] == ["nightly", "early"]


def test_a_schedule_of_another_extension_is_refused():
    """Its worker would not know the task."""
    with pytest.raises(NotATask, match=r"site\.string_length is a task of another FlaskWorker"):
        FlaskWorker().schedule("0 3 * * *", string_length.bind("abc"))


def test_a_worker_does_not_start_with_a_schedule_that_could_not_be_sent(tmp_path):
    """What only settings can tell is told when the worker starts, and not at midnight."""
    worker = FlaskWorker()
    cleanup = worker.task(string_length.function)
    worker.schedule("0 3 * * *", cleanup.options(queue="mial").bind("abc"))
    app = Flask("scheduled", instance_path=str(tmp_path))
    app.config["WORKER_QUEUES"] = ["mail"]
    worker.init_app(app)
    with pytest.raises(InvalidTask, match="unknown queue 'mial', did you mean 'mail'"):
        app.extensions["worker"].worker()


# Keeping


def test_jobs_are_forgotten_by_their_labels(app):
    """As `Treadle.forget` does it."""
    with app.app_context():
        worker.send_function(string_length.options(labels={"tenant": "acme"}), "abc")
        worker.run_pending()
        assert worker.forget(labels={"tenant": "acme"}).forgotten == 1


def test_queues_are_paused_and_resumed(app):
    """Of the current application."""
    with app.app_context():
        worker.pause("mail")
        worker.send_function(string_length.options(queue="mail"), "abc")
        assert (list(worker.paused()), worker.run_pending()) == (["mail"], [])
        worker.resume("mail")
        assert (worker.paused(), len(worker.run_pending())) == ({}, 1)
