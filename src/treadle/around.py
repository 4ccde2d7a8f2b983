"""Hooks around jobs: what they capture where a job is sent travels in its headers, and is in force again where it runs."""

from collections.abc import Mapping
from contextlib import AbstractContextManager, ExitStack, nullcontext
from types import TracebackType
from typing import Any, Protocol, TypeVar

from treadle.errors import ConfigurationError
from treadle.job import Job


class Hook(Protocol):
    """Both are called for every job. What they raise fails the send, or the attempt, as an error of the task would.

    What the task raises they see, as any context manager does; to swallow it changes nothing.
    """

    def capture(self) -> Mapping[str, str]:
        """What is to travel with a job that is sent now: texts by name; another hook's names are not to be used."""
        ...

    def enter(self, headers: Mapping[str, str], job: Job) -> AbstractContextManager[Any]:
        """What is to be in force while a job runs: a context manager. `headers` has what was captured, if it was."""
        ...


H = TypeVar("H")


class Around:
    """The hooks of one application, the first added outermost."""

    def __init__(self) -> None:
        self._hooks: list[Any] = []

    def add(self, hook: H) -> H:
        """Add a hook, or a class that one is made of; gives it back, so it decorates. To add one twice is to add it once.

        Raises ConfigurationError for what has not both `capture` and `enter`.
        """
        made = hook() if isinstance(hook, type) else hook
        if not (callable(getattr(made, "capture", None)) and callable(getattr(made, "enter", None))):
            raise ConfigurationError(
                f"{hook!r} has not both capture() and enter(headers, job), so it is no hook around jobs"
            )
        if not any(made is known or (isinstance(hook, type) and type(known) is hook) for known in self._hooks):
            self._hooks.append(made)
        return hook

    def capture(self) -> dict[str, str]:
        """What travels with a job that is sent now. Raises ConfigurationError where that is no text."""
        headers: dict[str, str] = {}
        for hook in self._hooks:
            captured = hook.capture()
            if not _is_texts_by_name(captured):
                name = type(hook).__qualname__
                raise ConfigurationError(f"{name}.capture() is to give texts by name, and gave {captured!r:.200}")
            headers.update(captured)
        return headers

    def entered(self, job: Job) -> AbstractContextManager[Any]:
        """What is in force while a job runs."""
        return self._entered(job) if self._hooks else nullcontext()

    def _entered(self, job: Job) -> ExitStack:
        with ExitStack() as stack:
            for hook in self._hooks:
                stack.enter_context(_Through(_context_manager(hook, hook.enter(job.headers, job))))
            return stack.pop_all()


def _is_texts_by_name(captured: object) -> bool:
    if not isinstance(captured, Mapping):
        return False
    return all(isinstance(word, str) for pair in captured.items() for word in pair)


def _context_manager(hook: Any, entered: Any) -> AbstractContextManager[Any]:
    """What a hook's `enter` gave. Raises ConfigurationError where it is none, as without `@contextmanager`."""
    if not (hasattr(entered, "__enter__") and hasattr(entered, "__exit__")):
        name = type(hook).__qualname__
        raise ConfigurationError(f"{name}.enter() is to give a context manager, and gave {entered!r:.200}")
    given: AbstractContextManager[Any] = entered
    return given


class _Through(AbstractContextManager[Any]):
    """A context manager that takes away no error: without its error a run would have neither that nor a result."""

    def __init__(self, inner: AbstractContextManager[Any]) -> None:
        self._inner = inner

    def __enter__(self) -> Any:
        return self._inner.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._inner.__exit__(kind, error, trace)
