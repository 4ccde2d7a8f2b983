"""Between rows of the tables and our records; the order of columns is that of `queries.sql`."""

from collections.abc import Iterable
from typing import Any

import msgspec

from treadle.job import Attempt, Ending, Failure, Job, Kind, Message, OutcomeKind, Progress
from treadle.states import State
from treadle.store.contract import Part, ScheduleRow, WorkerRow

Row = tuple[Any, ...]

_failure = msgspec.json.Decoder(Failure)
# Quicker than to call the class, by 0.6 µs for each row.
_kinds, _states = {str(kind): kind for kind in Kind}, {str(state): state for state in State}


def job_values(job: Job) -> dict[str, Any]:
    """The parameters of `insert_job`."""
    return {
        "id": job.id,
        "kind": job.kind,
        "task": job.task,
        "queue": job.queue,
        "pool": job.pool,
        "priority": job.priority,
        "state": job.state,
        "run_at": job.run_at_us,
        "max_attempts": job.max_attempts,
        "max_crashes": job.max_crashes,
        "timeout_s": job.timeout_s,
        "memory_mb": job.memory_mb,
        "cores": job.cores,
        "enqueued_at": job.enqueued_at_us,
        "group_id": job.group_id,
        "part": job.part,
        "size": job.size,
        "alias": job.alias,
        "labels": _json(job.labels),
        "headers": _json(job.headers),
        "payload": job.payload,
        "unique_key": job.unique_key,
        "concurrency_key": job.concurrency_key,
        "expires_at": job.expires_at_us,
        "result_ttl": job.result_ttl_us,
    }


def job_of(row: Row) -> Job:
    """A Job from the columns of the fragment `job`, and those of its progress where they follow."""
    # Named targets, not indexes: a column in the wrong place must show.
    (
        id_, kind, task, queue, pool, priority, state, run_at, attempt, max_attempts, crashes, max_crashes,
        token, worker_id, enqueued_at, started_at, finished_at, group_id, part, size, alias, labels, headers,
        payload, result, failure, timeout_s, memory_mb, cores, cancel_requested_at, unique_key, concurrency_key,
        expires_at, result_ttl, redriven_at, version, *progress,
    ) = row  # fmt: skip
    return Job(
        id=id_,
        kind=_kinds[kind],
        task=task,
        queue=queue,
        pool=pool,
        priority=priority,
        state=_states[state],
        run_at_us=run_at,
        attempt=attempt,
        max_attempts=max_attempts,
        crashes=crashes,
        max_crashes=max_crashes,
        timeout_s=timeout_s,
        memory_mb=memory_mb,
        cores=cores,
        token=token,
        worker_id=worker_id,
        enqueued_at_us=enqueued_at,
        started_at_us=started_at,
        finished_at_us=finished_at,
        cancel_requested_at_us=cancel_requested_at,
        unique_key=unique_key,
        concurrency_key=concurrency_key,
        expires_at_us=expires_at,
        result_ttl_us=result_ttl,
        redriven_at_us=redriven_at,
        group_id=group_id,
        part=part,
        size=size,
        alias=alias,
        labels=_words(labels),
        headers=_words(headers),
        payload=payload,
        result=result,
        failure=failure_of(failure),
        progress=_progress_of(progress),
        version=version + _progress_version(progress),
    )


def ending_values(ending: Ending) -> dict[str, Any]:
    """The parameters of `finish`."""
    succeeded = ending.state is State.SUCCEEDED
    return {
        "id": ending.job.id,
        "token": ending.job.token,
        "state": ending.state,
        "run_at": ending.run_at_us,
        "attempt": ending.attempt,
        "crashes": ending.crashes,
        "started_at": ending.job.started_at_us if ending.state.is_finished else None,
        "finished_at": ending.finished_at_us,
        "result": ending.outcome.result if succeeded else None,
        "failure": failure_json(ending.failure),
    }


