"""Every resource, asked in ways that nobody would think of."""

import pytest
from django.test import Client
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase

from django_worker import run_pending, send_function, send_map
from django_worker.site import site
from tests.django_site import tasks
from tests.treadle.web import fuzzing

pytestmark = pytest.mark.django_db


class TestFuzzing(TestCase):
    """In a transaction that is rolled back, as each of Django's tests."""

    @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
    @given(
        fuzzing.METHODS, fuzzing.PLACES, fuzzing.tokens(["0", "1", "2", "3"]), fuzzing.QUERIES, fuzzing.HEADERS,
        fuzzing.BODIES, st.booleans(),
    )  # fmt: skip
    def test_no_request_is_an_error_of_the_server(self, method, place, token, query, headers, body, debug):
        """Whatever it asks for, by whatever token, method and headers."""
        token = good()[int(token)] if token in ("0", "1", "2", "3") else token
        kind = headers.pop("Content-Type", "text/plain")
        client = Client(raise_request_exception=True, headers=headers)
        with self.settings(DEBUG=debug):
            answer = client.generic(method, fuzzing.address(place, token, query), body, kind)
        fuzzing.is_proper(answer.status_code, dict(answer.headers), answer.content)


def good():
    """Links to jobs in several states."""
    jobs = [send_function(tasks.reports, 2), send_function(tasks.fails_at_once, "x")]
    run_pending()
    jobs += [send_function(tasks.reports, 3), send_map(tasks.square, [1, 2], parts=2)]
    return [site().links.token(job.id, "read", "result", "cancel") for job in jobs]
