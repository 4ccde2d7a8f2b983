"""The routes of a job. Each is reached through a signed link only."""

from collections.abc import Callable
from typing import Any

from flask import Blueprint, Response, current_app, request, url_for

from treadle.handle import JobHandle
from treadle.web import resources
from treadle.web.resources import Answer, Urls


def make_blueprint() -> Blueprint:
    """A blueprint named `worker`, to be mounted under any prefix."""
    blueprint = Blueprint("worker", __name__)
    blueprint.add_url_rule("/jobs/<token>", "status", status)
    blueprint.add_url_rule("/jobs/<token>/result", "result", result)
    return blueprint


def status(token: str) -> Response:
    seen = request.headers.get("If-None-Match")
    return _answer(token, lambda job, urls: resources.status(job, urls, seen, debug=current_app.debug))


def result(token: str) -> Response:
    return _answer(token, lambda job, urls: resources.result(job, debug=current_app.debug))


def respond(answer: Answer) -> Response:
    """The Flask response of an answer."""
    return Response(answer.body, status=answer.status, headers=answer.headers)


def _answer(token: str, look: Callable[[JobHandle[Any], Urls], Answer]) -> Response:
    treadle = current_app.extensions["worker"]

    def look_at_job() -> Answer:
        job = treadle.job(treadle.links.job_id(token))
        urls = {name: url_for(f"worker.{name}", token=token) for name in ("status", "result")}
        return look(job, urls)

    return respond(resources.or_not_found(look_at_job))
