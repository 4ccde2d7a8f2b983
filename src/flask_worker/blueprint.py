"""The routes of a job. Each is reached through a signed link only."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from flask import Blueprint, Response, current_app, has_request_context, render_template, request, url_for
from flask.blueprints import BlueprintSetupState

from flask_worker.owners import owners
from treadle.errors import ConfigurationError, QueueFull
from treadle.handle import JobHandle
from treadle.web import pages
from treadle.web.desk import Desk, Found, Page, readable
from treadle.web.links import Scope
from treadle.web.pages import PAGE_HEADERS
from treadle.web.problems import NOT_FOUND, Answer, busy, problem
from treadle.web.requests import Asked

if TYPE_CHECKING:
    from flask_worker.context import FlaskTreadle

View = Callable[[str], Response]


def make_blueprint() -> Blueprint:
    """A blueprint named `worker`, to be mounted under any prefix."""
    blueprint = Blueprint("worker", __name__, template_folder="templates")
    add = blueprint.add_url_rule
    add("/jobs/<token>", "status", status, methods=["GET", "DELETE"])
    add("/jobs/<token>/result", "result", result)
    add("/jobs/<token>/cancel", "cancel", cancel, methods=["POST", "DELETE"])
    add("/jobs/<token>/events", "events", events)
    add("/events", "all_events", all_events)
    add("/assets/<name>", "asset", asset)
    blueprint.record_once(_handle_full)
    return blueprint


def status(token: str) -> Response:
    return respond(_desk().status(token))


def result(token: str) -> Response:
    return respond(_desk().result(token))


def cancel(token: str) -> Response:
    return respond(_desk().cancel(token))


def events(token: str) -> Response:
    return _events([token])


def all_events() -> Response:
    """Several jobs in one stream: `?job=TOKEN&job=TOKEN`."""
    return _events(request.args.getlist("job"))


def full(error: QueueFull) -> Response:
    """A pool that takes no more calls now, in any view of the application: 503 with Retry-After."""
    return respond(readable(busy(asked()), asked()))


def _handle_full(state: BlueprintSetupState) -> None:
    """The application's own handler goes before ours, whichever is registered first."""
    if QueueFull not in state.app.error_handler_spec[None][None]:
        state.app.register_error_handler(QueueFull, full)


def asset(name: str) -> Response:
    return respond(pages.asset(name, request.args.get("v")) or problem(NOT_FOUND, asked()))


def respond(answer: Answer | Page) -> Response:
    """The Flask response of an answer."""
    if isinstance(answer, Answer):
        return Response(answer.body, status=answer.status, headers=answer.headers)
    page = render_template(
        "worker/job.html", page=answer.shown, script=asset_url("job-progress.js"), style=asset_url("page.css")
    )
    return Response(page, status=answer.status, headers={**PAGE_HEADERS, **answer.headers})


def asked() -> Asked:
    """The current request; outside of one, that of a program."""
    if not has_request_context():
        return Asked()
    return Asked(request.method, request.host, request.headers, current_app.debug)


def place(name: str, token: str) -> str:
    return url_for(_endpoint(VIEWS[name]), token=token)


def asset_url(name: str) -> str:
    return url_for(_endpoint(asset), name=name, v=pages.VERSIONS[name])


VIEWS: dict[str, View] = {"status": status, "result": result, "cancel": cancel, "events": events}


def _endpoint(view: View) -> str:
    """Where the site has registered a route: perhaps inside another blueprint, or under another name."""
    usual, views = f"worker.{view.__name__}", current_app.view_functions
    endpoint = usual if views.get(usual) is view else next((name for name in views if views[name] is view), None)
    if endpoint is None:
        raise ConfigurationError(
            f"{current_app.name} has no routes for jobs, since WORKER_URL_PREFIX is None: call "
            "app.register_blueprint(worker.blueprint)"
        )
    return endpoint


def _events(tokens: Sequence[str]) -> Response:
    last = request.headers.get("Last-Event-ID") or request.args.get("after")
    return respond(_desk().events(tokens, last, _treadle().pace).answer)


def _desk() -> Desk:
    return Desk(asked(), _find, place, _treadle().now_us())


def _find(token: str, scope: Scope) -> Found:
    treadle = _treadle()
    grant = treadle.links.opened(token, scope, owners)
    job: JobHandle[Any] = treadle.job(grant.job_id)
    return grant, job


def _treadle() -> "FlaskTreadle":
    treadle: FlaskTreadle = current_app.extensions["worker"]
    return treadle
