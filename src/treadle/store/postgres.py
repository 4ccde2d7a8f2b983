"""The store in a PostgreSQL database, for workers on many machines.

All verbs run named statements of `sql/postgres/queries.sql` on raw connections that `Connections` gives:
those of our own `PostgresServer`, or the one that Django holds. Transactions are READ COMMITTED, so each
statement sees what was committed before it, and a row that somebody else changes meanwhile is looked at
anew once it is locked: guards such as `state = 'running' AND token = …` hold of the row as it is then.
"""

import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import psycopg

from treadle.errors import StoreError, StoreLocked
from treadle.job import FORGOTTEN, Attempt, Claim, Ending, Job, Kind, Message, Report
from treadle.states import State
from treadle.store import keys, postgres_migrate, queries, rows
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
from treadle.store.keys import Candidate, KeyedClaim, KeyScan, Looks
from treadle.store.postgres_address import Address, alive_folder
from treadle.store.postgres_connection import ANSWER_TIMEOUT_S
from treadle.store.postgres_server import Connections, PostgresServer, Row, Session
from treadle.store.postgres_wakeup import Listener, PostgresWakeup
from treadle.store.turns import Turn, lines, turns, turns_around_paused, urgency

COPY_FROM = 500
"""From so many jobs on COPY is quicker than INSERT."""
TRIES = 3
"""Two transactions that wait for each other: the server ends one, which is done again."""
TRIES_FOR_KEYS = 10
"""Who has a unique key may end between the insertion that it hindered and the look for it. Then the key is tried again."""

V = TypeVar("V", bound=Callable[..., Any])


def _again_where_locked(verb: V) -> V:
    """Do a verb once more where it met another transaction; inside a transaction only its owner could."""

    @wraps(verb)
    def tried(self: "PostgresVerbs", *args: Any) -> Any:
        for _ in range(TRIES - 1):
            try:
                return verb(self, *args)
            except StoreLocked:
                if self.is_in_transaction():
                    raise
        return verb(self, *args)

    return tried  # type: ignore[return-value]


