"""The store in a SQLite file: the default, with no server to run.

All verbs run named statements of `sql/sqlite/queries.sql` on raw connections that `Connections` gives:
those of our own `SqliteFile`, or the one that Django holds. So the same SQL serves both, and joins
whatever transaction the caller is in.
"""

import secrets
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from treadle import codec
from treadle.errors import ConfigurationError, StoreError
from treadle.job import FORGOTTEN, Attempt, Claim, Ending, Job, Kind, Message, Report
from treadle.states import State
from treadle.store import keys, migrate, queries, rows
from treadle.store.contract import (
    Enqueued,
    Forgotten,
    Part,
    Query,
    ScheduleRow,
    Store,
    Wakeup,
    WorkerRow,
    failure_of_expired,
    failure_of_whole,
)
from treadle.store.keys import Candidate, KeyedClaim, KeyScan
from treadle.store.sqlite_file import Connections, SqliteFile, immediate
from treadle.store.turns import Turn, lines, turns, turns_around_paused, urgency
from treadle.store.wakeup import SqliteWakeup

OLDEST_SQLITE = (3, 37, 0)
"""STRICT tables came with it."""


class SqliteVerbs(Store):
    """The job verbs, on whatever connections."""

    def __init__(self, connections: Connections) -> None:
        if sqlite3.sqlite_version_info < OLDEST_SQLITE:
            raise ConfigurationError(f"SQLite {sqlite3.sqlite_version} is too old; Treadle needs 3.37 or newer")
        self._connections = connections
        self._sql = queries.load("sqlite")
        self._insert_job = queries.by_position(self._sql["insert_job"])
        self._finish = queries.by_position(self._sql["finish"])
        self._insert_attempt = queries.by_position(self._sql["insert_attempt"])
        self._keys = KeyScan()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        with self._connections.writing():
            yield

    def secret(self) -> str:
        found = self._value("get_meta", name="secret")
        if found is None:
            with self._connections.writing() as connection:
                new = {"name": "secret", "value": secrets.token_urlsafe(32)}
                connection.execute(self._sql["set_meta"], new)
            found = self._value("get_meta", name="secret")
        return str(found)

    # Sending and reading

    def enqueue(self, jobs: Sequence[Job]) -> Enqueued:
        unique, others = keys.split_unique(jobs)
        stand_ins: Mapping[str, Job] = {}
        expired: tuple[str, ...] = ()
        with self._connections.writing() as connection, _refusing_what_cannot_be_kept():
            if unique:
                done = self._insert_unique(connection, unique)
                stand_ins, expired = keys.with_parts(done.stand_ins, others), done.expired
            new = [job for job in others if job.id not in stand_ins] if stand_ins else others
            insert, values = self._insert_job
            connection.executemany(insert, [values(rows.job_values(job)) for job in new])
            wholes = [job for job in jobs if job.kind is Kind.WHOLE and job.id not in stand_ins]
            if wholes:
                totals = [{"id": job.id, "total": job.size} for job in wholes]
                connection.executemany(self._sql["insert_progress"], totals)
        return Enqueued(stand_ins, expired)

    def _insert_unique(self, connection: sqlite3.Connection, jobs: Sequence[Job]) -> Enqueued:
        stand_ins: dict[str, Job] = {}
        expired: list[str] = []
        for job in [job for job in jobs if not self._insert_free(connection, job)]:
            # Nobody else writes meanwhile: who has the key is there still.
            [twin] = map(rows.job_of, self._rows("get_unique", task=job.task, unique_key=job.unique_key))
            if twin.has_expired(job.enqueued_at_us):
                self._expire(connection, [(twin.id, twin.kind, twin.group_id, twin.expires_at_us)], job.enqueued_at_us)
                self._insert_free(connection, job)
                expired.append(twin.id)
            else:
                stand_ins[job.id] = twin
        return Enqueued(stand_ins, tuple(expired))

    def _insert_free(self, connection: sqlite3.Connection, job: Job) -> bool:
        """Keep a job if its key is free."""
        return bool(connection.execute(self._sql["insert_unique_job"], rows.job_values(job)).rowcount)

    def cancel(self, ids: Sequence[str], now_us: int) -> set[str]:
        cancelled, asked, wholes = set(), set(), set()
        with self._connections.writing() as connection:
            for id_ in ids:
                values = {"id": id_, "now": now_us}
                for (group_id,) in connection.execute(self._sql["cancel"], values).fetchall():
                    cancelled.add(id_)
                    wholes.add(group_id)
                if id_ not in cancelled and connection.execute(self._sql["request_cancel"], values).rowcount:
                    asked.add(id_)
            for id_ in cancelled:
                connection.execute(self._sql["cancel_parts"], {"id": id_, "now": now_us})
                connection.execute(self._sql["request_cancel_of_parts"], {"id": id_, "now": now_us})
            self._unblock(connection, wholes - {None}, now_us)
        return cancelled | asked

    def redrive(self, ids: Sequence[str], now_us: int) -> set[str]:
        sent = set()
        with self._connections.writing() as connection:
            for id_ in sorted(set(ids)):
                values = {"id": id_, "now": now_us}
                if connection.execute(self._sql["redrive"], values).rowcount:
                    sent.add(id_)
                    connection.execute(self._sql["redrive_parts"], values)
                    connection.execute(self._sql["restart_progress"], values)
        return sent

    def unfinished(self, task: str, unique_key: str) -> Job | None:
        return next(map(rows.job_of, self._rows("get_unique", task=task, unique_key=unique_key)), None)

    def cancel_requests(self, worker_id: str) -> list[Claim]:
        return [Claim(*row) for row in self._rows("get_cancel_requests", worker_id=worker_id)]

    def jobs(self, ids: Sequence[str]) -> dict[str, Job]:
        found = self._rows("get_jobs", ids=codec.dump_plain(list(ids)))
        return {job.id: job for job in map(rows.job_of, found)}

    def find(self, query: Query) -> list[Job]:
        name = "find_newest" if query.newest_first else "find_oldest"
        found = self._rows(
            name, state=query.state, task=query.task, queue=query.queue,
            labels=codec.dump_plain(query.labels), limit=query.limit,
        )  # fmt: skip
        return [rows.job_of(row) for row in found]

    def attempts(self, ids: Sequence[str]) -> dict[str, list[Attempt]]:
        return rows.attempts_of(self._rows("get_attempts", ids=codec.dump_plain(list(ids))))

    def messages(self, job_id: str, after: int = 0) -> list[Message]:
        return [rows.message_of(row) for row in self._rows("get_messages", id=job_id, after=after)]

    def part_results(self, whole_ids: Sequence[str]) -> dict[str, list[str]]:
        results: dict[str, list[str]] = {id_: [] for id_ in whole_ids}
        for group_id, result in self._rows("get_part_results", ids=codec.dump_plain(list(whole_ids))):
            results[group_id].append(result)
        return results

    def parts(self, whole_id: str) -> list[Part]:
        return [rows.part_of(row) for row in self._rows("get_parts", id=whole_id)]

    def item_s(self, task: str) -> float | None:
        found = self._value("get_meta", name=f"item_s:{task}")
        return None if found is None else float(found)

    def counts(self) -> dict[tuple[str, State], int]:
        return {(queue, State(state)): count for queue, state, count in self._rows("count_jobs")}

    # Working

    def claim(
        self, worker_id: str, limit: int, now_us: int, *, pool: str, queues: Sequence[str] = (), starts: bool
    ) -> list[Job]:
        [(without_key, with_key, is_any_paused)] = self._rows("is_work_ready", pool=pool)
        if limit <= 0 or not (without_key or with_key):
            return []
        values = {"worker_id": worker_id, "now": now_us, "pool": pool, "starts": starts}
        if with_key or (is_any_paused and not starts):
            return self._claim_chosen(queues, limit, values, is_any_paused=is_any_paused)
        planned = turns(queues, limit)
        if is_any_paused:
            planned = turns_around_paused(queues, limit, dict(self._rows("get_shares", limit=limit, **values)))
        return self._claim_in_turns(planned, queues, limit, values) if planned else []

    def _claim_in_turns(
        self, planned: Sequence[Turn], queues: Sequence[str], limit: int, values: dict[str, Any]
    ) -> list[Job]:
        claimed: list[Job] = []
        with self._connections.writing() as connection:
            for queue, most in planned:
                wanted = {**values, "queue": queue, "limit": min(most, limit - len(claimed))}
                claimed += _claimed(connection.execute(self._sql[_named("claim", queue)], wanted))
                if queue is not None and not values["starts"] and self._has_more(connection, wanted):
                    # The claim is filled, or has ended before a job that must not wait in a pool.
                    break
        return claimed if queues else sorted(claimed, key=urgency)

    def _has_more(self, connection: sqlite3.Connection, wanted: dict[str, Any]) -> bool:
        """Whether something without a key is ready in a queue."""
        look = self._sql["get_urgent_without_key_in_queue"]
        return connection.execute(look, {**wanted, "limit": 1}).fetchone() is not None

    def _claim_chosen(
        self, queues: Sequence[str], limit: int, values: dict[str, Any], *, is_any_paused: bool
    ) -> list[Job]:
        with self._connections.writing() as connection:

            def look(statement: str, queue: str | None, **more: Any) -> list[Candidate]:
                wanted = {**values, "queue": queue, **more}
                return [Candidate(*row) for row in connection.execute(self._sql[_named(statement, queue)], wanted)]

            def take(candidates: list[Candidate]) -> list[Job]:
                ids = codec.dump_plain([candidate.id for candidate in candidates])
                return _claimed(connection.execute(self._sql["claim_chosen"], {**values, "ids": ids}))

            found = connection.execute(self._sql["get_open_queues"]).fetchall() if is_any_paused else None
            open_queues = None if found is None else [name for (name,) in found]
            claim = KeyedClaim(self._keys, values["pool"], starts=values["starts"], look=look, take=take)
            return claim.of(lines(queues, open_queues), limit)

    def mark_started(self, claims: Sequence[tuple[Claim, int]]) -> None:
        with self._connections.writing() as connection:
            values = [{"id": c.id, "token": c.token, "started_at": at_us} for c, at_us in claims]
            connection.executemany(self._sql["mark_started"], values)

    def report(self, reports: Sequence[Report], now_us: int) -> None:
        with self._connections.writing() as connection:
            for report in reports:
                claim = {"id": report.claim.id, "token": report.claim.token}
                for sent_at_us, body in report.messages:
                    values = {**claim, "sent_at": sent_at_us, "body": body}
                    connection.execute(self._sql["insert_message"], values)
                if report.progress is None:
                    connection.execute(self._sql["raise_version"], claim)
                    continue
                done, total = float(report.progress.done), report.progress.total
                shown = {
                    "done": done,
                    "total": None if total is None else float(total),
                    "message": report.progress.message,
                }
                connection.execute(self._sql["report_progress"], {**claim, **shown})

    def finish(self, endings: Sequence[Ending]) -> set[Claim]:
        with self._connections.writing() as connection:
            endings = self._with_cancels(connection, endings)
            finish, values = self._finish
            accepted = [e for e in endings if connection.execute(finish, values(rows.ending_values(e))).rowcount]
            insert, values = self._insert_attempt
            connection.executemany(insert, [values(rows.attempt_values(ending)) for ending in accepted])
            self._advance_wholes(connection, accepted)
        return {ending.job.claim for ending in accepted}

    def _with_cancels(self, connection: sqlite3.Connection, endings: Sequence[Ending]) -> Sequence[Ending]:
        """The endings, as they are where somebody has asked for a cancel that their worker had not seen yet."""
        ids = [ending.job.id for ending in endings if ending.yields_to_cancel]
        if not ids:
            return endings
        found = connection.execute(self._sql["get_to_be_cancelled"], {"ids": codec.dump_plain(ids)}).fetchall()
        wanted = {id_ for (id_,) in found}
        return [ending.or_cancelled() if ending.job.id in wanted else ending for ending in endings]

    def _advance_wholes(self, connection: sqlite3.Connection, endings: Sequence[Ending]) -> None:
        ended = [e for e in endings if e.job.group_id is not None and e.state.is_finished]
        succeeded = [e.job for e in ended if e.state is State.SUCCEEDED]
        sizes = [{"id": job.group_id, "size": job.size} for job in succeeded]
        connection.executemany(self._sql["advance_whole"], sizes)
        for ending in ended:
            self._unblock(connection, {ending.job.group_id}, ending.ended_at_us)

    def _unblock(self, connection: sqlite3.Connection, wholes: set[Any], now_us: int) -> None:
        for id_ in wholes:
            values = {"id": id_, "now": now_us}
            if connection.execute(self._sql["has_open_parts"], values).fetchone()[0]:
                continue
            bad = connection.execute(self._sql["get_bad_parts"], values).fetchall()
            if bad:
                failure = failure_of_whole({part: rows.failure_of(text) for part, _, text in bad})
                values["failure"] = rows.failure_json(failure)
            connection.execute(self._sql["fail_whole" if bad else "unblock"], values)
            if not bad:
                connection.execute(self._sql["measure_items"], values)

    def release(self, claims: Sequence[Claim], now_us: int) -> None:
        with self._connections.writing() as connection:
            values = [{"id": claim.id, "token": claim.token, "now": now_us} for claim in claims]
            connection.executemany(self._sql["release"], values)
            # Those that are held still: somebody has asked to cancel them.
            left = [
                row for value in values for row in connection.execute(self._sql["cancel_instead"], value).fetchall()
            ]
            self._unblock(connection, {group_id for (group_id,) in left} - {None}, now_us)

    # Keeping

    def register(self, worker: WorkerRow) -> None:
        with self._connections.writing() as connection:
            connection.execute(self._sql["register_worker"], {
                "id": worker.id, "host": worker.host, "pid": worker.pid, "kind": worker.kind,
                "queues": codec.dump_plain(worker.queues),
                "started_at": worker.started_at_us, "last_seen_at": worker.last_seen_at_us,
                "lease_until": worker.lease_until_us,
            })  # fmt: skip

    def heartbeat(self, worker_id: str, now_us: int, lease_until_us: int) -> bool:
        with self._connections.writing() as connection:
            values = {"id": worker_id, "now": now_us, "lease_until": lease_until_us}
            return connection.execute(self._sql["heartbeat"], values).rowcount == 1

    def deregister(self, worker_ids: Sequence[str]) -> None:
        with self._connections.writing() as connection:
            connection.executemany(self._sql["deregister_worker"], [{"id": id_} for id_ in worker_ids])

    def workers(self) -> list[WorkerRow]:
        return [rows.worker_of(row) for row in self._rows("get_workers")]

    def rescue(self, worker_ids: Sequence[str], now_us: int) -> list[Ending]:
        endings: list[Ending] = []
        with self.transaction():
            for worker_id in worker_ids:
                held = [rows.job_of(row) for row in self._rows("get_running_of", worker_id=worker_id)]
                self.release([job.claim for job in held if job.started_at_us is None], now_us)
                endings += [Ending.of_lost_worker(job, now_us) for job in held if job.started_at_us is not None]
            self.finish(endings)
            self.deregister(worker_ids)
        return endings

    def promote(self, now_us: int, limit: int) -> int:
        if not self._value("is_promotion_due", now=now_us):
            return 0
        with self._connections.writing() as connection:
            return connection.execute(self._sql["promote"], {"now": now_us, "limit": limit}).rowcount

    def schedules(self) -> list[ScheduleRow]:
        return [rows.schedule_of(row) for row in self._rows("get_schedules")]

    def keep_schedules(self, schedules: Sequence[ScheduleRow]) -> None:
        with self._connections.writing() as connection:
            connection.executemany(self._sql["keep_schedule"], [rows.schedule_values(row) for row in schedules])

    def move_schedule(self, name: str, seen_at_us: int, to_us: int, job_id: str | None = None) -> bool:
        values = {"name": name, "seen_at": seen_at_us, "to": to_us, "job_id": job_id}
        with self._connections.writing() as connection:
            return connection.execute(self._sql["move_schedule"], values).rowcount == 1

    def forget_schedules(self, names: Sequence[str]) -> None:
        with self._connections.writing() as connection:
            connection.executemany(self._sql["forget_schedule"], [{"name": name} for name in names])

    def expire(self, now_us: int, limit: int) -> list[str]:
        if not self._value("is_any_expired", now=now_us):
            return []
        with self._connections.writing() as connection:
            late = connection.execute(self._sql["get_expired"], {"now": now_us, "limit": limit}).fetchall()
            self._expire(connection, late, now_us)
        return [id_ for id_, _, _, _ in late]

    def _expire(self, connection: sqlite3.Connection, late: Sequence[tuple[Any, ...]], now_us: int) -> None:
        """Fail these jobs, given as id, kind, whole and when each had to begin."""
        for id_, _, _, expires_at in late:
            failure = rows.failure_json(failure_of_expired(expires_at))
            connection.execute(self._sql["expire"], {"id": id_, "now": now_us, "failure": failure})
        wholes = [{"id": id_, "now": now_us} for id_, kind, _, _ in late if kind == Kind.WHOLE]
        connection.executemany(self._sql["cancel_parts"], wholes)
        connection.executemany(self._sql["request_cancel_of_parts"], wholes)
        self._unblock(connection, {group_id for _, _, group_id, _ in late} - {None}, now_us)

    def forget_results(self, now_us: int, limit: int) -> int:
        if not self._value("is_any_result_old", now=now_us):
            return 0
        with self._connections.writing() as connection:
            old = connection.execute(self._sql["forget_results"], {"now": now_us, "limit": limit}).fetchall()
            wholes = [{"id": id_} for id_, kind in old if kind == Kind.WHOLE]
            connection.executemany(self._sql["forget_part_results"], wholes)
        return len(old)

    def labelled(self, labels: Mapping[str, str], limit: int, after: str = "") -> tuple[list[str], str | None]:
        wanted = codec.dump_plain(dict(labels))
        return rows.labelled_of(self._rows("get_labelled", labels=wanted, limit=limit, after_id=after))

    def forget(self, ids: Sequence[str]) -> Forgotten:
        with self._connections.writing() as connection:
            found = connection.execute(self._sql["get_to_forget"], {"ids": codec.dump_plain(list(ids))}).fetchall()
            blanked = rows.blanked_of(found)
            connection.executemany(self._sql["forget"], blanked)
            gone = {"ids": codec.dump_plain([values["id"] for values in blanked]), "text": FORGOTTEN}
            for statement in ("forget_errors", "forget_progress", "forget_messages"):
                connection.execute(self._sql[statement], gone)
        return Forgotten(len(blanked), len(found) - len(blanked))

    def pause(self, queues: Sequence[str], now_us: int) -> set[str]:
        with self._connections.writing() as connection:
            pause = self._sql["pause"]
            return {q for q in queues if connection.execute(pause, {"name": q, "now": now_us}).rowcount}

    def resume(self, queues: Sequence[str]) -> set[str]:
        with self._connections.writing() as connection:
            return {q for q in queues if connection.execute(self._sql["resume"], {"name": q}).rowcount}

    def paused_queues(self) -> dict[str, int]:
        return dict(self._rows("get_paused_queues"))

    def prune(self, succeeded_before_us: int, failed_before_us: int, limit: int) -> int:
        with self._connections.writing() as connection:
            before = {"succeeded_before": succeeded_before_us, "failed_before": failed_before_us}
            return connection.execute(self._sql["prune"], {**before, "limit": limit}).rowcount

    def _rows(self, statement: str, /, **values: Any) -> list[Any]:
        with self._connections.reading() as connection, _refusing_what_cannot_be_kept():
            return connection.execute(self._sql[statement], values).fetchall()

    def _value(self, statement: str, /, **values: Any) -> Any:
        found = self._rows(statement, **values)
        return found[0][0] if found else None


