"""What CPython's own tests of executors need to run on `ProcessPool`. The tests themselves are the interpreter's."""

import concurrent.futures
from typing import Any

NAME = "TreadleExecutor"


def offer() -> None:
    """Have `from concurrent.futures import TreadleExecutor` find it: the programs that those tests run begin so.

    It is imported then and not before, as `ProcessPoolExecutor` is: what the import registers for the end of the
    program must come after what the program has registered.
    """
    find_in_library: Any = concurrent.futures.__getattr__

    def find(name: str) -> Any:
        if name != NAME:
            return find_in_library(name)
        from tests.cpython import executor

        return executor.TreadleExecutor

    concurrent.futures.__getattr__ = find  # type: ignore[method-assign]
