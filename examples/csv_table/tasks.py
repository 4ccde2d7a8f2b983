"""What runs elsewhere: a column of a table, some thousand cells at a time."""

import math
from collections import Counter

from django_worker import task

MOST_COMMON = 3


@task
def summarise(cells):
    """Of some cells of a column: the numbers among them in sums, the texts counted."""
    numbers = [number for cell in cells if (number := as_number(cell)) is not None]
    return {
        "cells": len(cells),
        "empty": sum(not cell.strip() for cell in cells),
        "numbers": len(numbers),
        "sum": math.fsum(numbers),
        "squares": math.fsum(number * number for number in numbers),
        "least": min(numbers, default=None),
        "most": max(numbers, default=None),
        "texts": dict(Counter(cells).most_common(1000)),
    }


@task
def combine(summaries):
    """Of a whole column, from those of its pieces."""
    count = sum(each["numbers"] for each in summaries)
    mean = sum(each["sum"] for each in summaries) / count if count else None
    spread = sum(each["squares"] for each in summaries) / count - mean * mean if count else None
    texts = Counter()
    for each in summaries:
        texts.update(each["texts"])
    return {
        "cells": sum(each["cells"] for each in summaries),
        "empty": sum(each["empty"] for each in summaries),
        "numbers": count,
        "mean": mean,
        "deviation": None if spread is None else math.sqrt(max(spread, 0.0)),
        "least": min((each["least"] for each in summaries if each["least"] is not None), default=None),
        "most": max((each["most"] for each in summaries if each["most"] is not None), default=None),
        "common": [text for text, _ in texts.most_common(MOST_COMMON)],
    }


def as_number(cell):
    """The number in a cell, or None: NaN and infinities are none to reckon with."""
    try:
        number = float(cell)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
