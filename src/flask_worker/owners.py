"""Who asks: what a link may be bound to, so that it is of no use to anybody else."""

import secrets
from collections.abc import Collection

from flask import current_app, session

SESSION_KEY = "_worker"


def owner() -> str:
    """A name for who asks now: what `identify` says, else this session, which gets a name if it has none."""
    known = _identified()
    if known is not None:
        return known
    if SESSION_KEY not in session:
        session[SESSION_KEY] = secrets.token_urlsafe(16)
    return f"session:{session[SESSION_KEY]}"


def owners() -> Collection[str]:
    """The names of who asks now."""
    found = [_identified(), f"session:{session[SESSION_KEY]}" if SESSION_KEY in session else None]
    return [name for name in found if name is not None]


def _identified() -> str | None:
    user = current_app.extensions["worker"].identify()
    return None if user is None else f"user:{user}"
