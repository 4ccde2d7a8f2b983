"""The store in a PostgreSQL database."""

import contextlib
import select
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
from tests import apps
from tests.helpers import PATIENCE_S, eventually, jobs_app, python, working

from treadle.errors import StoreError, StoreLocked, StoreUnavailable
from treadle.job import Failure, Job, Kind, Outcome, Progress, Report
from treadle.states import State
from treadle.store.contract import Store
from treadle.store.keys import Looks
from treadle.store.postgres import TRIES, TRIES_FOR_KEYS, PostgresStore
from treadle.store.postgres_address import parse
from treadle.store.postgres_server import Session
from treadle.store.queries import Queries
from treadle.testing.store_contract import (
    NOW_US,
    StoreContract,
    claim,
    ending,
    finish,
    found,
    make_job,
    make_worker,
    read,
)


class TestPostgresStore(StoreContract):
    @pytest.fixture(autouse=True)
    def _database(self, postgres_url: str) -> None:
        self.url = postgres_url

    def make_store(self) -> Store:
        return PostgresStore(parse(self.url))

    def reopen(self, store: Store) -> Store:
        return self.make_store()


class TestPostgresStoreThatPolls(TestPostgresStore):
    """As it is used behind PgBouncer."""

    def make_store(self) -> Store:
        return PostgresStore(parse(self.url), listen=False, notify=False)


class TestPostgresStoreThatCopies(TestPostgresStore):
    """Each enqueue of more than one job comes by COPY, as a large one does."""

    @pytest.fixture(autouse=True)
    def _always_copy(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("treadle.store.postgres.COPY_FROM", 2)


@pytest.fixture
def store(postgres_url: str) -> Iterator[PostgresStore]:
    store = PostgresStore(parse(postgres_url))
    store.prepare()
    yield store
    store.close()


@pytest.fixture
def raw(store: PostgresStore, postgres_url: str) -> Iterator["psycopg.Connection[tuple[Any, ...]]"]:
    """A connection that is not ours, to a store with one ready and one running job."""
    store.enqueue([make_job(), make_job()])
    claim(store, 1)
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        yield connection


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE treadle_job SET state = 'done'",
        "UPDATE treadle_job SET state = 'succeeded' WHERE state = 'ready'",
        "UPDATE treadle_job SET finished_at = 1 WHERE state = 'ready'",
        "UPDATE treadle_job SET state = 'running', token = 1 WHERE state = 'ready'",
        "UPDATE treadle_job SET worker_id = 'w' WHERE state = 'ready'",
        "UPDATE treadle_job SET token = 0 WHERE state = 'running'",
        "UPDATE treadle_job SET result = '1' WHERE state = 'running'",
        "UPDATE treadle_job SET priority = 101",
        "UPDATE treadle_job SET kind = 'group'",
        "UPDATE treadle_job SET id = '' WHERE state = 'ready'",
        "INSERT INTO treadle_attempt VALUES ('nobody', 1, 1, 'w', 1, 1, 'succeeded', NULL, NULL, NULL)",
        "INSERT INTO treadle_worker VALUES ('w', 'h', 1, 'thread', '[]', 1, 1, 1)",
        "UPDATE treadle_job SET unique_key = 'k'",
        "UPDATE treadle_job SET concurrency_key = 'k', state = 'running', token = 1, worker_id = 'w'",
    ],
)
def test_the_database_guards_what_must_never_be_false(
    raw: "psycopg.Connection[tuple[Any, ...]]", statement: str
) -> None:
    """Whoever writes, and however: a finished job has an end, a running one a worker and a token."""
    with pytest.raises(psycopg.IntegrityError):
        raw.execute(statement.encode())


@pytest.mark.parametrize("count", [1, 2, 600], ids=["one", "insert", "copy"])
@pytest.mark.parametrize(
    "fields",
    [{"priority": 101}, {"run_at_us": 2**63}, {"run_at_us": 2**70}, {"queue": "\udcff"}, {"queue": "\0"},
     {"labels": {"a": "\0"}}],
    ids=["constraint", "large", "huge", "surrogate", "nul", "nul in a label"],
)  # fmt: skip
def test_what_the_database_cannot_keep_is_a_store_error(
    store: PostgresStore, fields: dict[str, object], count: int
) -> None:
    """Never an error of the driver; nothing of the list is kept."""
    with pytest.raises(StoreError):
        store.enqueue([*(make_job() for _ in range(count - 1)), make_job(**fields)])
    assert found(store) == []


