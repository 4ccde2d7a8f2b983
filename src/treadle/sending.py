"""From a call to the rows that are sent: one job for a call, and for a `send_map` its parts and their whole.

And whether anybody will run them.
"""

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
        self._seen |= new
        now_us = self._clock.now_us()
        # By the lease alone: this host may not be that of the workers.
        live = [worker for worker in store.workers() if worker.lease_until_us >= now_us]
        for queue in sorted(new):
            if not any(queue in worker.queues or not worker.queues for worker in live):
                self._announce(NobodyServes(queue))


class Drafts:
    """Makes the rows of one application; writes nothing."""

    def __init__(self, settings: Settings, clock: Clock, alias: str) -> None:
        self._settings = settings
        self._clock = clock
        self._alias = alias

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
            # What gathers is ours: limits and expiry are meant for the user's function.
            **({} if reduce else {"task": GATHER, "expires_at_us": None, **dict.fromkeys(LIMITS)}),
        )
        return [
            *(
                self._part(task, items[start:end], whole.id, index)
                for index, (start, end) in enumerate(pairwise(edges))
            ),
            whole,
        ]

    def _part(self, task: Task[..., Any], items: Sequence[Any], whole_id: str, index: int) -> Job:
        for item in items:
            task.bind(item)
        try:
            payload = task.encode_items(items, f"part {index} of {task.name}", self._settings.max_payload_bytes)
        except PayloadTooLarge as error:
            raise PayloadTooLarge(f"{error}; or send the items in more parts with send_map(parts=…)") from None
        part = self._job(task, payload, kind=Kind.PART, size=len(items), group_id=whole_id, part=index)
        # Its result goes with that of the whole.
        part = msgspec.structs.replace(part, result_ttl_us=None)
        if part.timeout_s is None:
            return part
        # The limit is for one call: a part whose items all keep it must not be killed.
        return msgspec.structs.replace(part, timeout_s=part.timeout_s * len(items))

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
            alias=self._alias,
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
