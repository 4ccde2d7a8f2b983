"""Every error that Treadle raises, and the three that a task raises to say what becomes of its job.

    TreadleError
    ├── ConfigurationError        something is wrong before any job runs
    │   ├── SettingsError         a setting or an option has a wrong name or value
    │   ├── InvalidTask           a function cannot be a task, or not with these options
    │   ├── InvalidSchedule       a schedule has no such times, or its name is taken
    │   └── AppNotFound           a child process could not find the application
    ├── NotATask                  (TypeError) a plain function was sent
    ├── PayloadError              (ValueError) a value cannot be kept as JSON
    │   └── PayloadTooLarge       a value is too large to be kept
    ├── UnknownTask               (LookupError) a job names a task that this process does not know
    ├── JobNotFound               (LookupError) no job has this id
    ├── JobNotFinished            the result was asked for in a way that cannot wait
    │   └── WouldDeadlock         waiting here would never end
    ├── ResultExpired             (LookupError) the result of a job was kept for a while only
    ├── RetryRefused              (ValueError) a job cannot be sent once more
    ├── JobFailed                 the result of a failed job was asked for
    │   └── JobCancelled          the result of a cancelled job was asked for
    ├── WorkerLost                the process that ran a job died or was stopped
    ├── Retry                     a task asks for another attempt
    ├── Snooze                    a task asks to be run again later, without an attempt being counted
    ├── Reject                    a task fails its job at once
    ├── CompletionError           the end of a job could not be kept together with the caller's rows
    │   ├── ClaimLost             the run does not hold its job any more
    │   └── NotCommitted          the transaction that held the end of the job was not committed
    ├── JobExpired                a job had not begun in time
    ├── StoreError                the store could not do what was asked
    │   ├── StoreLocked           somebody else holds its lock for too long
    │   ├── StoreReadOnly         it may not be written
    │   ├── StoreFull             the disk is full
    │   ├── StoreDamaged          it is not a database, or no longer
    │   ├── StoreUnavailable      its server cannot be reached, or the connection was lost
    │   ├── StoreReplaced         its file is another one than was opened
    │   ├── CannotJoin            the transaction of a connection that was given cannot be joined
    │   ├── SchemaMissing         its tables were not made yet
    │   ├── SchemaTooNew          it was migrated by a newer Treadle
    │   └── NetworkFileSystem     it lies where file locks cannot be trusted
    └── PoolError                 a pool could not run a function
        ├── WorkerCrashed         (BrokenProcessPool) the child process died under it
        ├── PoolBroken            (BrokenProcessPool) no child process can be started
        ├── TaskTimeout           (TimeoutError) the call ran longer than its limit and was killed
        ├── MemoryLimitExceeded   (MemoryError) the call took more memory than its limit and was killed
        ├── LimitNotKept          (ValueError) the call asks for a limit that this pool cannot keep
        ├── QueueFull             as many calls wait as may
        └── Unpicklable           (PicklingError) a value cannot travel to or from a child
            └── Unreadable        (BrokenProcessPool) it was pickled, and cannot be made again on the other side

Catch TreadleError to catch everything that is ours.
"""

import difflib
import pickle
import sys
from collections.abc import Iterable
from concurrent.futures.process import BrokenProcessPool
from numbers import Real


class TreadleError(Exception):
    """The root: catch it to catch everything that is ours."""


class ConfigurationError(TreadleError):
    """Raised when something is wrong before any job runs."""


class SettingsError(ConfigurationError):
    """Raised at start when a setting has a name or a value that is not known."""


class InvalidTask(ConfigurationError):
    """Raised at decoration when a function cannot be a task, or not with these options."""


class InvalidSchedule(ConfigurationError):
    """Raised at declaration when a schedule has a wrong cron text, time zone or call, or the name of another."""


class AppNotFound(ConfigurationError):
    """Raised when a child process would not know how to build the application."""


class NotATask(TreadleError, TypeError):
    """Raised when something that is not a task of this application is sent."""


class PayloadError(TreadleError, ValueError):
    """Raised when an argument or a result cannot be kept as JSON; names the path to the value."""


class PayloadTooLarge(PayloadError):
    """Raised when arguments or a result are larger than the limit."""


class UnknownTask(TreadleError, LookupError):
    """Raised when a job names a task that this process does not know."""


class JobNotFound(TreadleError, LookupError):
    """Raised when no job has this id, or the id is malformed."""


class JobNotFinished(TreadleError):
    """Raised when a result was asked for before there is one."""


class WouldDeadlock(JobNotFinished):
    """Raised when waiting for the result at this place could never end."""


class ResultExpired(TreadleError, LookupError):
    """Raised by `result()` of a job that has succeeded, and whose result was not kept any longer, or was forgotten."""


class RetryRefused(TreadleError, ValueError):
    """Raised when a job cannot be sent once more under its id; the message says why, and what can be done."""


class JobFailed(TreadleError):
    """Raised by `result()` of a failed job; its cause holds the remote traceback."""


class JobCancelled(JobFailed):
    """Raised by `result()` of a cancelled job."""


class WorkerLost(TreadleError):
    """The recorded reason of a job whose process died, or was stopped, more often than it may."""