def test_what_a_run_tells_is_kept_whatever_is_in_it(store: PostgresStore) -> None:
    """PostgreSQL has no NUL in its texts; a failure that has one must not keep its batch from being written."""
    store.enqueue([make_job(max_attempts=2), make_job()])
    bad, good = claim(store, 2)
    store.report([Report(bad.claim, Progress(1, 2, "a\0b"), ((NOW_US, '"\\u0000"'),))], NOW_US)
    failure = Failure("builtins.ValueError", "no \0 here", "\0")
    store.finish([ending(bad, Outcome.raised(failure, None)), ending(good, Outcome.succeeded('"\\u0000"'))])
    assert read(store, bad).progress.message == "a\ufffdb"
    assert store.messages(bad.id)[0].body == "\0"
    assert read(store, bad).failure == failure
    assert store.attempts([bad.id])[bad.id][0].failure == Failure("builtins.ValueError", "no \ufffd here", "\ufffd")
    assert read(store, good).result == '"\\u0000"'


def test_two_processes_claim_each_job_once(store: PostgresStore, postgres_url: str) -> None:
    """Two processes that claim at once share the jobs without loss and without a duplicate."""
    program = (
        "import sys; from treadle.store.postgres import PostgresStore\n"
        "from treadle.store.postgres_address import parse\n"
        "from treadle.testing.store_contract import claim\n"
        "store = PostgresStore(parse(sys.argv[1])); sys.stdin.read()\n"
        "while jobs := claim(store, 3): print(*(job.id for job in jobs), sep='\\n')\n"
        "store.close()"
    )
    jobs = [make_job() for _ in range(600)]
    store.enqueue(jobs)
    with python("-c", program, postgres_url, stdin=-1) as one, python("-c", program, postgres_url, stdin=-1) as other:
        shares = [process.communicate()[0].split() for process in _together(one, other)]
    assert sorted(shares[0] + shares[1]) == sorted(job.id for job in jobs)


def _together(*processes: Any) -> Any:
    """Let them begin at the same moment."""
    for process in processes:
        process.stdin.close()
        process.stdin = None
    return processes


def test_a_claim_does_not_wait_for_another(store: PostgresStore, postgres_url: str) -> None:
    """What a transaction elsewhere is claiming is skipped."""
    store.enqueue([make_job(priority=1), make_job()])
    with _other(postgres_url) as other, other.transaction():
        (first,) = claim(other, 1, worker_id="other")
        (second,) = claim(store, 5)
    assert first.priority == 1
    assert second.id != first.id


@pytest.mark.parametrize(
    ("outcome", "state"),
    [(Outcome.succeeded("[1]"), State.READY), (Outcome.raised(Failure("E", "no"), None), State.FAILED)],
    ids=["succeeded", "failed"],
)
def test_the_last_two_parts_may_end_at_once(
    store: PostgresStore, postgres_url: str, outcome: Outcome, state: State
) -> None:
    """Two workers that commit at the same moment: neither sees the other's end, and yet the whole is unblocked."""
    whole, _ = StoreContract()._group(store, 2)
    first, second = claim(store, 2)
    with _other(postgres_url) as other:
        with store.transaction():
            finish(store, first, outcome)
            thread = _started(lambda: finish(other, second, outcome))
            eventually(lambda: not thread.is_alive() or _waits_for_a_lock(postgres_url))
        thread.join(PATIENCE_S)
    assert read(store, whole).state is state
    assert read(store, whole).progress == Progress(2 if state is State.READY else 0, 2)


