"""The arguments of a job as pages, terminals and the admin show them: without what is to be shown nowhere.

Masked is what stands for a parameter that the task's option `redact` names, however it was passed, and what stands
under a name that sounds secret, also inside an argument. In the store arguments are as they were sent.
"""

import inspect
from typing import Any

import msgspec

from treadle import codec
from treadle.codec import MASK
from treadle.errors import TreadleError
from treadle.task import Registry, Task

POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
DAMAGED = "(damaged)"


def shown_arguments(payload: str, task: Task[..., Any] | None) -> Any:
    """What may be shown of a job's payload, as plain values: `args` and `kwargs`, of a part of a `send_map` `items`.

    `task` is None where the job's task is not known here: then nobody knows what is to be hidden, and each argument
    is masked. None is the answer for a job that was forgotten.
    """
    if not payload:
        return None
    try:
        fields = codec.plain(payload)
        return {name: _shown(name, values, _Parameters(task)) for name, values in fields.items()}
    except (msgspec.DecodeError, LookupError, TypeError, AttributeError):
        # Whoever looks at a job wants to see the rest of it.
        return DAMAGED


def task_in(registry: Registry, name: str) -> Task[..., Any] | None:
    """The task of this name, or None where it is not known here."""
    try:
        return registry.find(name)
    except TreadleError:
        return None


def _shown(field: str, values: Any, parameters: "_Parameters") -> Any:
    if field == "kwargs":
        return codec.redacted({key: _masked(parameters.hides_named(key), value) for key, value in values.items()})
    # The items of a part are each the first argument of a call.
    places = [0] * len(values) if field == "items" else range(len(values))
    return [_masked(parameters.hides_at(place), value) for place, value in zip(places, values, strict=True)]


def _masked(is_hidden: bool, value: Any) -> Any:
    return MASK if is_hidden else codec.redacted(value)


class _Parameters:
    """Which parameters of a task are hidden; of a task that is not known all."""

    def __init__(self, task: Task[..., Any] | None) -> None:
        parameters = task.signature.parameters.values() if task is not None else ()
        self._positional = [parameter.name for parameter in parameters if parameter.kind in POSITIONAL]
        self._named = {parameter.name for parameter in parameters if parameter.kind in NAMED}
        self._more = _name_of(parameters, inspect.Parameter.VAR_POSITIONAL)
        self._others = _name_of(parameters, inspect.Parameter.VAR_KEYWORD)
        self._redact = task.settings.redact if task is not None else ()
        # What fits no parameter may be one that had another name, and was hidden, when the job was sent.
        self._hides_misfits = task is None or bool(self._redact)

    def hides_at(self, place: int) -> bool:
        name = self._positional[place] if place < len(self._positional) else self._more
        return self._hides(name)

    def hides_named(self, key: str) -> bool:
        return key in self._redact or self._hides(key if key in self._named else self._others)

    def _hides(self, name: str | None) -> bool:
        if name is None:
            return self._hides_misfits
        return name in self._redact or codec.sounds_secret(name)


def _name_of(parameters: Any, kind: Any) -> str | None:
    return next((parameter.name for parameter in parameters if parameter.kind is kind), None)
