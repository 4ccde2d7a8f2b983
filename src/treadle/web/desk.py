"""Where the requests of a framework are answered: what each route does, and who may have it."""

import re
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Any, NamedTuple

import msgspec

from treadle.errors import JobNotFound
from treadle.handle import JobHandle
from treadle.web import events, looks, pages, problems, resources
from treadle.web.events import Followed, Stream
from treadle.web.links import Grant, Scope
from treadle.web.pace import Pace
from treadle.web.problems import Answer, or_problem, problem
from treadle.web.requests import Asked
from treadle.web.resources import Place

TOKEN = re.compile(r"[\w.:=-]{1,2000}", re.ASCII)

KEPT = ("Retry-After",)
"""What a problem says in a header to a person's browser, too."""

Found = tuple[Grant, JobHandle[Any]]
Find = Callable[[str, Scope], Found]
"""The job of a token that is good for this. Raises JobNotFound."""


class Page(NamedTuple):
    """A page for the framework's template to show."""

    status: int
    shown: dict[str, Any]
    headers: dict[str, str]
    """Beside those that every page has."""


def readable(answer: Answer | Page, asked: Asked) -> Answer | Page:
    """The answer; a problem as a page, where a person looks."""
    if isinstance(answer, Answer) and answer.status >= HTTPStatus.BAD_REQUEST and asked.wants_page:
        kept = {name: answer.headers[name] for name in KEPT if name in answer.headers}
        return Page(answer.status, pages.failing(asked, msgspec.json.decode(answer.body)), kept)
    return answer


class Desk:
    """Answers one request."""

    def __init__(self, asked: Asked, find: Find, place: Place, now_us: int) -> None:
        self._asked = asked
        self._find = find
        self._place = place
        self._now_us = now_us

    def status(self, token: str) -> Answer | Page:
        """GET: the job as it is now. DELETE: cancel it, where the link allows it."""
        return self._cancel(token) if self._asked.method == "DELETE" else self._answer(lambda: self._status(token))

    def result(self, token: str) -> Answer | Page:
        """GET: what the function returned."""
        return self._answer(lambda: resources.result(self._find(token, "result")[1], self._asked, self._now_us))

    def cancel(self, token: str) -> Answer | Page:
        """POST or DELETE: cancel the job."""
        return self._cancel(token)

    def events(self, tokens: Sequence[str], last_event_id: str | None, pace: Pace) -> "Events":
        """GET: what is new of these jobs, and the stream that may go on from there.

        A link that opens nothing ends for itself; where none opens anything the answer is 404.
        """
        if not 1 <= len(tokens) <= events.MOST_JOBS:
            detail = self._asked.words["stream_size"].format(most=events.MOST_JOBS, count=len(tokens))
            return Events(problem(problems.BAD_REQUEST, self._asked, detail), None, ())
        found = [self._found(token) for token in tokens]
        stream = Stream([self._followed(*pair) for pair in zip(tokens, found, strict=True)], last_event_id, self._asked)
        if not any(found) and not stream.is_known:
            return Events(problem(problems.NOT_FOUND, self._asked), None, ())
        seen = [
            looks.look_at(each[1], self._now_us, told.message) if each else None
            for each, told in zip(found, stream.told, strict=True)
        ]
        return Events(events.finite(stream, seen, pace.after_s), stream, [each[1] for each in found if each])

    def _status(self, token: str) -> Answer | Page:
        grant, job = self._find(token, "read")
        urls = resources.urls_within(grant, self._place)
        if not self._asked.wants_page:
            return resources.status(job, urls, self._asked, self._now_us)
        return Page(200, pages.waiting(looks.look_at(job, self._now_us), urls, self._asked), {})

    def _cancel(self, token: str) -> Answer | Page:
        def cancel() -> Answer:
            grant, job = self._find(token, "cancel")
            answer = resources.cancel(job, self._asked)
            may_look = self._asked.wants_page and "read" in grant.scopes
            return resources.see_other(self._place("status", token)) if may_look else answer

        return self._answer(cancel)

    def _answer(self, look: Callable[[], Answer | Page]) -> Answer | Page:
        return readable(or_problem(self._asked, look), self._asked)

    def _found(self, token: str) -> Found | None:
        try:
            return self._find(token, "read")
        except JobNotFound:
            return None

    def _followed(self, token: str, found: Found | None) -> Followed:
        if found is None:
            # What could be no token need not be a part of an address.
            return Followed(None, {"status": self._place("status", token) if TOKEN.fullmatch(token) else ""})
        return Followed(found[0], resources.urls_within(found[0], self._place))


class Events(NamedTuple):
    """The answer to who asks for events, and with what it may go on."""

    answer: Answer
    stream: Stream | None
    jobs: Sequence[JobHandle[Any]]

    @property
    def goes_on(self) -> bool:
        """Whether there may be more to tell."""
        return self.answer.status == HTTPStatus.OK and self.stream is not None and not self.stream.has_ended