def test_a_whole_is_cancelled_while_its_parts_end(store: PostgresStore, postgres_url: str) -> None:
    """Both lock the parts before the whole, so that neither waits for the other for ever."""
    whole, _ = StoreContract()._group(store, 2)
    first, _ = claim(store, 2)
    with _other(postgres_url) as other:
        with store.transaction():
            finish(store, first, Outcome.succeeded("[1]"))
            thread = _started(lambda: other.cancel([whole.id], NOW_US))
            eventually(lambda: _waits_for_a_lock(postgres_url))
            assert read(store, whole).progress == Progress(1, 2)
        thread.join(PATIENCE_S)
    assert read(store, whole).state is State.CANCELLED
    assert len(store.cancel_requests("worker")) == 1


def test_what_is_sent_once_more_while_old_jobs_are_pruned_stays_whole(store: PostgresStore, postgres_url: str) -> None:
    """A part that had succeeded is kept, although its whole had ended when the pruning looked."""
    whole, _ = StoreContract()._group(store, 2)
    good, bad = claim(store, 2)
    finish(store, good, Outcome.succeeded("[1]"))
    finish(store, bad, Outcome.raised(Failure("E", "no"), None))
    pruned: list[int] = []
    with _other(postgres_url) as other:
        with store.transaction():
            assert store.redrive([whole.id], NOW_US) == {whole.id}
            thread = _started(lambda: pruned.append(other.prune(NOW_US + 1, NOW_US + 1, 9)))
            eventually(lambda: not thread.is_alive() or _waits_for_a_lock(postgres_url))
        thread.join(PATIENCE_S)
    assert pruned == [0]
    assert len(store.part_results([whole.id])[whole.id]) == 1


def test_a_key_that_is_taken_while_a_job_is_sent_once_more_is_seen(store: PostgresStore, postgres_url: str) -> None:
    """Who sends another meanwhile wins; the caller's transaction goes on."""
    old, new, more = make_job(unique_key="k"), make_job(unique_key="k"), make_job()
    store.enqueue([old])
    store.cancel([old.id], NOW_US)
    sent: list[object] = []

    def redrive(other: PostgresStore) -> None:
        with other.transaction():
            sent.append(other.redrive([old.id], NOW_US))
            other.enqueue([more])

    with _other(postgres_url) as other:
        with store.transaction():
            store.enqueue([new])
            thread = _started(lambda: redrive(other))
            eventually(lambda: _waits_for_a_lock(postgres_url))
        thread.join(PATIENCE_S)
    assert sent == [set()]
    assert store.job(more.id) is not None


def test_keys_that_are_taken_one_after_the_other_while_jobs_are_sent_once_more_are_seen(
    store: PostgresStore, postgres_url: str
) -> None:
    """However often somebody is quicker."""
    old = [make_job(id=f"job-{key}", unique_key=key) for key in "ab"]
    store.enqueue(old)
    store.cancel([job.id for job in old], NOW_US)
    sent: list[object] = []
    with _other(postgres_url) as second, _other(postgres_url) as third:
        with second.transaction():
            second.enqueue([make_job(unique_key="b")])
            with store.transaction():
                store.enqueue([make_job(unique_key="a")])
                thread = _started(lambda: sent.append(third.redrive([job.id for job in old], NOW_US)))
                eventually(lambda: _waits_for_a_lock(postgres_url))
            eventually(lambda: _waits_for_a_lock(postgres_url))
        thread.join(PATIENCE_S)
    assert sent == [set()]


def test_the_parts_of_a_whole_that_is_sent_once_more_while_it_is_cancelled_are_cancelled_too(
    store: PostgresStore, postgres_url: str
) -> None:
    """Whoever comes first: a cancelled whole leaves no part that runs for nothing."""
    whole = make_job(kind=Kind.WHOLE, state=State.BLOCKED)
    part, held = make_job(kind=Kind.PART, group_id=whole.id), make_job()
    store.enqueue([part, whole, held])
    store.cancel([whole.id], NOW_US)
    with _other(postgres_url) as other:
        with store.transaction():
            store.cancel([held.id], NOW_US)
            # It has seen no open part of the whole when it waits for the other job.
            thread = _started(lambda: other.cancel([held.id, whole.id], NOW_US))
            eventually(lambda: _waits_for_a_lock(postgres_url))
            with _other(postgres_url) as third:
                assert third.redrive([whole.id], NOW_US) == {whole.id}
        thread.join(PATIENCE_S)
    assert {row.state for row in store.jobs([whole.id, part.id]).values()} == {State.CANCELLED}


