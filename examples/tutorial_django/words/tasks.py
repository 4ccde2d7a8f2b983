"""What the site computes."""

from collections import Counter
from time import sleep

from django_worker import task


@task(takes_context=True, max_attempts=3)
def count_words(context, text):
    counts = Counter()
    lines = text.splitlines()
    for done, line in enumerate(lines, start=1):
        counts.update(line.lower().split())
        sleep(0.02)  # So that there is something to see.
        context.progress(done, len(lines), "counting")
    return dict(counts.most_common(10))


@task
def count_file(text):
    return dict(Counter(text.lower().split()))


@task
def add_up(counts):
    total = Counter()
    for each in counts:
        total.update(each)
    return dict(total.most_common(10))
