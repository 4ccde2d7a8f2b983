"""A hook that carries the W3C trace context from a send to the run, so that both stand in one trace.

    app.around(trace_context)

Where OpenTelemetry is installed, it is its current context that is carried, by its propagators. Elsewhere it is what
`with trace_context.enter(request.headers):` was given, as a middleware may do.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any

TRACEPARENT, TRACESTATE = "traceparent", "tracestate"
_WELL_FORMED = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-.*)?")
_NONE: Mapping[str, str] = MappingProxyType({})
_carried: ContextVar[Mapping[str, str]] = ContextVar("treadle_trace_context", default=_NONE)


class TraceContext:
    """See the module."""

    def capture(self) -> Mapping[str, str]:
        telemetry = _telemetry()
        if telemetry is None:
            return _carried.get()
        carrier: dict[str, str] = {}
        telemetry[0].inject(carrier)
        return carrier

    @contextmanager
    def enter(self, headers: Mapping[str, str], job: object = None) -> Iterator[None]:
        """Be in the trace that these headers name; in none where they name none, or no well-formed one."""
        telemetry = _telemetry()
        if telemetry is None:
            token = _carried.set(_of(headers))
            try:
                yield
            finally:
                _carried.reset(token)
            return
        propagate, context = telemetry
        attached = context.attach(propagate.extract(headers, context.Context()))
        try:
            yield
        finally:
            context.detach(attached)


def _of(headers: Mapping[str, str]) -> Mapping[str, str]:
    parent = headers.get(TRACEPARENT)
    if parent is None or not _WELL_FORMED.fullmatch(parent):
        return {}
    state = headers.get(TRACESTATE)
    return {TRACEPARENT: parent} if state is None else {TRACEPARENT: parent, TRACESTATE: state}


def _telemetry() -> tuple[Any, Any] | None:
    """OpenTelemetry's modules `propagate` and `context`, if it is installed."""
    try:
        from opentelemetry import context, propagate
    except ImportError:
        return None
    return propagate, context


trace_context = TraceContext()