def test_who_waits_for_the_parts_of_an_expired_whole_holds_no_other_job(
    store: PostgresStore, postgres_url: str
) -> None:
    """Else who holds such a part, and waits for the other job, would wait for ever."""
    whole = make_job(kind=Kind.WHOLE, state=State.BLOCKED, expires_at_us=NOW_US)
    part, late = make_job(kind=Kind.PART, group_id=whole.id), make_job(expires_at_us=NOW_US)
    store.enqueue([part, whole, late])
    with _other(postgres_url) as other, psycopg.connect(postgres_url) as raw:
        with store.transaction():
            store.cancel([part.id], NOW_US)
            thread = _started(lambda: other.expire(NOW_US, 9))
            eventually(lambda: _waits_for_a_lock(postgres_url))
            free = raw.execute("SELECT id FROM treadle_job WHERE id = %s FOR UPDATE SKIP LOCKED", [late.id]).fetchall()
            raw.rollback()
        thread.join(PATIENCE_S)
    assert free == [(late.id,)]
    assert read(store, late).state is State.FAILED


def test_two_rescuers_at_once_count_one_crash(store: PostgresStore, postgres_url: str) -> None:
    """The second one waits for the first, and finds nothing."""
    store.register(make_worker("worker"))
    store.enqueue([make_job()])
    (job,) = claim(store, 1)
    found_by_other: list[object] = []
    with _other(postgres_url) as other:
        with store.transaction():
            assert len(store.rescue(["worker"], NOW_US)) == 1
            thread = _started(lambda: found_by_other.append(other.rescue(["worker"], NOW_US)))
            eventually(lambda: _waits_for_a_lock(postgres_url))
        thread.join(PATIENCE_S)
    assert found_by_other == [[]]
    assert read(store, job).crashes == 1


@pytest.mark.parametrize("is_kept", [True, False], ids=["commit", "rollback"])
def test_a_key_that_somebody_just_takes_is_waited_for(store: PostgresStore, postgres_url: str, is_kept: bool) -> None:
    """Whoever commits first has it; the other one gets that job, or, after a rollback, its own."""
    first, second = make_job(unique_key="k"), make_job(unique_key="k")
    stand_ins: dict[str, Job] = {}
    with _other(postgres_url) as other:
        with contextlib.suppress(KeyError), store.transaction():
            store.enqueue([first])
            thread = _started(lambda: stand_ins.update(other.enqueue([second]).stand_ins))
            eventually(lambda: _waits_for_a_lock(postgres_url))
            if not is_kept:
                raise KeyError
        thread.join(PATIENCE_S)
    assert {id_: job.id for id_, job in stand_ins.items()} == ({second.id: first.id} if is_kept else {})
    assert found(store) == [first.id if is_kept else second.id]


class Hindered(PostgresStore):
    """Who has a key ends each time before it is looked for, and another may take the key after that."""

    end: Callable[[], object]
    take: Callable[[], object] = staticmethod(lambda: None)

    def _twins(self, session: Session, jobs: Sequence[Job]) -> Any:
        self.end()
        twins = super()._twins(session, jobs)
        self.take()
        return twins


@pytest.fixture
def hindered(store: PostgresStore, postgres_url: str) -> Iterator[Hindered]:
    """Another opening of a store that has a job with the key `k`."""
    store.enqueue([make_job(unique_key="k")])
    hindered = Hindered(parse(postgres_url))
    hindered.end = lambda: store.cancel(found(store, state=State.READY), NOW_US)
    yield hindered
    hindered.close()


def test_a_key_that_is_freed_meanwhile_is_tried_again(store: PostgresStore, hindered: Hindered) -> None:
    """Between the insertion that the key hindered and the look for who has it: the new job is kept."""
    new = make_job(unique_key="k")
    assert hindered.enqueue([new]).stand_ins == {}
    assert found(store, state=State.READY) == [new.id]


