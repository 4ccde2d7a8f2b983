"""What keys mean for those who send and claim, apart from any store."""

from treadle.store.keys import FAR, NEAR, Candidate, KeyScan, Looks, chosen, most_urgent, split_unique
from treadle.testing import ManualClock
from treadle.testing.store_contract import make_job


def candidate(id_: str, key: str | None = None, *, priority: int = 0, is_taken: bool = False) -> Candidate:
    return Candidate(id_, priority, 0, key is None, key, is_taken)


def test_jobs_are_inserted_in_the_order_of_their_keys() -> None:
    """Whatever the order in which they are sent; of one key the first stays the first."""
    jobs = [make_job(unique_key=key, task=task) for task, key in (("t", "b"), ("s", "c"), ("t", "a"), ("t", "b"))]
    plain = make_job()
    assert split_unique([jobs[0], plain, *jobs[1:]]) == ([jobs[1], jobs[2], jobs[0], jobs[3]], [plain])


def test_of_each_free_key_the_most_urgent_may_run() -> None:
    """In the order of the claim."""
    late, taken = candidate("1", "a"), candidate("2", "b", is_taken=True)
    urgent, other = candidate("4", "a", priority=1), candidate("3", "c")
    assert most_urgent([late, taken, other, urgent]) == [urgent, other]


def test_what_waits_in_a_pool_comes_before_every_job_that_may_not() -> None:
    """Of those that could run now, one with a key may not; what is started at once is taken in its order."""
    plain = [candidate("1", priority=2), candidate("3")]
    keyed = [candidate("2", "a", priority=1)]
    assert chosen(plain, keyed, 9, starts=True) == [plain[0], *keyed, plain[1]]
    assert chosen(plain, keyed, 9, starts=False) == [plain[0]]
    assert chosen(plain, keyed, 1, starts=True) == [plain[0]]


def test_keys_are_looked_through_only_where_the_most_urgent_jobs_do_not_suffice() -> None:
    """Else many jobs with few keys would be in the way, or many keys would make each claim slow."""
    near = [candidate("1", "a"), *(candidate(str(n), "b", is_taken=True) for n in range(NEAR - 1))]
    looks: list[str] = []

    def far(after: str) -> list[Candidate]:
        looks.append(after)
        return [candidate(f"9{after}{n:04}", f"k{after}{n:04}") for n in range(FAR)]

    scan = KeyScan()
    assert scan.open_jobs("line", 1, lambda: near, far) == near[:1]
    assert scan.open_jobs("line", 2, lambda: near[:-1], far) == near[:1]
    assert looks == []
    assert len(scan.open_jobs("line", 2, lambda: near, far)) == FAR + 1
    scan.open_jobs("line", 2, lambda: near, far)
    scan.open_jobs("another line", 2, lambda: near, lambda after: [*far(after)][1:])
    assert looks == ["", f"k{FAR - 1:04}", ""]


def test_a_look_may_be_spared_for_a_moment() -> None:
    """While claims are filled, and for each pool by itself."""
    clock = ManualClock()
    looks = Looks(0.1, clock)
    assert not looks.may_be_spared("processes")
    looks.looked("processes", may_be_spared=True)
    assert (looks.may_be_spared("processes"), looks.may_be_spared("threads")) == (True, False)
    clock.advance(0.1)
    assert not looks.may_be_spared("processes")
    looks.looked("processes", may_be_spared=True)
    looks.looked("processes", may_be_spared=False)
    assert not looks.may_be_spared("processes")
