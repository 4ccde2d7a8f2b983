"""What a list of jobs with keys means, the same for every store."""

from collections.abc import Mapping, Sequence

from treadle.job import Job


def split_unique(jobs: Sequence[Job]) -> tuple[list[Job], Sequence[Job]]:
    """The jobs with a unique key, in the order of their keys, and those without one.

    Two senders that insert the same keys in the same order wait for each other at most once, and never both. Of
    several with one key the first stays the first.
    """
    unique = [job for job in jobs if job.unique_key is not None]
    if not unique:
        return unique, jobs
    others = [job for job in jobs if job.unique_key is None]
    return sorted(unique, key=lambda job: (job.task, job.unique_key or "")), others


def with_parts(stand_ins: Mapping[str, Job], jobs: Sequence[Job]) -> dict[str, Job]:
    """Who stands in for a whole stands in for its parts among these jobs, too."""
    parts = {job.id: stand_ins.get(job.group_id or "") for job in jobs}
    return {**stand_ins, **{id_: twin for id_, twin in parts.items() if twin is not None}}
