"""The browser, and a site in this process whose jobs the test itself moves on."""

import threading
from collections.abc import Iterator

import pytest
from werkzeug.serving import make_server

from tests.browser.chromium import Chromium, a_chromium


@pytest.fixture(scope="module")
def chromium() -> Iterator[Chromium]:
    with a_chromium() as chromium:
        yield chromium


@pytest.fixture(scope="module")
def serve() -> Iterator:
    """Serves WSGI applications in threads of this process; gives their addresses."""
    servers = []

    def serve(app: object) -> str:
        server = make_server("127.0.0.1", 0, app, threaded=True)
        server.daemon_threads = True
        servers.append((server, threading.Thread(target=server.serve_forever)))
        servers[-1][1].start()
        return f"http://127.0.0.1:{server.port}"

    yield serve
    for server, thread in servers:
        server.shutdown()
        thread.join()
        server.server_close()
