"""Signed links: who holds one may do with one job what its scopes say, for some time. The id of a job opens nothing.

A token is a capability. It names the job, the scopes, and where it was asked for an earlier end and the one person or
session that it is good for; all of it signed with the secrets of the framework.
"""

from collections.abc import Callable, Collection, Mapping
from hashlib import sha256
from typing import Any, Literal, NamedTuple, Protocol, get_args

from treadle.clock import US_PER_S, Clock, SystemClock
from treadle.errors import JobNotFound

SALT = "treadle.job"

Scope = Literal["read", "result", "cancel"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
"""To follow the job; to have what it returned; to cancel it. None of them holds another."""

LONGEST_TOKEN = 2000
"""Characters; a longer one was not made here, and is not looked into."""

Owners = Callable[[], Collection[str]]
"""Who asks, by all their names: looked at only for a link that is bound to somebody."""


class Signer(Protocol):
    """The framework's own signing, with its secrets and their rotation."""

    def sign(self, value: dict[str, Any]) -> str:
        """A text for a URL that holds the value and cannot be forged."""
        ...

    def unsign(self, token: str, max_age_s: float) -> Any:
        """The value of a token of ours; None where it is forged, damaged or too old."""
        ...


class Grant(NamedTuple):
    """What a token lets its holder do."""

    token: str
    job_id: str
    scopes: frozenset[str]


def scopes_of(*, cancel: bool, result: bool) -> set[Scope]:
    """Those of a page that follows a job, and may do more."""
    wanted: dict[Scope, bool] = {"read": True, "cancel": cancel, "result": result}
    return {scope for scope, is_wanted in wanted.items() if is_wanted}


def nobody() -> Collection[str]:
    """Owners of a request of which nothing is known."""
    return ()


class Links:
    """Makes and reads the tokens of links."""

    def __init__(self, signer: Signer, max_age_s: float, clock: Clock | None = None) -> None:
        self._signer = signer
        self._max_age_s = max_age_s
        self._clock = clock or SystemClock()

    def token(self, job_id: str, *scopes: Scope, owner: str | None = None, expires_in_s: float | None = None) -> str:
        """What lets its holder do this with the job; without scopes: follow it.

        `owner`: only who goes by that name, `expires_in_s`: sooner than the setting `link_max_age_s`. Raises ValueError
        for a scope that there is not.
        """
        for scope in scopes:
            if scope not in SCOPES:
                raise ValueError(f"unknown scope {scope!r}; the scopes are {', '.join(SCOPES)}")
        value: dict[str, Any] = {"job": job_id, "scope": " ".join(scopes) or "read"}
        if owner is not None:
            value["who"] = _masked(owner)
        if expires_in_s is not None:
            value["until"] = self._now_s() + round(expires_in_s)
        return self._signer.sign(value)

    def opened(self, token: str, scope: Scope = "read", owners: Owners = nobody) -> Grant:
        """What a token grants. Raises JobNotFound, always in the same words, for one that is not good for this."""
        value = self._signer.unsign(token, self._max_age_s) if len(token) <= LONGEST_TOKEN else None
        match value:
            case {"job": str(job_id), "scope": str(scopes), **more} if scope in scopes.split() and self._is_good(
                more, owners
            ):
                return Grant(token, job_id, frozenset(scopes.split()))
        raise JobNotFound("there is no such job, or the link to it has expired")

    def _is_good(self, value: Mapping[Any, Any], owners: Owners) -> bool:
        until_s, who = value.get("until"), value.get("who")
        if until_s is not None and self._now_s() > until_s:
            return False
        return who is None or who in map(_masked, owners())

    def _now_s(self) -> int:
        return self._clock.now_us() // US_PER_S


def _masked(owner: str) -> str:
    """What of an owner's name stands in a token: enough to know it again, and not what a session is known by."""
    return sha256(f"{SALT}:{owner}".encode()).hexdigest()[:24]
