"""The verbs of the command line: each has its options, and a function that writes lines and gives the exit status.

Lists show neither arguments nor results, which may be secret: only `job --payload` does.
"""

import argparse
import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

from treadle.app import Treadle
from treadle.clock import US_PER_S, SystemClock
from treadle.console import show
from treadle.console.top import run_top
from treadle.errors import JobNotFound, RetryRefused
from treadle.redaction import task_in
from treadle.report.log import LOG_FORMATS, log_to_terminal
from treadle.states import REDRIVEN, State
from treadle.worker.loop import Worker
from treadle.worker.process import once_possible, run_process
from treadle.worker.upkeep import prune_finished

Write = Callable[[str], object]
Options = argparse.Namespace


class Verb(NamedTuple):
    """One command."""

    name: str
    help: str
    add_options: Callable[[argparse.ArgumentParser], None]
    run: Callable[[Treadle, Options, Write], int]


def add_verbs(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]",
    add_first: Callable[[argparse.ArgumentParser], object] = lambda parser: None,
) -> None:
    """Make a parser for each verb, which leaves it in `options.verb`; `add_first` adds arguments before its own."""
    for verb in VERBS:
        parser = commands.add_parser(verb.name, help=verb.help, description=verb.help)
        add_first(parser)
        verb.add_options(parser)
        parser.set_defaults(verb=verb)


# worker run


def _run_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--concurrency", type=at_least_one, metavar="N", help="child processes (default: the usable cores)"
    )
    parser.add_argument("--queues", type=split_queues, default=(), metavar="A,B", help="only these, in this order")
    parser.add_argument(
        "--pool", type=pool_size, action="append", default=[], metavar="NAME=N",
        help="how many jobs a pool runs at once, as in threads=16; 0: none; may be repeated",
    )  # fmt: skip
    parser.add_argument("--log-format", choices=LOG_FORMATS, default="text", help="lines of text, or of JSON")


def run_worker(app: Treadle, options: Options, write: Write) -> int:
    """Run a worker of this application in this process until a signal."""
    worker = ready_worker(app, options)
    if worker is not None:
        run_process(worker)
    return 0


def ready_worker(app: Treadle, options: Options) -> Worker | None:
    """The worker that the options describe, once its store is there; None where a signal came first."""
    log_to_terminal(options.log_format)
    chosen = {"concurrency": options.concurrency, "queues": options.queues, "pool_sizes": dict(options.pool)}
    return once_possible(partial(app.worker, **chosen), app.events.announce)


# Looking


def _status_options(parser: argparse.ArgumentParser) -> None:
    _json_option(parser)
    parser.add_argument(
        "--max-age", type=seconds, metavar="S",
        help="exit with 1 where no live worker was seen within S seconds, for health checks",
    )  # fmt: skip


def status(app: Treadle, options: Options, write: Write) -> int:
    """Who works, how many jobs stand where, and what is sent when."""
    workers, schedules = show.workers_of(app), show.schedules_of(app)
    counts, paused = app.store.counts(), app.paused()
    if options.json:
        plain = {
            "workers": show.as_plain(workers),
            "queues": show.by_queue(counts, paused),
            "paused": list(paused),
            "schedules": show.as_plain(schedules),
        }
        write(json.dumps(plain))
    else:
        for line in (*show.worker_lines(workers), *show.queue_lines(counts, paused), *show.schedule_lines(schedules)):
            write(line)
    if options.max_age is None or any(w.is_alive and w.seen_s_ago <= options.max_age for w in workers):
        return 0
    if not options.json:
        write(f"no live worker was seen within {options.max_age:g} s")
    return 1