class PostgresVerbs(Store):
    """The job verbs, on whatever connections."""

    look_every_s = 0.0
    """While a worker's claims are filled, how often to look at least whether jobs with a key are among what is ready."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._sql = queries.load("postgres")
        self._keys = KeyScan()
        self._looks = Looks(self.look_every_s)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        with self._connections.transaction():
            yield

    def secret(self) -> str:
        found = self._value("get_meta", name="secret")
        if found is None:
            self._rows("set_meta", name="secret", value=secrets.token_urlsafe(32))
            found = self._value("get_meta", name="secret")
        return str(found)

    # Sending and reading

    def enqueue(self, jobs: Sequence[Job]) -> Enqueued:
        unique, others = keys.split_unique(jobs)
        if unique:
            return self._enqueue_unique(unique, others)
        self._enqueue(jobs)
        return Enqueued()

    def _enqueue(self, jobs: Sequence[Job]) -> None:
        if len(jobs) == 1 and jobs[0].kind is not Kind.WHOLE:
            self._send("insert_job", **rows.job_values(jobs[0]))
        elif len(jobs) < COPY_FROM:
            self._send("insert_jobs", jobs=_listed(map(rows.job_values, jobs)))
        else:
            self._copy(jobs)

    @_again_where_locked
    def _enqueue_unique(self, unique: Sequence[Job], others: Sequence[Job]) -> Enqueued:
        with self._connections.writing() as session:
            done = self._insert_unique(session, unique)
            stand_ins = keys.with_parts(done.stand_ins, others)
            new = [job for job in others if job.id not in stand_ins]
            if new:
                self._enqueue(new)
        return Enqueued(stand_ins, done.expired)

    def _insert_unique(self, session: Session, jobs: Sequence[Job]) -> Enqueued:
        stand_ins: dict[str, Job] = {}
        expired: set[str] = set()
        late = jobs
        for _ in range(TRIES_FOR_KEYS):
            values = _listed(map(rows.job_values, late))
            kept = {id_ for (id_,) in session.run(self._sql["insert_unique_jobs"], jobs=values)}
            late = [job for job in late if job.id not in kept]
            twins = self._twins(session, late) if late else {}
            gone = [twin for twin in twins.values() if twin.has_expired(_newest_us(late))]
            expired |= self._fail_twins(session, gone, _newest_us(late)) if gone else set()
            twins = {key: twin for key, twin in twins.items() if twin not in gone}
            stand_ins.update({job.id: twins[_key(job)] for job in late if _key(job) in twins})
            # Who had the key has ended since, or has expired: so it may be free now.
            late = [job for job in late if _key(job) not in twins]
            if not late:
                return Enqueued(stand_ins, tuple(sorted(expired)))
        raise StoreLocked(f"jobs with the unique key {late[0].unique_key!r} begin and end all the time: try again")

    def _twins(self, session: Session, jobs: Sequence[Job]) -> dict[tuple[str, str | None], Job]:
        """The unfinished jobs with the keys of these, by task and key."""
        found = session.run(self._sql["get_unique"], keys=_listed_keys(map(_key, jobs)))
        return {_key(twin): twin for twin in map(rows.job_of, found)}

    def _fail_twins(self, session: Session, twins: Sequence[Job], now_us: int) -> set[str]:
        """Fail those of these jobs, which have expired, that still wait; returns their ids."""
        ids = [twin.id for twin in twins]
        session.run(self._sql["lock_parts"], ids=ids)
        # Who is just failing them is waited for, unlike by the duty.
        session.run(self._sql["lock_jobs"], ids=ids)
        return self._expire(session, [(t.id, t.kind is Kind.WHOLE, t.expires_at_us) for t in twins], now_us)

    def _copy(self, jobs: Sequence[Job]) -> None:
        wholes = [job.id for job in jobs if job.kind is Kind.WHOLE]
        with self._connections.writing() as session:
            session.copy(self._sql["copy_jobs"], (tuple(rows.job_values(job).values()) for job in jobs))
            if wholes:
                session.run(self._sql["insert_progress"], ids=wholes)

    @_again_where_locked
    def cancel(self, ids: Sequence[str], now_us: int) -> set[str]:
        with self._connections.writing() as session:
            family = session.run(self._sql["get_family"], ids=list(ids))
            parts, wholes = ([id_ for id_, is_whole in family if is_whole is wanted] for wanted in (False, True))
            met = session.run(self._sql["cancel"], ids=parts, now=now_us)
            if wholes:
                ended = session.run(self._sql["cancel"], ids=wholes, now=now_us)
                # Somebody may have sent a whole once more since its open parts were looked for.
                self._cancel_parts(session, [id_ for id_, _, state in ended if state == State.CANCELLED], now_us)
                met += ended
            self._unblock(session, {group: now_us for _, group, state in met if state == State.CANCELLED})
        return {id_ for id_, _, _ in met} & set(ids)

    def _cancel_parts(self, session: Session, wholes: Sequence[str], now_us: int) -> None:
        family = session.run(self._sql["get_family"], ids=list(wholes)) if wholes else []
        parts = [id_ for id_, is_whole in family if not is_whole]
        if parts:
            session.run(self._sql["cancel"], ids=parts, now=now_us)

    @_again_where_locked
    def redrive(self, ids: Sequence[str], now_us: int) -> set[str]:
        for _ in range(TRIES_FOR_KEYS):
            try:
                return self._redrive(ids, now_us)
            except StoreError as error:
                # Somebody has sent a job with the key of one of these meanwhile, which the next try sees.
                if not isinstance(error.__cause__, psycopg.errors.UniqueViolation):
                    raise
        raise StoreLocked("jobs with the unique keys of these begin and end all the time: try again")

    def _redrive(self, ids: Sequence[str], now_us: int) -> set[str]:
        sent = set()
        with self._connections.writing() as session:
            session.run(self._sql["lock_parts"], ids=list(ids))
            for id_ in sorted(set(ids)):
                if session.run(self._sql["redrive"], id=id_, now=now_us):
                    sent.add(id_)
                    session.run(self._sql["redrive_parts"], id=id_, now=now_us)
                    session.run(self._sql["restart_progress"], id=id_)
        return sent

    def unfinished(self, task: str, unique_key: str) -> Job | None:
        found = self._rows("get_unique", keys=_listed_keys([(task, unique_key)]))
        return next(map(rows.job_of, found), None)

    def cancel_requests(self, worker_id: str) -> list[Claim]:
        return [Claim(*row) for row in self._rows("get_cancel_requests", worker_id=worker_id)]

    def jobs(self, ids: Sequence[str]) -> dict[str, Job]:
        return {job.id: job for job in map(rows.job_of, self._rows("get_jobs", ids=list(ids)))}

    def find(self, query: Query) -> list[Job]:
        name = "find_newest" if query.newest_first else "find_oldest"
        found = self._rows(
            name, state=query.state, task=query.task, queue=query.queue, labels=_listed(query.labels),
            limit=query.limit,
        )  # fmt: skip
        return [rows.job_of(row) for row in found]

    def attempts(self, ids: Sequence[str]) -> dict[str, list[Attempt]]:
        return rows.attempts_of(self._rows("get_attempts", ids=list(ids)))

    def messages(self, job_id: str, after: int = 0) -> list[Message]:
        return [rows.message_of(row) for row in self._rows("get_messages", id=job_id, after=after)]

    def part_results(self, whole_ids: Sequence[str]) -> dict[str, list[str]]:
        results: dict[str, list[str]] = {id_: [] for id_ in whole_ids}
        for group_id, result in self._rows("get_part_results", ids=list(whole_ids)):
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
        if limit <= 0:
            return []
        claimed: list[Job] = []
        values = {"worker_id": worker_id, "now": now_us, "pool": pool, "starts": starts}
        if self.is_in_transaction() and self._looks.may_be_spared(pool):
            claimed = self._claim_in_turns(turns(queues, limit), limit, values)
            if len(claimed) == limit:
                return claimed
        [(without_key, with_key, is_any_paused)] = self._looked_up("is_work_ready", pool=pool)
        rest = limit - len(claimed)
        if with_key or (is_any_paused and not starts):
            claimed += self._claim_chosen(queues, rest, values, is_any_paused=is_any_paused)
        elif without_key and is_any_paused:
            claimed += self._claim_around_paused(queues, rest, values)
        elif without_key:
            claimed += self._claim_in_turns(turns(queues, rest), rest, values)
        is_plain = not (with_key or is_any_paused)
        self._looks.looked(pool, may_be_spared=is_plain and len(claimed) == limit)
        return claimed

    def _looked_up(self, statement: str, /, **values: Any) -> list[Any]:
        """What a statement finds: in the worker's transaction without a savepoint, which makes three trips of one."""
        if not self.is_in_transaction():
            return self._rows(statement, **values)
        with self._connections.joined() as session:
            return session.run(self._sql[statement], **values)

    def _claim_around_paused(self, queues: Sequence[str], limit: int, values: dict[str, Any]) -> list[Job]:
        shares = dict(self._looked_up("get_shares", **{**values, "limit": limit}))
        claimed = self._claim_in_turns(turns_around_paused(queues, limit, shares), limit, values)
        return claimed if queues else sorted(claimed, key=urgency)

    def _claim_in_turns(self, planned: Sequence[Turn], limit: int, values: dict[str, Any]) -> list[Job]:
        claimed: list[Job] = []
        # Without a savepoint in the worker's transaction: a claim waits for nobody, so what it fails of has ended the
        # connection, and two trips more for each pool would make every commit wait.
        with self._connections.joined() as session:
            for queue, most in planned:
                wanted = min(most, limit - len(claimed))
                if wanted > 0:
                    of_queue = {} if queue is None else {"queue": queue}
                    found = session.run(self._sql[_named("claim", queue)], **values, **of_queue, limit=wanted)
                    claimed += map(rows.job_of, found)
                    if queue is not None and not values["starts"] and self._has_more(session, queue, values):
                        # The claim is filled, or has ended before a job that must not wait in a pool.
                        break
        return claimed

    def _has_more(self, session: Session, queue: str, values: dict[str, Any]) -> bool:
        """Whether something without a key is ready in a queue."""
        return bool(session.run(self._sql["get_urgent_without_key_in_queue"], **values, queue=queue, limit=1))

    def _claim_chosen(
        self, queues: Sequence[str], limit: int, values: dict[str, Any], *, is_any_paused: bool
    ) -> list[Job]:
        with self._connections.joined() as session:

            def look(statement: str, queue: str | None, **more: Any) -> list[Candidate]:
                wanted = {**values, **more, **({} if queue is None else {"queue": queue})}
                return [Candidate(*row) for row in session.run(self._sql[_named(statement, queue)], **wanted)]

            def take(candidates: list[Candidate]) -> list[Job]:
                wanted = [candidate.key for candidate in candidates if candidate.key is not None]
                free = session.run(self._sql["lock_keys"], concurrency_keys=wanted) if wanted else []
                locked = {key for (key,) in free}
                ids = [candidate.id for candidate in candidates if candidate.key is None or candidate.key in locked]
                return [rows.job_of(row) for row in session.run(self._sql["claim_chosen"], **values, ids=ids)]

            found = session.run(self._sql["get_open_queues"]) if is_any_paused else None
            open_queues = None if found is None else [name for (name,) in found]
            claim = KeyedClaim(self._keys, values["pool"], starts=values["starts"], look=look, take=take)
            return claim.of(lines(queues, open_queues), limit)

    def mark_started(self, claims: Sequence[tuple[Claim, int]]) -> None:
        values = [{"id": c.id, "token": c.token, "started_at": at_us} for c, at_us in claims]
        self._rows("mark_started", claims=_listed(values))

    def report(self, reports: Sequence[Report], now_us: int) -> None:
        with self._connections.writing() as session:
            claims = _listed(report.claim for report in reports)
            tellers = {Claim(*row) for row in session.run(self._sql["lock_tellers"], claims=claims)}
            accepted = [report for report in reports if report.claim in tellers]
            messages = _numbered_messages(accepted)
            if messages:
                session.run(self._sql["insert_messages"], messages=_listed(messages))
            newest = {r.claim.id: r.progress for r in accepted if r.progress is not None}
            shown = [_plain(rows.progress_values(id_, progress)) for id_, progress in newest.items()]
            if shown:
                session.run(self._sql["report_progress"], reports=_listed(shown))
            others = {report.claim.id for report in accepted} - newest.keys()
            if others:
                session.run(self._sql["raise_versions"], ids=list(others))

    @_again_where_locked
    def finish(self, endings: Sequence[Ending]) -> set[Claim]:
        # The first ending of a claim counts.
        by_claim = {ending.job.claim: ending for ending in reversed(endings)}
        with self._connections.writing() as session:
            given = self._with_cancels(session, list(by_claim.values()))
            met = session.run(
                self._sql["finish"],
                endings=_listed(rows.ending_values(ending) for ending in given),
                attempts=_listed(map(_attempt_values, given)),
            )
            accepted = {Claim(*row) for row in met}
            self._advance_wholes(session, [ending for ending in given if ending.job.claim in accepted])
        return accepted

    def _with_cancels(self, session: Session, endings: Sequence[Ending]) -> Sequence[Ending]:
        """The endings, as they are where somebody has asked for a cancel that their worker had not seen yet."""
        if not any(ending.yields_to_cancel for ending in endings):
            return endings
        found = session.run(self._sql["lock_to_be_cancelled"], ids=[ending.job.id for ending in endings])
        wanted = {id_ for (id_,) in found}
        return [ending.or_cancelled() if ending.job.id in wanted else ending for ending in endings]

    def _advance_wholes(self, session: Session, endings: Sequence[Ending]) -> None:
        ended = [e for e in endings if e.job.group_id is not None and e.state.is_finished]
        sizes: dict[str | None, int] = {}
        for ending in ended:
            done = ending.job.size if ending.state is State.SUCCEEDED else 0
            sizes[ending.job.group_id] = sizes.get(ending.job.group_id, 0) + done
        self._unblock(session, {ending.job.group_id: ending.ended_at_us for ending in ended}, sizes)

    def _unblock(
        self, session: Session, ends_us: Mapping[str | None, int], sizes: Mapping[str | None, int] | None = None
    ) -> None:
        """Let go of the wholes whose last parts have ended, after `sizes` more of their items."""
        ids = [id_ for id_ in ends_us if id_ is not None]
        if not ids:
            return
        session.run(self._sql["lock_wholes"], ids=ids)
        advances = [{"id": id_, "size": size} for id_, size in sorted((sizes or {}).items(), key=str) if size]
        if advances:
            session.run(self._sql["advance_wholes"], sizes=_listed(advances))
        complete = [id_ for (id_,) in session.run(self._sql["get_complete_wholes"], ids=ids)]
        ready = [id_ for id_ in complete if self._end_whole(session, id_, ends_us[id_])]
        if ready:
            session.run(self._sql["measure_items"], ids=ready)

    def _end_whole(self, session: Session, whole_id: str, now_us: int) -> bool:
        """Make a whole whose parts have ended ready, or fail it; returns whether it is ready."""
        bad = session.run(self._sql["get_bad_parts"], id=whole_id)
        if not bad:
            session.run(self._sql["unblock"], id=whole_id, now=now_us)
            return True
        failure = failure_of_whole({part: rows.failure_of(text) for part, text in bad})
        session.run(self._sql["fail_whole"], id=whole_id, now=now_us, failure=rows.failure_json(failure))
        return False

    @_again_where_locked
    def release(self, claims: Sequence[Claim], now_us: int) -> None:
        with self._connections.writing() as session:
            met = session.run(self._sql["release"], claims=_listed(claims), now=now_us)
            self._unblock(session, {group: now_us for group, state in met if state == State.CANCELLED})

    # Keeping

    def register(self, worker: WorkerRow) -> None:
        self._rows(
            "register_worker", id=worker.id, host=worker.host, pid=worker.pid, kind=worker.kind,
            queues=_listed(worker.queues), started_at=worker.started_at_us, last_seen_at=worker.last_seen_at_us,
            lease_until=worker.lease_until_us,
        )  # fmt: skip

    def heartbeat(self, worker_id: str, now_us: int, lease_until_us: int) -> bool:
        return bool(self._rows("heartbeat", id=worker_id, now=now_us, lease_until=lease_until_us))

    def deregister(self, worker_ids: Sequence[str]) -> None:
        self._rows("deregister_workers", ids=list(worker_ids))

    def workers(self) -> list[WorkerRow]:
        return [rows.worker_of(row) for row in self._rows("get_workers")]

    @_again_where_locked
    def rescue(self, worker_ids: Sequence[str], now_us: int) -> list[Ending]:
        with self._connections.writing():
            self._rows("lock_workers", worker_ids=list(worker_ids))
            held = [rows.job_of(row) for row in self._rows("lock_running_of", worker_ids=list(worker_ids))]
            self.release([job.claim for job in held if job.started_at_us is None], now_us)
            endings = [Ending.of_lost_worker(job, now_us) for job in held if job.started_at_us is not None]
            self.finish(endings)
            self.deregister(worker_ids)
        return endings

    def promote(self, now_us: int, limit: int) -> int:
        if not self._value("is_promotion_due", now=now_us):
            return 0
        with self._connections.writing() as session:
            return int(session.run(self._sql["promote"], now=now_us, limit=limit)[0][0])

    def schedules(self) -> list[ScheduleRow]:
        return [rows.schedule_of(row) for row in self._rows("get_schedules")]

    def keep_schedules(self, schedules: Sequence[ScheduleRow]) -> None:
        self._rows("keep_schedules", schedules=_listed(map(rows.schedule_values, schedules)))

    def move_schedule(self, name: str, seen_at_us: int, to_us: int, job_id: str | None = None) -> bool:
        return bool(self._rows("move_schedule", name=name, seen_at=seen_at_us, to=to_us, job_id=job_id))

    def forget_schedules(self, names: Sequence[str]) -> None:
        self._rows("forget_schedules", names=list(names))

    @_again_where_locked
    def expire(self, now_us: int, limit: int) -> list[str]:
        if not self._value("is_any_expired", now=now_us):
            return []
        with self._connections.writing() as session:
            late = session.run(self._sql["get_expired"], now=now_us, limit=limit)
            expired = self._expire(session, late, now_us)
        return [id_ for id_, _, _ in late if id_ in expired]

    def _expire(self, session: Session, late: Sequence[Row], now_us: int) -> set[str]:
        """Fail those of these jobs that still wait, given as id, whether it is a whole, and when it had to begin."""
        wholes = [id_ for id_, is_whole, _ in late if is_whole]
        reasons = {id_: rows.failure_json(failure_of_expired(expires_at)) for id_, _, expires_at in late}
        if wholes:
            # First of all: what follows waits for nobody.
            session.run(self._sql["lock_parts"], ids=wholes)
        expired = self._fail_late(session, reasons.keys() - set(wholes), reasons, now_us)
        if wholes:
            expired |= self._fail_late(session, wholes, reasons, now_us)
            self._cancel_parts(session, list(expired.keys() & set(wholes)), now_us)
        self._unblock(session, dict.fromkeys(expired.values(), now_us))
        return set(expired)

    def _fail_late(
        self, session: Session, ids: Iterable[str], reasons: Mapping[str, str | None], now_us: int
    ) -> dict[str, str | None]:
        """Fail those of these jobs that still wait; gives each with the whole that it is a part of."""
        given = _listed({"id": id_, "failure": reasons[id_]} for id_ in ids)
        return dict(session.run(self._sql["expire"], jobs=given, now=now_us))

    def forget_results(self, now_us: int, limit: int) -> int:
        if not self._value("is_any_result_old", now=now_us):
            return 0
        with self._connections.writing() as session:
            old = session.run(self._sql["forget_results"], now=now_us, limit=limit)
            wholes = [id_ for id_, is_whole in old if is_whole]
            if wholes:
                session.run(self._sql["forget_part_results"], ids=wholes)
        return len(old)

    def labelled(self, labels: Mapping[str, str], limit: int, after: str = "") -> tuple[list[str], str | None]:
        return rows.labelled_of(self._rows("get_labelled", labels=_listed(dict(labels)), limit=limit, after_id=after))

    @_again_where_locked
    def forget(self, ids: Sequence[str]) -> Forgotten:
        with self._connections.writing() as session:
            for statement in ("lock_before_wholes", "lock_jobs"):
                session.run(self._sql[statement], ids=list(ids))
            found = session.run(self._sql["get_to_forget"], ids=list(ids))
            blanked = rows.blanked_of(found)
            if blanked:
                session.run(self._sql["forget"], jobs=_listed(blanked), text=FORGOTTEN)
        return Forgotten(len(blanked), len(found) - len(blanked))

    def pause(self, queues: Sequence[str], now_us: int) -> set[str]:
        with self._connections.writing() as session:
            return {name for (name,) in session.run(self._sql["pause"], names=list(queues), now=now_us)}

    def resume(self, queues: Sequence[str]) -> set[str]:
        with self._connections.writing() as session:
            return {name for (name,) in session.run(self._sql["resume"], names=list(queues))}

    def paused_queues(self) -> dict[str, int]:
        return dict(self._rows("get_paused_queues"))

    def prune(self, succeeded_before_us: int, failed_before_us: int, limit: int) -> int:
        before = {"succeeded_before": succeeded_before_us, "failed_before": failed_before_us}
        old = [id_ for (id_,) in self._rows("get_old", **before, limit=limit)]
        if not old:
            return 0
        with self._connections.transaction() as session:
            locked = [id_ for (id_,) in session.run(self._sql["lock_to_prune"], ids=old)]
            return len(session.run(self._sql["prune"], **before, ids=locked))

    def upkeep(self) -> None:
        """Nothing: the server vacuums by itself, as the tables ask it to."""

    def _send(self, statement: str, /, **values: Any) -> list[Any]:
        return self._connections.send(self._sql[statement], self._sql[f"{statement}_and_tell"], **values)

    def _rows(self, statement: str, /, **values: Any) -> list[Any]:
        return self._connections.run(self._sql[statement], **values)

    def _value(self, statement: str, /, **values: Any) -> Any:
        found = self._rows(statement, **values)
        return found[0][0] if found else None