class SqliteStore(SqliteVerbs):
    """Jobs in a SQLite file of our own, whose tables we make and look after."""

    def __init__(self, file: SqliteFile) -> None:
        super().__init__(file)
        self.file = file
        self.alive_folder = file.path.with_name(f"{file.path.name}-alive")

    def prepare(self) -> None:
        if not self._is_prepared():
            self._make_tables()

    def _is_prepared(self) -> bool:
        """Looked at without the writer's lock: this process may hold SQLite's own on another connection."""
        with self.file.reading() as connection:
            is_wal = connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
            is_newest = is_wal and schema_version(connection) == migrate.code_version("sqlite")
            return is_newest and _find_meta(connection, "secret") is not None

    def _make_tables(self) -> None:
        with self.file.locked() as connection:
            connection.execute("PRAGMA journal_mode = WAL").fetchone()
            found = schema_version(connection)
            for migration in migrate.migrations("sqlite"):
                if migration.number > (found or 0):
                    with immediate(connection):
                        apply(connection, migration)
            check_schema(connection, str(self), self.file.missing)
        # Who joins a transaction of the caller's compares it, and must not have to make it.
        self.secret()

    def close(self) -> None:
        self.file.close()

    def is_in_transaction(self) -> bool:
        return self.file.is_in_transaction

    def wakeup(self) -> Wakeup:
        return SqliteWakeup(self.file)

    def upkeep(self) -> None:
        self.file.checkpoint()

    def __str__(self) -> str:
        return str(self.file.path)


