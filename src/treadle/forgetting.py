"""Forgets the jobs with some labels: what they were given and what they said, as somebody has a right to ask.

Looked for and blanked in steps, so that no lock is held for long, however many jobs there are. No index is kept of
labels: each job is looked at once.
"""

from collections.abc import Mapping

from treadle.store.contract import Forgotten, Store

LOOKED_AT_ONCE = 5000
FORGOTTEN_AT_ONCE = 100
"""Few, since each may hold megabytes, and all of them are written anew under one lock."""


def forget_labelled(store: Store, labels: Mapping[str, str]) -> Forgotten:
    """Raises ValueError for no labels, or for one that is no text: no job could have it."""
    _check(labels)
    came_of_it, after = Forgotten(), ""
    while True:
        ids, last = store.labelled(labels, LOOKED_AT_ONCE, after)
        for start in range(0, len(ids), FORGOTTEN_AT_ONCE):
            came_of_it += store.forget(ids[start : start + FORGOTTEN_AT_ONCE])
        if last is None:
            return came_of_it
        after = last


def _check(labels: Mapping[str, str]) -> None:
    if not labels:
        raise ValueError(
            "name at least one label, as in forget(labels={'tenant': 'acme'}): without one all jobs have it"
        )
    if not all(isinstance(word, str) for pair in labels.items() for word in pair):
        raise ValueError(f"labels are strings by name, got {labels!r}")
