"""Hooks around jobs: what is captured at a send is in force where the job runs."""

from contextlib import contextmanager

import pytest

from treadle import Snooze, State, Treadle
from treadle.errors import ConfigurationError
from treadle.tracing import trace_context

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


class Tenant:
    """What a site with tenants would write."""

    def __init__(self):
        self.current = "nobody"

    def capture(self):
        return {"tenant": self.current}

    @contextmanager
    def enter(self, headers, job):
        before, self.current = self.current, headers.get("tenant", "nobody")
        yield
        self.current = before


@pytest.fixture
def app():
    return Treadle("memory://", mode="collect")


@pytest.fixture
def tenant(app):
    return app.around(Tenant())


def test_what_was_in_force_at_the_send_is_in_force_in_the_run(app, tenant):
    """And only there."""
    task = app.task(seen)
    tenants.append(tenant)
    tenant.current = "acme"
    job = app.send_function(task)
    tenant.current = "other"
    app.run_pending()
    assert (job.refresh().result(), job.row.headers, tenant.current) == ("acme", {"tenant": "acme"}, "other")


def test_each_part_of_a_map_has_it(app, tenant):
    """And what reduces."""
    tenants.append(tenant)
    tenant.current = "acme"
    whole = app.send_map(app.task(seen_for), [1, 2], parts=2)
    tenant.current = "other"
    app.run_pending()
    assert whole.refresh().result() == ["acme", "acme"]


def test_a_class_is_made_a_hook_and_stays_a_class(app):
    """So `around` decorates; twice is once, as when a module is imported under two names."""
    assert app.around(Tenant) is Tenant
    app.around(Tenant)
    assert len(app.hooks._hooks) == 1
    assert app.send_function(app.task(seen)).row.headers == {"tenant": "nobody"}


def test_hooks_are_entered_in_their_order_and_left_in_the_other(app):
    """The first is outermost, also around one that fails."""
    steps = []

    class Step:
        def __init__(self, name):
            self.name = name

        def capture(self):
            return {}

        @contextmanager
        def enter(self, headers, job):
            steps.append(self.name)
            try:
                yield
            finally:
                steps.append(f"after {self.name}")

    class Fails(Step):
        def enter(self, headers, job):
            raise LookupError("no such tenant")

    for hook in (Step("one"), Step("two"), Fails("three")):
        app.around(hook)
    tenants.append(Tenant())
    job = app.send_function(app.task(seen))
    app.run_pending()
    assert steps == ["one", "two", "after two", "after one"]
    assert "no such tenant" in str(job.refresh().error)


def test_a_hook_takes_no_error_away(app):
    """What the task has raised is what becomes of its job, whatever a hook does with it, and each hook sees it."""
    seen_errors = []

    class Swallows:
        def capture(self):
            return {}

        @contextmanager
        def enter(self, headers, job):
            try:
                yield
            except Exception as error:
                seen_errors.append(type(error))

    app.around(Swallows())
    app.around(Swallows())
    job = app.send_function(app.task(sleepy))
    app.run_pending()
    assert (job.refresh().state, job.error, seen_errors) == (State.SCHEDULED, None, [Snooze, Snooze])


@pytest.mark.parametrize("hook", [object(), lambda: None, type("Half", (), {"capture": dict})])
def test_what_is_no_hook_is_refused(app, hook):
    """Where it is added."""
    with pytest.raises(ConfigurationError, match="has not both capture"):
        app.around(hook)


@pytest.mark.parametrize("captured", [None, ["tenant"]])
def test_what_is_no_mapping_is_refused_at_the_send(app, captured):
    """As of a `capture` that forgot to return."""
    hook = app.around(Tenant())
    hook.capture = lambda: captured
    with pytest.raises(ConfigurationError, match=r"Tenant\.capture\(\) is to give texts by name, and gave"):
        app.send_function(app.task(seen))


def test_what_is_no_context_manager_fails_the_attempt(app):
    """And the error names the hook, as where `@contextmanager` was forgotten."""
    hook = app.around(Tenant())
    hook.enter = lambda headers, job: iter([])
    job = app.send_function(app.task(seen))
    app.run_pending()
    assert "Tenant.enter() is to give a context manager, and gave <" in job.refresh().error.message


def test_what_is_no_text_is_refused_at_the_send(app, tenant):
    """Nothing is sent then."""
    tenant.current = 7
    with pytest.raises(ConfigurationError, match=r"Tenant\.capture\(\) is to give texts"):
        app.send_function(app.task(seen))
    assert app.jobs() == []


@pytest.mark.parametrize("with_telemetry", [True, False])
def test_a_trace_goes_on_in_the_run_and_in_what_it_sends(app, monkeypatch, with_telemetry):
    """With OpenTelemetry and without it."""
    if with_telemetry:
        pytest.importorskip("opentelemetry")
    else:
        monkeypatch.setattr("treadle.tracing._telemetry", lambda: None)
    app.around(trace_context)
    with trace_context.enter({"traceparent": PARENT, "tracestate": "a=1", "host": "x"}):
        job = app.send_function(app.task(traced))
    assert trace_context.capture() == {}
    app.run_pending()
    assert (job.row.headers, job.refresh().result()) == ({"traceparent": PARENT, "tracestate": "a=1"}, PARENT)


def test_a_header_that_names_no_trace_is_dropped(monkeypatch):
    """It comes from whoever sent the request."""
    monkeypatch.setattr("treadle.tracing._telemetry", lambda: None)
    with trace_context.enter({"traceparent": "evil\r\nheader"}):
        assert trace_context.capture() == {}


tenants = []


def seen():
    return tenants[-1].current


def seen_for(item):
    return seen()


def traced():
    return trace_context.capture().get("traceparent")


def sleepy():
    raise Snooze(60)
