"""A client that does what a browser does: posts, then follows the status resource until the job has ended."""

import http.client
import json
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from treadle_demo.errors import DemoError

REQUEST_TIMEOUT_S = 20.0
RETRY_FOR_S = 10.0
"""A request that meets a web process which has just died is sent again, as a browser does."""
FOLLOW_TIMEOUT_S = 600.0

Status = dict[str, Any]


class Reply(NamedTuple):
    status: int
    headers: "http.client.HTTPMessage"
    body: bytes

    def json(self) -> Any:
        """The body. Raises DemoError where the answer is an error."""
        if self.status >= 400:
            raise DemoError(f"the server answered {self.status}: {self.body[:300].decode(errors='replace')}")
        return json.loads(self.body)


class Client:
    """Requests to one server."""

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port

    def get(self, path: str, headers: dict[str, str] | None = None) -> Reply:
        """A GET, which may be repeated: it is, while the server cannot be reached."""
        deadline_s = time.monotonic() + RETRY_FOR_S
        while True:
            try:
                return self._request("GET", path, None, headers or {})
            except (OSError, http.client.HTTPException) as error:
                if time.monotonic() > deadline_s:
                    raise DemoError(f"no answer from {self._host}:{self._port}: {error!r}") from error
            time.sleep(0.05)

    def post(self, path: str, value: Any) -> Reply:
        """A POST of JSON; never repeated, for it may have taken effect."""
        try:
            return self._request("POST", path, json.dumps(value).encode(), {"Content-Type": "application/json"})
        except (OSError, http.client.HTTPException) as error:
            raise DemoError(f"no answer from {self._host}:{self._port}: {error!r}") from error

    def _request(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> Reply:
        connection = http.client.HTTPConnection(self._host, self._port, timeout=REQUEST_TIMEOUT_S)
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            return Reply(response.status, response.headers, response.read())
        finally:
            connection.close()

    def send(self, name: str) -> Status:
        """Send the job for the input of this name: its id, its state and the links to it."""
        sent: Status = self.post("/analyses", {"input": name}).json()
        return sent

    def follow(self, sent: Status, show: Callable[[Status], None]) -> Status:
        """Look at the job as often as the server asks until it has ended; `show` each new status.

        Raises DemoError where it did not succeed.
        """
        path, etag = sent["urls"]["status"], ""
        deadline_s = time.monotonic() + FOLLOW_TIMEOUT_S
        while time.monotonic() < deadline_s:
            reply = self.get(path, {"If-None-Match": etag})
            if reply.status != http.client.NOT_MODIFIED:
                status: Status = reply.json()
                etag = reply.headers.get("ETag", "")
                show(status)
                if "Retry-After" not in reply.headers:
                    return _succeeded(status)
            time.sleep(float(reply.headers.get("Retry-After", 1)))
        raise DemoError(f"the job had not ended after {FOLLOW_TIMEOUT_S:.0f} s")

    def result(self, sent: Status) -> Any:
        """What the job returned."""
        return self.get(sent["urls"]["result"]).json()


def _succeeded(status: Status) -> Status:
    if status["state"] != "succeeded":
        raise DemoError(f"the job {status['state']}: {status['error']}")
    return status
