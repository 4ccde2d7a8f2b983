"""The same work in plain Python, in a process of its own: what Treadle is compared with.

    python -m treadle_demo.plain serial|threads INPUT NAME

prints `{"seconds": …, "result": …}`. The clock starts after the imports and stops after `combine`.
"""

import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from treadle.cores import usable_cores
from treadle_demo import corpus
from treadle_demo.analysis import Result, analyse, combine


def serial(paths: list[str]) -> Result:
    """One after the other."""
    return combine([analyse(path) for path in paths])


def threads(paths: list[str]) -> Result:
    """A thread a core, from the standard library."""
    with ThreadPoolExecutor(usable_cores()) as pool:
        return combine(list(pool.map(analyse, paths)))


WAYS = {"serial": serial, "threads": threads}


def main(way: str, file: str, name: str) -> None:
    paths = corpus.read(Path(file))[name].paths
    start_s = time.perf_counter()
    result = WAYS[way](paths)
    seconds = time.perf_counter() - start_s
    json.dump({"seconds": seconds, "result": result}, sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
