"""Another mode for an application that is already made."""

import pytest
from tests import apps

from treadle import State, Treadle
from treadle.errors import ConfigurationError, JobNotFound, SettingsError
from treadle.testing import in_mode


@pytest.fixture
def app(tmp_path):
    made = Treadle(f"sqlite:///{tmp_path / 'jobs.sqlite3'}", registry=apps.app.registry, app="tests.apps:app")
    yield made
    made.close()


def test_the_mode_is_another_inside_and_the_old_one_after(app):
    """A send inside runs at once; one after the block is kept for a worker."""
    with in_mode(app, "immediate"):
        assert app.send_function(apps.upper, "a").state is State.SUCCEEDED
    assert app.send_function(apps.upper, "a").state is State.READY


def test_what_is_collected_is_listed_and_run(app):
    """The block gives the application, with the verbs of tests."""
    with in_mode(app) as jobs:
        jobs.send_function(apps.upper, "a")
        assert [call.args for call in jobs.sent(apps.upper)] == [("a",)]
        assert [job.result() for job in jobs.run_pending()] == ["A"]


def test_the_store_of_the_application_is_not_touched(app):
    """Its jobs are not seen inside, and those of the block are not seen after."""
    kept = app.send_function(apps.upper, "kept")
    with in_mode(app) as jobs:
        sent = jobs.send_function(apps.upper, "sent")
        assert [job.id for job in jobs.run_pending()] == [sent.id]
        with pytest.raises(JobNotFound):
            jobs.job(kept.id)
    assert app.job(kept.id).state is State.READY
    with pytest.raises(JobNotFound):
        app.job(sent.id)


def test_nothing_is_opened_that_the_test_does_not_use(app, tmp_path):
    """A store that was not open before is not opened, so no file appears."""
    with in_mode(app) as jobs:
        jobs.send_function(apps.upper, "a")
    assert list(tmp_path.iterdir()) == []


def test_each_block_begins_empty(app):
    """Also one inside of another, which finds its own jobs again after it."""
    with in_mode(app) as jobs:
        outer = jobs.send_function(apps.upper, "outer")
        with in_mode(app, "immediate"):
            assert app.sent() == []
        assert [call.job_id for call in jobs.sent()] == [outer.id]


def test_other_settings_and_another_place(app, tmp_path):
    """Settings are given by name; with an address jobs are kept there, and are there after the block."""
    url = f"sqlite:///{tmp_path / 'other.sqlite3'}"
    with in_mode(app, "store", database_url=url, queues=("mail",)) as jobs:
        sent = jobs.send_function(apps.upper.options(queue="mail"), "a")
    other = Treadle(url)
    assert other.job(sent.id).queue == "mail"
    other.close()


@pytest.mark.parametrize(
    ("mode", "changes", "error"),
    [
        ("imediate", {}, r"mode='imediate'.*'immediate'"),
        ("collect", {"concurency": 1}, "did you mean 'concurrency'"),
        ("collect", {"database_url": "mysql://x"}, "mysql"),
    ],
)
def test_a_wrong_setting_changes_nothing(app, mode, changes, error):
    """It is refused as anywhere else, and the application stays as it was."""
    before = app.settings
    with pytest.raises(SettingsError, match=error), in_mode(app, mode, **changes):
        pass
    assert app.settings is before


def test_an_error_inside_ends_the_mode_too(app):
    """A test that fails leaves the application as it was."""
    with pytest.raises(ZeroDivisionError), in_mode(app, "immediate"):
        1 / 0
    assert app.settings.mode == "store"


def test_the_pool_for_computing_now_stays(app):
    """It is the same in all modes: what a test has started is not started anew for the next."""
    with in_mode(app) as jobs:
        pool = jobs.pool
    assert app.pool is pool


def test_beside_an_embedded_worker_it_is_refused(app):
    """That would take the jobs of the test, or lose its own store."""
    app.start_embedded()
    with pytest.raises(ConfigurationError, match="embedded to 'never'"), in_mode(app):
        pass
