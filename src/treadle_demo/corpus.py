"""The input: Python source that every machine has, or the tree that the user names.

The demo chooses the files once and writes the choice beside the store, so that the web processes and
the plain runs they are compared with read the same.
"""

import json
import os
import random
import sysconfig
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import NamedTuple, Self

from treadle_demo.errors import DemoError

BYTES_PER_MB = 1_000_000
NOT_OF_THE_LIBRARY = frozenset({"site-packages", "dist-packages", "__pycache__"})


class Corpus(NamedTuple):
    """Files, in the order in which they are sent."""

    paths: list[str]
    bytes: int

    @classmethod
    def of(cls, paths: Iterable[Path], megabytes: float) -> Self:
        """The first files, until the next one would make it more than `megabytes`; at least one."""
        chosen: list[str] = []
        total = 0
        for path in paths:
            size = path.stat().st_size
            if chosen and total + size > megabytes * BYTES_PER_MB:
                break
            chosen.append(str(path))
            total += size
        return cls(chosen, total)

    def mixed(self) -> Self:
        """The same files, shuffled alike each time: files of every size stand everywhere in the list."""
        return self._replace(paths=random.Random(0).sample(self.paths, len(self.paths)))

    def sample(self, megabytes: float) -> "Corpus":
        """The beginning of the list, at most `megabytes`."""
        return Corpus.of(map(Path, self.paths), megabytes)

    def __str__(self) -> str:
        return f"{len(self.paths):,} files, {self.bytes / BYTES_PER_MB:.1f} MB"


def choose(folder: Path | None, megabytes: float) -> Corpus:
    """Files of `folder`, or of the interpreter and its environment. Raises DemoError where there are none."""
    if folder is None:
        files: Iterable[Path] = chain(library_files(), environment_files())
    elif folder.is_dir():
        files = python_files(folder.resolve())
    else:
        raise DemoError(f"--path {folder}: there is no such folder")
    corpus = Corpus.of(files, megabytes).mixed()
    if not corpus.paths:
        raise DemoError(f"there is no Python file in {folder or 'the standard library'}; name another with --path DIR")
    return corpus


def library_files() -> Iterator[Path]:
    """The standard library of the running interpreter, without packages that were added to it."""
    return python_files(Path(sysconfig.get_path("stdlib")), without=NOT_OF_THE_LIBRARY)


def environment_files() -> Iterator[Path]:
    """The packages of the environment."""
    roots = dict.fromkeys(Path(sysconfig.get_path(name)) for name in ("purelib", "platlib"))
    return chain.from_iterable(python_files(root) for root in roots)


def python_files(root: Path, *, without: frozenset[str] = frozenset()) -> Iterator[Path]:
    """The readable Python files under a folder in a fixed order; folders named in `without` are passed over."""
    for folder, subfolders, names in os.walk(root):
        subfolders[:] = sorted(set(subfolders) - without)
        for name in sorted(names):
            path = Path(folder, name)
            if name.endswith(".py") and path.is_file() and os.access(path, os.R_OK):
                yield path


def write(file: Path, corpora: dict[str, Corpus]) -> None:
    """Keep choices by name, for other processes."""
    file.write_text(json.dumps(corpora), encoding="utf-8")


def read(file: Path) -> dict[str, Corpus]:
    """What `write` kept."""
    return {name: Corpus(*fields) for name, fields in json.loads(file.read_text(encoding="utf-8")).items()}
