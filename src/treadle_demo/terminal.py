"""How the demo is shown in a terminal; where the output is none, in plain lines."""

import shutil
import sys
import time
from collections.abc import Sequence
from typing import Any

BAR_WIDTH = 30
LINE_EVERY_S = 2.0

Cell = str | int


def counted(number: int, noun: str) -> str:
    """`1 file`, `1,707 files`."""
    return f"{number:,} {noun if number == 1 else noun + 's'}"


def say(text: str = "") -> None:
    print(text, flush=True)


def heading(text: str) -> None:
    say(f"\n{text}\n{'─' * len(text)}")


def table(headers: Sequence[str], rows: Sequence[Sequence[Cell]], indent: str = "  ") -> None:
    """Columns as wide as they need be; numbers stand on the right."""
    shown = [[f"{cell:,}" if isinstance(cell, int) else cell for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in [list(headers), *shown]) for column in range(len(headers))]
    is_number = [any(isinstance(row[column], int) for row in rows) for column in range(len(headers))]
    for row in [list(headers), *shown]:
        cells = [
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(row, widths, is_number, strict=True)
        ]
        say((indent + "  ".join(cells)).rstrip())


class ProgressBar:
    """The progress of a job: one line that is drawn again in a terminal, else a line every two seconds."""

    def __init__(self) -> None:
        self._is_terminal = sys.stdout.isatty()
        self._start_s = time.monotonic()
        self._last_line_s = 0.0

    def show(self, status: dict[str, Any]) -> None:
        line = f"{self._bar(status['progress'])}  {self._passed_s:4.1f} s"
        if self._is_terminal:
            width = shutil.get_terminal_size().columns - 1
            print(f"\r{line[:width]:<{width}}", end="", flush=True)
        elif time.monotonic() - self._last_line_s >= LINE_EVERY_S or status["state"] == "succeeded":
            self._last_line_s = time.monotonic()
            say(line)

    def end(self) -> None:
        if self._is_terminal:
            print(flush=True)

    def _bar(self, progress: dict[str, Any]) -> str:
        fraction = progress["fraction"] or 0.0
        full = "█" * round(fraction * BAR_WIDTH)
        bar = f"  {full:·<{BAR_WIDTH}} " if self._is_terminal else "  "
        return f"{bar}{fraction:4.0%}  {progress['done']:,} of {progress['total']:,} files"

    @property
    def _passed_s(self) -> float:
        return time.monotonic() - self._start_s
