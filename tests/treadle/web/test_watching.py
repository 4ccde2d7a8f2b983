"""Held streams, and the one thread that looks for all of them."""

import asyncio
import threading

import pytest
from tests import apps
from tests.helpers import eventually, open_files
from tests.treadle.web.sse import parsed

from treadle.app import Treadle
from treadle.job import Progress, Report
from treadle.testing import store_contract
from treadle.web import looks
from treadle.web.events import Followed, Stream, Told, finite
from treadle.web.held import HEARTBEAT, Mailbox, hang_up, held
from treadle.web.links import Grant
from treadle.web.requests import Asked
from treadle.web.watching import Watcher
from treadle.worker.embedded import at_sigterm


@pytest.fixture
def app():
    return Treadle("memory://", registry=apps.app.registry, mode="collect")


@pytest.fixture
def watcher(app):
    watcher = Watcher(lambda: app.store)
    yield watcher
    eventually(lambda: watcher._thread is None)


def begun(app, *jobs):
    """A stream of these jobs and its first words."""
    followed = [Followed(Grant("t", job.id, frozenset({"read"})), {"status": f"/{job.id}"}) for job in jobs]
    stream = Stream(followed, None, Asked())
    seen = [looks.look_at(job, app._clock.now_us()) for job in jobs]
    return stream, finite(stream, seen, lambda age_s: 0.5).body


def test_a_held_stream_tells_each_change_and_ends_with_its_job(app, watcher):
    """Within a moment of the change, and without being asked."""
    job = app.send_function(apps.count_to, 4)

    async def follow():
        stream, beginning = begun(app, job)
        told = []
        async for piece in held(stream, beginning, {watcher: {job.id}}):
            told += parsed(piece)
            if len(told) == 3:
                await asyncio.to_thread(app.run_pending)
        return told

    told = asyncio.run(asyncio.wait_for(follow(), 20))
    assert [each.event for each in told[:3]] == [None, "state", "progress"]
    assert (told[-1].event, told[-1].json()["state"]) == ("end", "succeeded")
    assert [each.json()["number"] for each in told if each.event == "message"] == [1, 2]


def test_progress_of_a_running_job_is_told_as_it_comes(app, watcher):
    """Each time the newest; who comes late is told the state as it is."""
    job = app.send_function(apps.string_length, "abc")
    claim = store_contract.claim(app.store, 1)[0].claim

    async def follow():
        stream, beginning = begun(app, job.refresh())
        stream_of = held(stream, beginning, {watcher: {job.id}})
        await anext(stream_of)
        found = []
        for done in (1, 2):
            app.store.report([Report(claim, Progress(done, 4))], 0)
            found += [each.json()["done"] for each in parsed(await anext(stream_of)) if each.event == "progress"]
        await stream_of.aclose()
        return found

    assert asyncio.run(asyncio.wait_for(follow(), 20)) == [1, 2]


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request, tmp_path):
    if request.param == "postgres":
        return request.getfixturevalue("postgres_url")
    return f"sqlite:///{tmp_path / 'jobs.sqlite3'}"


def test_what_another_process_writes_is_told(database_url):
    """As soon as the store tells of it; and nothing stays open when the last follower has left."""
    ours, other = (Treadle(database_url, registry=apps.app.registry, mode="collect") for _ in range(2))
    watcher = Watcher(lambda: ours.store)

    async def follow(job):
        stream, beginning = begun(ours, ours.job(job.id))
        pieces = []
        async for piece in held(stream, beginning, {watcher: {job.id}}):
            pieces += parsed(piece)
            await asyncio.to_thread(other.store.cancel, [job.id], 0)
        return pieces

    opened = []
    for _ in range(3):
        job = other.send_function(apps.string_length, "abc")
        last = asyncio.run(asyncio.wait_for(follow(job), 20))[-1]
        eventually(lambda: watcher._thread is None)
        opened.append(len(open_files()))
    assert (last.event, last.json()["state"]) == ("end", "cancelled")
    assert opened[1] == opened[2]
    for app in (ours, other):
        app.close()


