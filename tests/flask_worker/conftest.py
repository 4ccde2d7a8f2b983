"""The application of a test, inside its context."""

from contextlib import ExitStack

import pytest
from tests.flask_worker.site import create_app


@pytest.fixture
def make_app():
    """Makes applications that are closed at the end of the test."""
    with ExitStack() as stack:

        def make(**config):
            app = create_app(**config)
            stack.callback(app.extensions["worker"].close)
            return app

        yield make


@pytest.fixture
def app(make_app):
    app = make_app()
    with app.app_context():
        yield app


@pytest.fixture
def client(app):
    return app.test_client()