class PostgresStore(PostgresVerbs):
    """Jobs in a PostgreSQL database whose tables we make."""

    look_every_s = 0.1

    def __init__(
        self, address: Address, *, listen: bool = True, notify: bool = True,
        answer_timeout_s: float = ANSWER_TIMEOUT_S, missing: str = "run `treadle migrate`",
    ) -> None:  # fmt: skip
        """`listen`: hear of changes at once, on a connection of its own; `notify`: tell those who listen.

        `answer_timeout_s`: after so long without an answer the server counts as away. `missing`: what to do where the
        tables are missing, for the message.
        """
        self.server = PostgresServer(address, notify=notify, answer_timeout_s=answer_timeout_s, missing=missing)
        super().__init__(self.server)
        self._listener = Listener(self.server) if listen else None
        self.alive_folder: Path | None = alive_folder(address)

    def prepare(self) -> None:
        postgres_migrate.migrate(self.server)
        # Who joins a transaction of the caller's compares it, and must not have to make it.
        self.secret()

    def close(self) -> None:
        if self._listener is not None:
            self._listener.close()
        self.server.close()

    def is_in_transaction(self) -> bool:
        return self.server.is_in_transaction

    def wakeup(self) -> Wakeup:
        return PostgresWakeup(self._listener)

    def __str__(self) -> str:
        return self.server.where