def test_a_key_that_is_taken_and_freed_all_the_time_is_told(store: PostgresStore, hindered: Hindered) -> None:
    """There is an end to the tries, and nothing is kept."""
    new = make_job(unique_key="k")
    hindered.take = lambda: store.enqueue([make_job(unique_key="k")])
    with pytest.raises(StoreLocked, match="jobs with the unique key 'k' begin and end all the time: try again"):
        hindered.enqueue([make_job(), new])
    assert store.job(new.id) is None
    assert len(found(store, limit=1000)) == TRIES * TRIES_FOR_KEYS + 1


def test_two_claims_at_once_take_one_job_of_a_key(store: PostgresStore, postgres_url: str) -> None:
    """Though each sees another one as the most urgent; neither waits, nor fails."""
    store.enqueue([make_job(concurrency_key="k")])
    urgent, plain = make_job(concurrency_key="k", priority=9), make_job()
    with _other(postgres_url) as other:
        with other.transaction():
            (first,) = claim(other, 1, worker_id="other")
            store.enqueue([urgent, plain])
            assert [job.id for job in claim(store, 5)] == [plain.id]
        assert claim(store, 5) == []
        finish(other, first, Outcome.succeeded("1"))
    assert [job.id for job in claim(store, 5)] == [urgent.id]


def test_what_another_is_quicker_with_is_replaced(store: PostgresStore, postgres_url: str) -> None:
    """A claim that is hindered by one elsewhere takes what comes after it."""
    jobs = [make_job(concurrency_key=key, priority=9 - place) for place, key in enumerate(["a", None, "b", None])]
    store.enqueue(jobs)
    with _other(postgres_url) as other, other.transaction():
        assert len(claim(other, 2, worker_id="other")) == 2
        assert [job.id for job in claim(store, 2)] == [job.id for job in jobs[2:]]


