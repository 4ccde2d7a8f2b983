"""From a call to the rows that are sent: one job for a call, and for a `send_map` its parts and their whole.

And whether anybody will run them.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Any

import msgspec

from treadle.clock import US_PER_S, Clock
from treadle.errors import InvalidTask, PayloadTooLarge, suggestion
from treadle.events import Event, NobodyServes
from treadle.job import Job, Kind, new_id
from treadle.settings import Settings
from treadle.states import State
from treadle.store.contract import Store
from treadle.task import LIMITS, POOLS, BoundTask, Task
from treadle.worker.execution import GATHER

PARTS_PER_SLOT = 16
"""Enough that no slot waits long for the last part: with 2 a slot a map took up to 15 % longer."""
SHORT_PART_S = 0.005
"""A part costs about 0.5 ms, whatever is in it."""
LONG_PART_S = 2.0
"""What a crash or a deploy repeats, and how long the progress of a map stands still."""
MOST_PARTS = 1000


def fitting_parts(items: int, slots: int, item_s: float | None) -> int:
    """Into how many parts to cut a map over so many items; `item_s`: how long one takes, if that is known."""
    usual = PARTS_PER_SLOT * slots
    if item_s is None or item_s < 0:  # The clock was set back meanwhile.
        return usual
    total_s = items * item_s
    fine = min(math.ceil(total_s / LONG_PART_S), MOST_PARTS)
    return max(1, min(max(usual, fine), int(total_s / SHORT_PART_S)))


class Attendance:
    """Tells of queues that are sent to and nobody serves; looks once for each."""

    def __init__(self, clock: Clock, announce: Callable[[Event], None]) -> None:
        self._clock = clock
        self._announce = announce
        self._seen: set[str] = set()

    def look(self, store: Store, jobs: Iterable[Job]) -> None:
        new = {job.queue for job in jobs} - self._seen
        if not new:
            return
        now_us = self._clock.now_us()
        # By the lease alone: this host may not be that of the workers.
        live = [worker for worker in store.workers() if worker.lease_until_us >= now_us]
        # Only now: where the store is away the next send looks.
        self._seen |= new
        for queue in sorted(new):
            if not any(queue in worker.queues or not worker.queues for worker in live):
                self._announce(NobodyServes(queue))


def connection_of(tasks: Iterable[Task[..., Any]]) -> Any:
    """The connection that the tasks of one send name, or None. Raises InvalidTask where they differ."""
    named = {id(task.settings.connection): task.settings.connection for task in tasks}
    if len(named) > 1:
        raise InvalidTask("what is sent together is sent in one transaction: give each task of it the same connection")
    return next(iter(named.values()), None)


class Drafts:
    """Makes the rows of one application; writes nothing."""

    def __init__(
        self, settings: Settings, clock: Clock, alias: str, capture: Callable[[], dict[str, str]] = dict
    ) -> None:
        """`capture`: what is to travel in the headers of a job that is sent now."""
        self._settings = settings
        self._clock = clock
        self._alias = alias
        self._capture = capture

    def call(self, task: Task[..., Any], call: BoundTask[Any]) -> Job:
        """The row of one call. Raises PayloadError, PayloadTooLarge, or InvalidTask for an unknown queue or pool."""
        payload = task.encode_arguments(call.args, call.kwargs, self._settings.max_payload_bytes)
        return self._job(task, payload)

    def map(
        self, task: Task[..., Any], items: Sequence[Any], reduce: Task[..., Any] | None, most_parts: int
    ) -> list[Job]:
        """The rows of at most `most_parts` parts, and that of their whole, which is the last."""
        count = min(len(items), most_parts)
        edges = [len(items) * index // count for index in range(count + 1)] if count else []
        whole = msgspec.structs.replace(
            self._job(reduce or task, "{}", kind=Kind.WHOLE, size=len(items)),
            state=State.BLOCKED if count else State.READY,
            unique_key=_key_of_whole(task, reduce),
            # What gathers is ours: limits, expiry and concurrency key are meant for the user's function.
            **({} if reduce else {"task": GATHER, **dict.fromkeys((*LIMITS, "expires_at_us", "concurrency_key"))}),
        )
        return [
            *(
                self._part(task, items[start:end], whole.id, index)
                for index, (start, end) in enumerate(pairwise(edges))
            ),
            whole,
        ]

    def map_that_fits(
        self, task: Task[..., Any], items: Sequence[Any], reduce: Task[..., Any] | None, parts: int
    ) -> list[Job]:
        """The same in more than `parts` parts where these would be too large. Raises PayloadTooLarge for one item."""
        while True:
            try:
                return self.map(task, items, reduce, parts)
            except PayloadTooLarge:
                if parts >= len(items):
                    raise
            parts *= 2

    def _part(self, task: Task[..., Any], items: Sequence[Any], whole_id: str, index: int) -> Job:
        for item in items:
            task.bind(item)
        try:
            payload = task.encode_items(items, f"part {index} of {task.name}", self._settings.max_payload_bytes)
        except PayloadTooLarge as error:
            if len(items) == 1:
                raise
            raise PayloadTooLarge(f"{error}; or send the items in more parts with send_map(parts=…)") from None
        part = self._job(task, payload, kind=Kind.PART, size=len(items), group_id=whole_id, part=index)
        # The limit is for one call: a part whose items all keep it must not be killed.
        timeout_s = part.timeout_s and part.timeout_s * len(items)
        # The key is that of the whole, and the result goes with that of the whole.
        return msgspec.structs.replace(part, timeout_s=timeout_s, unique_key=None, result_ttl_us=None)

    def _job(self, task: Task[..., Any], payload: str, **fields: Any) -> Job:
        self._check_queue(task)
        self._check_pool(task)
        options = task.settings
        now_us = self._clock.now_us()
        run_at_us = options.run_at_us(now_us)
        expires_at_us = options.expires_at_us(now_us)
        if expires_at_us is not None and expires_at_us <= run_at_us:
            raise InvalidTask(
                f"{task.name}: expires_after={options.expires_after!r} is over when run_after={options.run_after!r} "
                "comes, so it would never run"
            )
        return Job(
            id=new_id(),
            task=task.name,
            payload=payload,
            state=State.SCHEDULED if run_at_us > now_us else State.READY,
            queue=options.queue,
            pool=options.pool,
            priority=options.priority,
            max_attempts=options.max_attempts,
            max_crashes=options.max_crashes,
            timeout_s=options.timeout_s,
            memory_mb=options.memory_mb,
            cores=options.cores,
            labels=options.labels,
            unique_key=options.unique_key,
            concurrency_key=options.concurrency_key,
            alias=self._alias,
            headers=self._capture(),
            enqueued_at_us=now_us,
            expires_at_us=expires_at_us,
            result_ttl_us=self._result_ttl_us(task),
            run_at_us=run_at_us,
            version=1,
            **fields,
        )

    def _result_ttl_us(self, task: Task[..., Any]) -> int | None:
        chosen_s = task.settings.result_ttl_s
        kept_s = self._settings.keep_results_s if chosen_s is None else chosen_s
        return None if kept_s is None else round(kept_s * US_PER_S)

    def _check_queue(self, task: Task[..., Any]) -> None:
        """Raises InvalidTask where the settings list the queues, and this is none of them."""
        queue, queues = task.settings.queue, self._settings.queues
        if queues and queue not in queues:
            raise InvalidTask(
                f"{task.name}: unknown queue {queue!r}{suggestion(queue, queues)}; "
                f"the setting 'queues' lists {', '.join(queues)}"
            )

    def _check_pool(self, task: Task[..., Any]) -> None:
        """Raises InvalidTask where no pool has the name that the task gives."""
        pool, executors = task.settings.pool, self._settings.executors
        if pool not in POOLS and pool not in executors:
            raise InvalidTask(
                f"{task.name}: unknown pool {pool!r}{suggestion(pool, executors)}; the setting 'executors' lists "
                f"{', '.join(executors) or 'none'}"
            )


def _key_of_whole(task: Task[..., Any], reduce: Task[..., Any] | None) -> str | None:
    """The unique key of a map: that of `task`, or that of `reduce`. Raises InvalidTask where both have one."""
    key = task.settings.unique_key
    key_of_reduce = reduce.settings.unique_key if reduce else None
    if key is None:
        return key_of_reduce
    if key_of_reduce is not None:
        raise InvalidTask(
            f"a map of {task.name} to {reduce and reduce.name} has two unique keys, {key!r} and {key_of_reduce!r}: "
            "give it one"
        )
    # All maps without a `reduce` are jobs of one task, and those of several tasks may have the same `reduce`.
    return f"{task.name}:{key}"