def _jobs_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--state", choices=[str(state) for state in State])
    parser.add_argument("--task", metavar="NAME")
    parser.add_argument("--queue", metavar="NAME")
    parser.add_argument("--label", type=label, action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--limit", type=at_least_one, default=50, metavar="N", help="the newest N (default: 50)")
    _json_option(parser)


def jobs(app: Treadle, options: Options, write: Write) -> int:
    """The newest jobs that fit, a line each."""
    found = app.jobs(
        state=options.state, task=options.task, queue=options.queue, labels=dict(options.label), limit=options.limit
    )
    if options.json:
        write(json.dumps([show.job_fields(job.row) for job in found]))
        return 0
    now_us = SystemClock().now_us()
    for job in found:
        write(show.job_line(job.row, now_us))
    if not found:
        write("no job fits")
    return 0


def _job_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("id", help="the id of the job")
    parser.add_argument(
        "--payload", action="store_true", help="its arguments, but for what is redacted, and its result, too"
    )


def job(app: Treadle, options: Options, write: Write) -> int:
    """Everything about one job."""
    found = app.job(options.id)
    for line in show.job_page(found, task_in(app.registry, found.task), with_payload=options.payload):
        write(line)
    return 0


def _top_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--once", action="store_true", help="one picture, and end; so too where this is no terminal")
    parser.add_argument("--every", type=seconds, default=1.0, metavar="S", help="how often to look (default: 1)")


def top(app: Treadle, options: Options, write: Write) -> int:
    """Queues, rates, workers and running jobs, live; q or Ctrl-C ends it."""
    run_top(app, write, once=options.once, every_s=options.every)
    return 0


# Changing


def _cancel_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("ids", nargs="+", metavar="ID")


def cancel(app: Treadle, options: Options, write: Write) -> int:
    """Cancel jobs; the status is 1 where one of them was not there."""
    missing = 0
    for id_ in options.ids:
        try:
            handle = app.job(id_)
        except JobNotFound as error:
            write(str(error))
            missing += 1
            continue
        is_cancelled = handle.cancel()
        state = handle.refresh().state
        if not is_cancelled:
            write(f"{id_} has ended already: {state}")
        else:
            write(f"{id_} {'is asked to end' if state is State.RUNNING else 'is cancelled'}")
    return 1 if missing else 0


def _retry_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("ids", nargs="*", metavar="ID")
    parser.add_argument("--state", choices=sorted(REDRIVEN), help="instead of ids: the newest jobs in this state")
    parser.add_argument("--task", metavar="NAME", help="of these, those of this task")
    parser.add_argument("--limit", type=at_least_one, default=50, metavar="N", help="at most N of them (default: 50)")


def retry(app: Treadle, options: Options, write: Write) -> int:
    """Send jobs once more; the status is 1 where one of them was not there, or could not be."""
    if bool(options.ids) == (options.state is not None):
        write("give ids, or --state")
        return 2
    refused, ids = 0, options.ids or _to_retry(app, options)
    for id_ in ids:
        try:
            write(f"{id_} is {app.job(id_).retry().state}")
        except (JobNotFound, RetryRefused) as error:
            write(str(error))
            refused += 1
    if not ids:
        write("no job fits")
    return 1 if refused else 0


def _to_retry(app: Treadle, options: Options) -> list[str]:
    """The ids of the jobs that fit, the oldest first; for a part that of its whole."""
    found = app.jobs(state=options.state, task=options.task, limit=options.limit)
    return list(dict.fromkeys(job.row.group_id or job.id for job in reversed(found)))


def _queues_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", nargs="+", metavar="QUEUE")


def pause(app: Treadle, options: Options, write: Write) -> int:
    """Have no worker take jobs of these queues."""
    app.pause(*options.names)
    for name in options.names:
        write(f"{name} is paused: its jobs wait until `resume`, and what runs goes on")
    return 0


def resume(app: Treadle, options: Options, write: Write) -> int:
    """Have the jobs of these queues taken again."""
    before = app.paused()
    app.resume(*options.names)
    for name in options.names:
        write(f"{name} {'is resumed' if name in before else 'was not paused'}")
    return 0


def _prune_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--older-than", type=seconds, metavar="S",
        help="all jobs that ended more than S seconds ago (default: as keep_succeeded_s and keep_failed_s say)",
    )  # fmt: skip
    parser.add_argument(
        "--schedules", action="store_true", help="also forget the schedules that this application declares no longer"
    )