def test_a_claim_that_is_not_filled_misses_no_key(store: PostgresStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a worker's commit a filled one is not followed by a look for keys, for a moment; where it is not, it looks."""
    monkeypatch.setattr(store, "_looks", Looks(3600))
    store.enqueue([make_job(run_at_us=NOW_US + place) for place in range(4)])
    keyed = make_job(concurrency_key="k", priority=1)
    with store.transaction():
        assert len(claim(store, 1)) == 1
        store.enqueue([keyed])
        assert [job.concurrency_key for job in claim(store, 2)] == [None, None]
        assert [job.concurrency_key for job in claim(store, 5)] == [None, "k"]
        store.enqueue([make_job(concurrency_key="l")])
        assert len(claim(store, 1)) == 1


class Meanwhile:
    """The statements of a store; before it locks the keys that it has found free something else happens."""

    def __init__(self, statements: Queries, step: Callable[[], object]) -> None:
        self._statements = statements
        self._step = step

    def __getitem__(self, name: str) -> str:
        if name == "lock_keys":
            self._step()
        return self._statements[name]


def test_a_key_that_is_taken_meanwhile_is_seen(
    store: PostgresStore, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a claim that has committed since, of another job with that key."""
    store.enqueue([make_job(concurrency_key="k", queue=queue) for queue in ("default", "mail")])
    with _other(postgres_url) as other:
        monkeypatch.setattr(store, "_sql", Meanwhile(store._sql, lambda: claim(other, 1, queues=["mail"])))
        assert claim(store, 1, queues=["default"]) == []
        assert len(found(store, state=State.RUNNING)) == 1


def test_a_rescue_waits_for_a_claim_on_its_way(store: PostgresStore, postgres_url: str) -> None:
    """A worker that is taken for dead while it claims: the claim is taken back with the rest, and not forgotten."""
    store.register(make_worker("worker"))
    store.enqueue([make_job()])
    with _other(postgres_url) as other:
        with store.transaction():
            (job,) = claim(store, 1)
            thread = _started(lambda: other.rescue(["worker"], NOW_US))
            eventually(lambda: _waits_for_a_lock(postgres_url))
        thread.join(PATIENCE_S)
    assert (read(store, job).state, read(store, job).crashes, store.workers()) == (State.READY, 1, [])


def test_a_claim_does_not_wait_for_a_rescue(store: PostgresStore, postgres_url: str) -> None:
    """A worker that is just being rescued gets nothing, at once."""
    store.register(make_worker("worker"))
    store.enqueue([make_job()])
    with _other(postgres_url) as other, other.transaction():
        other.rescue(["worker"], NOW_US)
        assert store.claim("worker", 1, NOW_US, pool="processes", starts=True) == []


@contextlib.contextmanager
def _other(url: str) -> Iterator[PostgresStore]:
    """Another opening of the store, as another process has it."""
    other = PostgresStore(parse(url))
    try:
        yield other
    finally:
        other.close()


def _started(step: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=step)
    thread.start()
    return thread


def _waits_for_a_lock(url: str) -> bool:
    """Whether a session of ours waits for another one's transaction."""
    query = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND application_name = 'treadle'"
    with psycopg.connect(url) as connection:
        (count,) = connection.execute(query).fetchone() or (0,)
        return bool(count)


# A commit whose answer is lost


class Cutter:
    """Stands between a store and its server, and loses the answer to one COMMIT, once it is armed."""

    def __init__(self, folder: Path, server: str) -> None:
        self._server = server
        self.is_armed = False
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(folder / ".s.PGSQL.5432"))
        self._listener.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, server = self._listener.accept()[0], socket.socket(socket.AF_UNIX)
                server.connect(self._server)
                threading.Thread(target=self._serve, args=(client, server), daemon=True).start()

    def _serve(self, client: socket.socket, server: socket.socket) -> None:
        is_commit = False
        with client, server, contextlib.suppress(OSError):
            while True:
                for source in select.select([client, server], [], [])[0]:
                    data = source.recv(65536)
                    if source is client:
                        is_commit = b"COMMIT\0" in data
                    elif is_commit and self.is_armed:
                        self.is_armed = False
                        return
                    if not data:
                        return
                    (server if source is client else client).sendall(data)


@pytest.fixture
def cutter(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Cutter, str]]:
    address = parse(postgres_url)
    if not str(address.get("host", "")).startswith("/"):
        pytest.skip("needs a server on a Unix socket")
    folder = tmp_path_factory.mktemp("cut")
    cutter = Cutter(folder, f"{address['host']}/.s.PGSQL.5432")
    yield cutter, postgres_url.replace(str(address["host"]), str(folder))
    cutter.close()


@pytest.mark.parametrize("in_transaction", [False, True], ids=["alone", "in a transaction"])
def test_a_claim_whose_commit_is_lost_is_in_doubt(
    store: PostgresStore, cutter: tuple[Cutter, str], in_transaction: bool
) -> None:
    """The claimant is told that the server cannot be reached; here the claim was kept."""
    cut, url = cutter
    store.enqueue([make_job()])
    with _other(url) as behind:
        assert behind.counts() == {("default", State.READY): 1}
        cut.is_armed = True
        with pytest.raises(StoreUnavailable), behind.transaction() if in_transaction else contextlib.nullcontext():
            claim(behind, 1)
        (held,) = store.jobs(found(store)).values()
        assert (held.state, held.worker_id, held.token) == (State.RUNNING, "worker", 1)


def test_a_worker_gives_back_the_claim_whose_commit_was_lost(
    store: PostgresStore, cutter: tuple[Cutter, str], postgres_url: str, tmp_path: Path
) -> None:
    """It does not know that it holds the job; it asks, gives it back, and claims it anew."""
    cut, url = cutter
    with closing(jobs_app(tmp_path, database_url=url)) as app, working(app) as worker:
        eventually(lambda: [row.id for row in store.workers()] == [worker.id])
        cut.is_armed = True
        with closing(jobs_app(tmp_path, database_url=postgres_url)) as sender:
            job = sender.send_function(apps.string_length, "abc")
            assert job.result(PATIENCE_S) == 3
            row = job.refresh().row
    assert not cut.is_armed
    assert (row.token, row.attempt, row.crashes) == (2, 1, 0)
