"""Tasks of the tests' Django site."""

import os
import time
from pathlib import Path

from asgiref.sync import sync_to_async
from django.db import connection, transaction
from django.utils import timezone, translation

from django_worker import task
from treadle import Reject, Retry, Snooze


@task
def string_length(text):
    return len(text)


@task(max_attempts=3)
def fails(reason):
    raise ValueError(reason)


@task(max_attempts=3, backoff=lambda error, job: float("inf"))
def gives_up():
    raise ValueError("for ever")


@task(max_attempts=2)
def step(path):
    """Each run does the next of: snooze, retry, snooze, reject."""
    with Path(path).open("a+") as file:
        file.write("run\n")
        file.seek(0)
        run = len(file.readlines())
    match run:
        case 1 | 3:
            raise Snooze(after_s=0)
        case 2:
            raise Retry(after_s=0) from ConnectionError("busy")
    raise Reject("no such account")


@task(max_attempts=9, retry_on=[OSError], give_up_on=ConnectionError, backoff=lambda error, job: 0)
def fails_with(name):
    raise {"OSError": OSError, "ConnectionResetError": ConnectionResetError}.get(name, ValueError)(name)


@task(redact="email")
def greet(email, text):
    return f"{text}, {email}"


@task(takes_context=True)
def reports(context, count):
    for done in range(count):
        context.progress(done + 1, count, "counting")
        context.send(f"{done + 1} of {count}, attempt {context.attempt}")
    return count


@task
async def doubles(number):
    return 2 * number


@task
def total(numbers):
    return sum(numbers)


@task
def square(number):
    return number * number


def not_a_task():
    return None


@task
def fails_at_once(reason):
    raise ValueError(reason)


@task
def echo(value):
    return value


@task
def evaluates(expression):
    return eval(expression)


@task
def surroundings():
    return [translation.get_language(), timezone.get_current_timezone_name()]


@task
def counts_jobs():
    from django_worker.models import SendFunction

    return SendFunction.objects.count()


@task
async def fails_in_a_coroutine():
    raise ValueError("no")


@task
async def counts_jobs_in_a_coroutine():
    from django_worker.models import SendFunction

    return await SendFunction.objects.acount()


@task
async def loses_its_connection():
    """As when the server of the database is started anew: the next query fails, and who asks again needs another one."""

    def lose():
        connection.ensure_connection()
        connection.connection.close()
        connection.errors_occurred = True

    await sync_to_async(lose)()


@task
def hold(started, gate):
    """Leaves a line, and runs until the gate opens, or the folder of the test is gone."""
    with Path(started).open("a") as file:
        file.write(f"{os.getpid()}\n")
    while not os.path.exists(gate) and os.path.exists(os.path.dirname(gate)):
        time.sleep(0.005)
    return "open"


@task(takes_context=True)
def tells_the_time(context, count):
    """Once in 0.2 s, as a message."""
    for done in range(count):
        time.sleep(0.2)
        context.progress(done + 1, count)
        context.send(time.time())
    return count


@task(takes_context=True, max_attempts=1)
def pays(context, name, database="default", commits=True, fails=False):
    """Sends a job, as the row of its own, and ends itself with it."""
    with transaction.atomic():
        echo.enqueue(name)
        context.complete_in(connection if database is None else database, f"paid {name}")
        transaction.set_rollback(not commits)
    if fails:
        raise ValueError("too late")
    return "of no interest"


@task(takes_context=True)
def pays_without_a_transaction(context):
    context.complete_in(connection)