def prune(app: Treadle, options: Options, write: Write) -> int:
    """Delete finished jobs; a worker does the same by itself every minute, as the settings say."""
    now_us = SystemClock().now_us()
    settings = app.settings
    chosen = (
        (settings.keep_succeeded_s, settings.keep_failed_s) if options.older_than is None else (options.older_than,) * 2
    )
    succeeded_us, failed_us = (now_us - round(age_s * US_PER_S) for age_s in chosen)
    write(f"{prune_finished(app.store, succeeded_us, failed_us)} jobs deleted")
    if options.schedules:
        undeclared = [row.name for row in app.store.schedules() if row.name not in app.find_schedules()]
        app.store.forget_schedules(undeclared)
        write(f"{len(undeclared)} schedules forgotten")
    return 0


def _forget_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--label", type=label, action="append", required=True, metavar="NAME=VALUE",
        help="jobs that have this label; where it is repeated, those that have them all",
    )  # fmt: skip


def forget(app: Treadle, options: Options, write: Write) -> int:
    """Blank what finished jobs were given and what they said."""
    came_of_it = app.forget(labels=dict(options.label))
    write(f"{came_of_it.forgotten} jobs forgotten")
    if came_of_it.unfinished:
        write(f"{came_of_it.unfinished} have not ended, and were left: do it again when they have")
    return 0


def migrate(app: Treadle, options: Options, write: Write) -> int:
    """Opening a store makes its tables; what is left is to say so."""
    write(f"{app.store} is up to date")
    return 0


# What is typed


def at_least_one(text: str) -> int:
    """For argparse: a whole number above 0."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def seconds(text: str) -> float:
    """For argparse: a number of seconds."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds")
    return value


def label(text: str) -> tuple[str, str]:
    """For argparse: NAME=VALUE."""
    name, separator, value = text.partition("=")
    if not (name and separator):
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form NAME=VALUE")
    return name, value


def pool_size(text: str) -> tuple[str, int]:
    """For argparse: NAME=N."""
    name, size = label(text)
    if not size.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form NAME=N, as in threads=16")
    return name, int(size)


def split_queues(text: str) -> tuple[str, ...]:
    return tuple(name for name in text.split(",") if name)


def _json_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="for a program to read")


def _no_options(parser: argparse.ArgumentParser) -> None:
    pass


VERBS: tuple[Verb, ...] = (
    Verb("run", "Take jobs until SIGTERM or Ctrl-C.", _run_options, run_worker),
    Verb("status", "Show the workers, how many jobs are in each state, and the schedules.", _status_options, status),
    Verb("top", "Show queues, rates, workers and running jobs, live.", _top_options, top),
    Verb("jobs", "List the newest jobs.", _jobs_options, jobs),
    Verb("job", "Show everything about one job.", _job_options, job),
    Verb("cancel", "Cancel jobs.", _cancel_options, cancel),
    Verb("retry", "Send jobs that failed or were cancelled once more.", _retry_options, retry),
    Verb("pause", "Have no worker take jobs of these queues, until they are resumed.", _queues_options, pause),
    Verb("resume", "Have the jobs of paused queues taken again.", _queues_options, resume),
    Verb("prune", "Delete finished jobs that are old enough.", _prune_options, prune),
    Verb(
        "forget",
        "Blank arguments, results and messages of the finished jobs with some labels.",
        _forget_options,
        forget,
    ),
    Verb("migrate", "Make the tables of the store, or bring them up to date.", _no_options, migrate),
)
BY_NAME: Mapping[str, Verb] = {verb.name: verb for verb in VERBS}
