"""What a store on a connection of the caller's is, beside the job verbs: nothing of it is ours to make, keep or close.

Its statements are no more than a few statements of the caller's. Whoever began the transaction ends it, and what of
ours fails leaves nothing behind, by a savepoint. Where the connection begins a transaction for a statement of the
caller's, it does so for ours; where it never would, there is nothing to join.
"""

from treadle.errors import CannotJoin
from treadle.store.contract import Store, Wakeup
from treadle.store.wakeup import LocalWakeup

MISSING = (
    "let the setting database_url name this database, and run `treadle migrate` (or `flask worker migrate`) before the "
    "first transaction"
)


class Joined(Store):
    """Goes before the verbs of a dialect, as in `class JoinedSqlite(Joined, SqliteVerbs)`."""

    def prepare(self) -> None:
        """Nothing: the tables are made before, on a connection of our own."""

    def close(self) -> None:
        """Nothing: the connection is the caller's."""

    def upkeep(self) -> None:
        """Nothing: that is a worker's duty."""

    def is_in_transaction(self) -> bool:
        """Always: only its owner could do the transaction once more."""
        return True

    def wakeup(self) -> Wakeup:
        """One that nothing wakes: who is in a transaction waits for no change."""
        return LocalWakeup()


def nothing_to_join(where: str) -> CannotJoin:
    return CannotJoin(
        f"{where} commits each statement by itself, and no transaction is open on it that could be joined: begin one "
        "before"
    )