class Retry(TreadleError):
    """Raised by a task: this attempt has failed, and the job is tried again if attempts are left (`max_attempts`).

    `after_s`: how many seconds until then; None: as many as the task's back-off rule answers. Whatever `retry_on` and
    `give_up_on` say. Where no attempt is left the job fails. What is kept of the attempt is the error that this one was
    raised from (`raise Retry(after_s=5) from error`), else this one. Raises ValueError for a wait that is no finite
    number from 0 on.
    """

    def __init__(self, after_s: float | None = None) -> None:
        super().__init__(after_s)
        self.after_s = None if after_s is None else _seconds("Retry", after_s)

    def __str__(self) -> str:
        return "the task asked for another attempt" + ("" if self.after_s is None else f" after {self.after_s:g} s")


class Snooze(TreadleError):
    """Raised by a task: not now; the job runs again after `after_s` seconds, and no attempt is counted.

    As often as the task likes, however few attempts are left. Raises ValueError for a wait that is no finite number
    from 0 on.
    """

    def __init__(self, after_s: float) -> None:
        super().__init__(after_s)
        self.after_s = _seconds("Snooze", after_s)

    def __str__(self) -> str:
        return f"the task asked to be run again after {self.after_s:g} s"


class Reject(TreadleError):
    """Raised by a task: the job fails at once with this reason, whatever attempts are left."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)


def _seconds(verb: str, after_s: float) -> float:
    is_number = isinstance(after_s, Real) and not isinstance(after_s, bool)
    if not (is_number and 0 <= after_s <= sys.float_info.max):
        raise ValueError(f"{verb}: after_s must be a finite number of seconds, 0 or more, got {after_s!r}")
    return float(after_s)


class CompletionError(TreadleError):
    """Raised by `context.complete_in` where one call cannot end its job: it is one of several in a part."""


class ClaimLost(CompletionError):
    """Raised by `context.complete_in` where the job is not this run's any more, so that the caller's rows are not kept.

    It was rescued, since its worker was taken for dead, or its end is written already.
    """


class NotCommitted(CompletionError):
    """The recorded reason of a run that called `complete_in`, returned, and did not commit."""


class JobExpired(TreadleError):
    """The recorded reason of a job that had not begun by the end of its `expires_after`."""


class StoreError(TreadleError):
    """Raised when the store could not do what was asked; nothing of it was done."""


class StoreLocked(StoreError):
    """Raised when another connection held the store's lock for too long."""


class StoreReadOnly(StoreError):
    """Raised when the store may not be written."""


class StoreFull(StoreError):
    """Raised when the disk of the store is full."""


class StoreDamaged(StoreError):
    """Raised when the file is not a database, or is damaged."""


class StoreUnavailable(StoreError):
    """Raised when the store's server cannot be reached.

    Also when the connection is lost in the middle: it is not known then whether what was being written was kept.
    """


class StoreReplaced(StoreError):
    """Raised when the file was replaced, moved or deleted while it was open.

    The next try opens the one that is there.
    """


class CannotJoin(StoreError):
    """Raised when a connection that was given for a send leads to another database, or has no transaction to join.

    Also when it is of a kind that we do not know.
    """


class SchemaMissing(StoreError):
    """Raised when the store's tables were not made yet."""


class SchemaTooNew(StoreError):
    """Raised when a newer Treadle migrated the store past what this one understands."""


class NetworkFileSystem(StoreError):
    """Raised when a SQLite store lies on a file system whose locks cannot be trusted."""


class PoolError(TreadleError):
    """Raised when a pool could not run a function."""


class WorkerCrashed(PoolError, BrokenProcessPool):
    """Raised by the future of a function whose child process died; other futures are unharmed."""

    def __init__(self, message: str, exit_code: int | None = None) -> None:
        super().__init__(message)
        self.exit_code = exit_code

    def __reduce__(self) -> tuple[type["WorkerCrashed"], tuple[str, int | None]]:
        return type(self), (str(self), self.exit_code)


class PoolBroken(PoolError, BrokenProcessPool):
    """Raised when no child process can be started; the cause says why."""


class TaskTimeout(PoolError, TimeoutError):
    """Raised by the future of a call that ran longer than its `timeout_s`; its process was killed."""


class MemoryLimitExceeded(PoolError, MemoryError):
    """Raised by the future of a call whose process grew by more than its `memory_mb`; it was killed."""


class LimitNotKept(PoolError, ValueError):
    """Raised when a call asks for a limit that this pool cannot keep; the message names the pool that can."""


class QueueFull(PoolError):
    """Raised when as many calls wait in a pool as its `max_queue` allows."""


class Unpicklable(PoolError, pickle.PicklingError):
    """Raised by the future of a call whose argument, result or exception cannot be pickled."""


class Unreadable(Unpicklable, BrokenProcessPool):
    """Raised by the future of a call that was pickled and cannot be unpickled in the child, or whose result cannot here.

    The cause says why. `ProcessPoolExecutor` raises BrokenProcessPool then; here other futures are unharmed.
    """

    has_run = True
    """Whether the function has run, and it is its result that cannot be read; False: its arguments could not be."""


def suggestion(word: object, known: Iterable[str]) -> str:
    """`, did you mean 'x'?` for the known word nearest to `word`, else nothing."""
    near = difflib.get_close_matches(str(word), list(known), n=1)
    return f", did you mean {near[0]!r}?" if near else ""