def test_two_hundred_followers_share_one_thread_and_one_look(app, watcher):
    """The store sees one waiter, whoever follows what."""
    jobs = [app.send_function(apps.string_length, "abc") for _ in range(4)]
    looked = []
    app.store.jobs, jobs_of = lambda ids: looked.append(len(ids)) or jobs_of(ids), app.store.jobs

    async def follow(job):
        stream, beginning = begun(app, job)
        return [piece async for piece in held(stream, beginning, {watcher: {job.id}})]

    async def follow_all():
        followers = [asyncio.create_task(follow(jobs[n % 4])) for n in range(200)]
        await asyncio.sleep(0)
        threads = sum(thread.name == "treadle-followers" for thread in threading.enumerate())
        await asyncio.to_thread(app.run_pending)
        return threads, await asyncio.gather(*followers)

    threads, told = asyncio.run(asyncio.wait_for(follow_all(), 30))
    assert threads == 1
    assert len(app.store._waiters) <= 1
    assert {parsed(pieces[-1])[-1].event for pieces in told} == {"end"}


def test_a_quiet_stream_has_a_heartbeat_and_an_end(app, watcher, monkeypatch):
    """So no proxy takes it for dead, and each comes back once in a while."""
    monkeypatch.setattr("treadle.web.held.HEARTBEAT_S", 0.01)
    job = app.send_function(apps.string_length, "abc")

    async def follow():
        stream, beginning = begun(app, job)
        return [piece async for piece in held(stream, beginning, {watcher: {job.id}}, lifetime_s=0.05)]

    _, *others = asyncio.run(asyncio.wait_for(follow(), 20))
    assert set(others) == {HEARTBEAT}


def test_who_leaves_is_told_nothing_more_and_the_thread_ends(app, watcher):
    """Also where the coroutine is cancelled, as a server does when a client has gone."""
    job = app.send_function(apps.string_length, "abc")

    async def follow():
        stream, beginning = begun(app, job)
        async for _ in held(stream, beginning, {watcher: {job.id}}):
            await asyncio.Event().wait()

    async def leave():
        task = asyncio.create_task(follow())
        await asyncio.to_thread(eventually, lambda: watcher._feeds)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(leave())
    assert watcher._feeds == []


def test_a_server_that_shuts_down_need_not_wait_for_streams(app, watcher):
    """At SIGTERM they end."""
    job = app.send_function(apps.string_length, "abc")

    async def follow():
        stream, beginning = begun(app, job)
        pieces = []
        async for piece in held(stream, beginning, {watcher: {job.id}}):
            pieces.append(piece)
            asyncio.get_running_loop().call_later(0.01, hang_up)
        return pieces

    assert len(asyncio.run(asyncio.wait_for(follow(), 20))) == 2
    assert hang_up in at_sigterm


def test_a_job_that_is_pruned_ends_for_its_followers(app, watcher):
    """With the words of a job that is not there."""
    job = app.send_function(apps.string_length, "abc")

    async def follow():
        stream, beginning = begun(app, job)
        pieces = []
        async for piece in held(stream, beginning, {watcher: {job.id}}):
            pieces += parsed(piece)
            app.store._tables.jobs.pop(job.id, None)
            with app.store.transaction():
                pass
        return pieces

    last = asyncio.run(asyncio.wait_for(follow(), 20))[-1]
    assert (last.event, last.json()["state"]) == ("end", None)


def test_a_slow_reader_is_told_the_newest_state_and_every_message(app):
    """What comes while nobody takes it is joined, so a mailbox stays small."""
    job = app.send_function(apps.count_to, 4)
    app.run_pending()
    row, messages = app.store.jobs([job.id])[job.id], app.store.messages(job.id)

    async def read():
        mailbox = Mailbox()
        for message in messages:
            mailbox.put({job.id: looks.Look(row, [message], (), 0)})
        await asyncio.sleep(0)
        return await mailbox.take(1)

    [look] = asyncio.run(read())[job.id]
    assert [message.number for message in look.messages] == [1, 2]


def test_a_store_that_is_away_is_looked_at_again(app, watcher, monkeypatch):
    """Followers hear nothing meanwhile, and then what has changed."""
    monkeypatch.setattr("treadle.web.watching.RETRY_S", 0.01)
    job = app.send_function(apps.string_length, "abc")
    told, tries, jobs_of = [], [], app.store.jobs

    def away(ids):
        tries.append(ids)
        if len(tries) < 3:
            raise store_contract.StoreError("away")
        return jobs_of(ids)

    app.store.jobs = away
    with watcher.following({job.id: Told()}, told.append):
        assert eventually(lambda: told)[0][job.id].row.state == "ready"