def _named(statement: str, queue: str | None) -> str:
    """The form of a statement for all queues, or for one."""
    return statement if queue is None else f"{statement}_in_queue"


def _newest_us(jobs: Iterable[Job]) -> int:
    """When the last of these jobs was sent."""
    return max(job.enqueued_at_us for job in jobs)


def _key(job: Job) -> tuple[str, str | None]:
    return job.task, job.unique_key


def _listed_keys(keys: Iterable[tuple[str, str | None]]) -> str:
    return _listed({"task": task, "unique_key": unique_key} for task, unique_key in keys)


def _listed(values: Any) -> str:
    """What the server takes apart by itself, as JSON."""
    try:
        return msgspec.json.encode(values if isinstance(values, dict) else list(values)).decode()
    except (UnicodeEncodeError, OverflowError) as error:
        raise StoreError(f"a job holds what PostgreSQL cannot keep: {error}") from error


def _attempt_values(ending: Ending) -> dict[str, Any]:
    values = rows.attempt_values(ending)
    return values if ending.outcome.failure is None else _plain(values)


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    """Texts without the one character that PostgreSQL refuses: what a function says of its failure must be kept."""
    return {name: value.replace("\0", "\ufffd") if isinstance(value, str) else value for name, value in values.items()}


def _numbered_messages(reports: Iterable[Report]) -> list[dict[str, Any]]:
    """The messages of each job, counted from 1."""
    counts: dict[str, int] = {}
    messages = []
    for report in reports:
        for sent_at_us, body in report.messages:
            counts[report.claim.id] = number = counts.get(report.claim.id, 0) + 1
            messages.append({"id": report.claim.id, "number": number, "sent_at": sent_at_us, "body": body})
    return messages
