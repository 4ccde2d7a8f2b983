"""Who asks: what a link may be bound to, so that it is of no use to anybody else."""

import secrets
from collections.abc import Collection

from django.http import HttpRequest

from treadle.errors import ConfigurationError

SESSION_KEY = "_worker"


def owner(request: HttpRequest) -> str:
    """A name for who asks now: the user, or this session, which gets a name if it has none. Raises ConfigurationError."""
    user = _user(request)
    if user is not None:
        return user
    session = getattr(request, "session", None)
    if session is None:
        raise ConfigurationError(
            "a link can be bound to a user or a session only: SessionMiddleware is not in MIDDLEWARE"
        )
    if SESSION_KEY not in session:
        session[SESSION_KEY] = secrets.token_urlsafe(16)
    return f"session:{session[SESSION_KEY]}"


def owners(request: HttpRequest) -> Collection[str]:
    """The names of who asks now."""
    session = getattr(request, "session", None) or {}
    found = [_user(request), f"session:{session[SESSION_KEY]}" if SESSION_KEY in session else None]
    return [name for name in found if name is not None]


def _user(request: HttpRequest) -> str | None:
    user = getattr(request, "user", None)
    return f"user:{user.pk}" if user is not None and user.is_authenticated else None
