"""Texts that are kept in files, to guard against a change that nobody meant."""

import os
from pathlib import Path


def check(path: Path, text: str) -> None:
    """The text is that of the file; with WRITE_GOLDEN=1 in the environment the file is written instead."""
    if os.environ.get("WRITE_GOLDEN"):
        path.write_text(text)
    assert text == path.read_text(), f"if this change is meant: WRITE_GOLDEN=1 pytest, and commit {path.name}"
