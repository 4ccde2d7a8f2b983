"""Parallel computing for Flask and Django: send a function, run it on every core, lose nothing."""

from treadle.app import Treadle
from treadle.backoff import Backoff
from treadle.errors import (
    AppNotFound,
    ConfigurationError,
    InvalidTask,
    JobCancelled,
    JobExpired,
    JobFailed,
    JobNotFound,
    LimitNotKept,
    MemoryLimitExceeded,
    NotATask,
    PayloadError,
    PayloadTooLarge,
    PoolBroken,
    PoolError,
    QueueFull,
    ResultExpired,
    RetryRefused,
    SettingsError,
    StoreError,
    TaskTimeout,
    TreadleError,
    UnknownTask,
    Unpicklable,
    Unreadable,
    WorkerCrashed,
    WorkerLost,
    WouldDeadlock,
)
from treadle.handle import JobHandle
from treadle.pools.processes import ProcessPool
from treadle.pools.threads import ThreadPool
from treadle.states import State
from treadle.task import Context, Task

__version__ = "0.1.0"

__all__ = [
    "AppNotFound",
    "Backoff",
    "ConfigurationError",
    "Context",
    "InvalidTask",
    "JobCancelled",
    "JobExpired",
    "JobFailed",
    "JobHandle",
    "JobNotFound",
    "LimitNotKept",
    "MemoryLimitExceeded",
    "NotATask",
    "PayloadError",
    "PayloadTooLarge",
    "PoolBroken",
    "PoolError",
    "ProcessPool",
    "QueueFull",
    "ResultExpired",
    "RetryRefused",
    "SettingsError",
    "State",
    "StoreError",
    "Task",
    "TaskTimeout",
    "ThreadPool",
    "Treadle",
    "TreadleError",
    "UnknownTask",
    "Unpicklable",
    "Unreadable",
    "WorkerCrashed",
    "WorkerLost",
    "WouldDeadlock",
]