def _named(statement: str, queue: str | None) -> str:
    """The form of a statement for all queues, or for one."""
    return statement if queue is None else f"{statement}_in_queue"


def _claimed(cursor: sqlite3.Cursor) -> list[Job]:
    # RETURNING gives rows in the order in which it met them, not in that of the claim.
    return sorted(map(rows.job_of, cursor.fetchall()), key=urgency)


@contextmanager
def _refusing_what_cannot_be_kept() -> Iterator[None]:
    """Give what the driver cannot bind as an error of ours; also where it is only looked for."""
    try:
        yield
    except (OverflowError, UnicodeEncodeError) as error:
        raise StoreError(f"SQLite cannot keep this: {error}") from error


def apply(connection: sqlite3.Connection, migration: migrate.Migration) -> None:
    """Run one migration and note it, in the transaction that is open."""
    for statement in migration.statements:
        connection.execute(statement)
    connection.execute(queries.load("sqlite")["note_migration"], {"number": str(migration.number)})


def schema_version(connection: sqlite3.Connection) -> int | None:
    """How far the tables were migrated, or None where there are none."""
    has_tables = connection.execute(queries.load("sqlite")["has_tables"]).fetchone()[0]
    return int(_meta(connection, "schema_version")) if has_tables else None


def check_schema(connection: sqlite3.Connection, where: str, missing: str) -> None:
    """Refuse tables that this code cannot use. Raises SchemaMissing or SchemaTooNew."""
    found = schema_version(connection)
    oldest = int(_meta(connection, "min_code_version")) if found is not None else 1
    migrate.check_version("sqlite", found, oldest, where, missing)


def _meta(connection: sqlite3.Connection, name: str) -> str:
    return str(_find_meta(connection, name)[0])


def _find_meta(connection: sqlite3.Connection, name: str) -> Any:
    return connection.execute(queries.load("sqlite")["get_meta"], {"name": name}).fetchone()
