"""Every resource, asked in ways that nobody would think of."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.flask_worker.site import count_to, create_app, fail, worker
from tests.treadle.web import fuzzing

APP = create_app()
with APP.app_context(), APP.test_request_context():
    _jobs = [worker.send_function(count_to, 2), worker.send_function(fail, "x")]
    worker.run_pending()
    _jobs += [worker.send_function(count_to, 3), worker.send_map(count_to, [1, 2], parts=2)]
    GOOD = [APP.extensions["worker"].links.token(job.id, "read", "result", "cancel") for job in _jobs]


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    fuzzing.METHODS, fuzzing.PLACES, fuzzing.tokens(["0", "1", "2", "3"]), fuzzing.QUERIES,
    fuzzing.HEADERS, fuzzing.BODIES, st.booleans(),
)  # fmt: skip
def test_no_request_is_an_error_of_the_server(method, place, token, query, headers, body, debug):
    """Whatever it asks for, by whatever token, method and headers."""
    APP.debug = debug
    # Tokens hold the second they were made in, which would make each run another one.
    token = GOOD[int(token)] if token in ("0", "1", "2", "3") else token
    answer = APP.test_client().open(fuzzing.address(place, token, query), method=method, headers=headers, data=body)
    fuzzing.is_proper(answer.status_code, dict(answer.headers), answer.data)