def attempt_values(ending: Ending) -> dict[str, Any]:
    """The parameters of `insert_attempt`."""
    failure = ending.outcome.failure
    return {
        "id": ending.job.id,
        "token": ending.job.token,
        "number": ending.job.attempt,
        "worker_id": ending.job.worker_id,
        "started_at": ending.job.started_at_us,
        "ended_at": ending.ended_at_us,
        "outcome": ending.outcome.kind,
        "error_class": failure.error_class if failure else None,
        "error_message": failure.message if failure else None,
        "error_traceback": failure.traceback if failure else None,
    }


def progress_values(job_id: str, progress: Progress) -> dict[str, Any]:
    """The parameters of `report_progress`."""
    total = progress.total
    return {
        "id": job_id,
        "done": float(progress.done),
        "total": None if total is None else float(total),
        "message": progress.message,
    }


def attempts_of(rows: Iterable[Row]) -> dict[str, list[Attempt]]:
    attempts: dict[str, list[Attempt]] = {}
    for job_id, number, worker_id, started_at, ended_at, outcome, *error in rows:
        failure = Failure(*error) if error[0] else None
        attempt = Attempt(number, worker_id, started_at, ended_at, OutcomeKind(outcome), failure)
        attempts.setdefault(job_id, []).append(attempt)
    return attempts


def message_of(row: Row) -> Message:
    number, sent_at, body = row
    return Message(number, sent_at, msgspec.json.decode(body))


def part_of(row: Row) -> Part:
    state, size, started_at, finished_at = row
    return Part(State(state), size, started_at, finished_at)


def worker_of(row: Row) -> WorkerRow:
    *columns, queues = row
    values = dict(zip(WorkerRow.__struct_fields__, columns, strict=False))
    return WorkerRow(**values, queues=msgspec.json.decode(queues, type=tuple[str, ...]))


def schedule_values(schedule: ScheduleRow) -> dict[str, Any]:
    """The parameters of `keep_schedule`."""
    return {
        "name": schedule.name,
        "cron": schedule.cron,
        "timezone": schedule.timezone,
        "task": schedule.task,
        "seen_at": schedule.seen_at_us,
    }


def schedule_of(row: Row) -> ScheduleRow:
    return ScheduleRow(**dict(zip(ScheduleRow.__struct_fields__, row, strict=True)))


def labelled_of(rows: Iterable[Row]) -> tuple[list[str], str | None]:
    """Those that have the labels, and the last, which may not."""
    page = list(rows)
    return [id_ for id_, has_labels in page if has_labels], page[-1][0] if page else None


def blanked_of(rows: Iterable[Row]) -> list[dict[str, Any]]:
    """The parameters of `forget`, for those of these jobs that have ended."""
    ended = [(id_, failure_of(text)) for id_, text, has_ended in rows if has_ended]
    return [{"id": id_, "failure": failure_json(failure and failure.forgotten())} for id_, failure in ended]


def failure_of(text: str | None) -> Failure | None:
    try:
        return _failure.decode(text) if text else None
    except msgspec.DecodeError:
        return Failure("unknown", f"the reason was damaged: {text}")


def failure_json(failure: Failure | None) -> str | None:
    return msgspec.json.encode(failure).decode() if failure else None


def _progress_of(columns: list[Any]) -> Progress:
    if not columns or columns[0] is None:
        return Progress()
    return Progress(_whole(columns[0]), _whole(columns[1]), columns[2])


def _progress_version(columns: list[Any]) -> int:
    return (columns[3] or 0) if columns else 0


def _whole(number: float | None) -> Any:
    """3.0 as 3: the column is REAL, and most counts are whole."""
    return int(number) if number is not None and number.is_integer() else number


def _json(words: dict[str, str]) -> str:
    return msgspec.json.encode(words).decode() if words else "{}"


def _words(text: str) -> dict[str, str]:
    if text == "{}":
        return {}
    try:
        return msgspec.json.decode(text, type=dict[str, str])
    except msgspec.DecodeError:
        # Damaged by another hand. A claim must not fail for it: the other jobs of the batch go on.
        return {}
