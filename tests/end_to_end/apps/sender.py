"""A program that sends jobs one by one: `sender JOURNAL COUNT`; prints how long each took, in milliseconds."""

import os
import sys
import time

from tests.end_to_end.apps.faults import app, work

from treadle.errors import TreadleError


def send_all(journal: str, count: int) -> None:
    for number in range(count):
        begin_s = time.perf_counter()
        app.send_function(work, journal, f"{os.getpid()}-{number}", 0)
        print((time.perf_counter() - begin_s) * 1000)


if __name__ == "__main__":
    try:
        send_all(sys.argv[1], int(sys.argv[2]))
    except TreadleError as error:
        sys.exit(f"{type(error).__name__}: {error}")
