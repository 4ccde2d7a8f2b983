"""The demo end to end: real servers, real processes, kill -9; and nothing that stays behind."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager

import pytest

TIMEOUT_S = 60
"""Only a failing test takes so long: a quick run takes about ten seconds."""
COMMAND = [sys.executable, "-m", "treadle_demo"]


def played(*options):
    """The demo as it ended."""
    return subprocess.run([*COMMAND, *options], capture_output=True, text=True, timeout=TIMEOUT_S, check=False)


@contextmanager
def serving(*options, **environment):
    """The demo with --serve, and its address."""
    process = subprocess.Popen(
        [*COMMAND, "--serve", *options], stdout=subprocess.PIPE, text=True, env={**os.environ, **environment}
    )
    try:
        yield process, re.search(r"http://\S+", process.stdout.readline())[0]
    finally:
        process.terminate()
        process.wait(TIMEOUT_S)
        process.stdout.close()


def answer(url, **request):
    with urllib.request.urlopen(urllib.request.Request(url, **request), timeout=TIMEOUT_S) as response:
        return response.status, response.read()


def is_closed(address):
    """Whether nobody serves an address any more; a server that ends takes a moment."""
    host, port = address.removeprefix("http://").strip("/").split(":")
    deadline_s = time.monotonic() + 15
    while time.monotonic() < deadline_s:
        with socket.socket() as probe:
            if probe.connect_ex((host, int(port))):
                return True
        time.sleep(0.05)
    return False


@pytest.mark.parametrize("framework", ["flask", "django"])
def test_it_plays_three_acts_and_holds_what_it_claims(framework):
    """Exit status 0, the tables, the comparison, the latency, the count after kill -9, and the last lines."""
    done = played("--quick", "--framework", framework)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"100%\s+(\d+) of \1 files", done.stdout)
    for title in ("Longest functions", "Most branched functions", "Word for word in more than one file"):
        assert title in done.stdout
    assert re.search(r"serial +threads +Treadle\n +seconds .*\n +speed-up +1\.00", done.stdout)
    assert re.search(r"idle +[\d.]+ ms +[\d.]+ ms +\d+\n +computing +[\d.]+ ms", done.stdout)
    assert re.search(r"sent (\d+), finished \1, lost 0, accepted twice 0, resumed after \d+\.\d s", done.stdout)
    assert re.search(r"speed-up \d.*\n.*http://127.0.0.1:\d+/.*\n.*make demo ARGS=--serve\n$", done.stdout)
    assert done.stderr == ""


def test_a_small_tree_of_ones_own_is_played_too(tmp_path):
    """What is too short to be measured is said to be; a file that does not parse is counted."""
    (tmp_path / "good.py").write_text("def f():\n    return 1\n")
    (tmp_path / "bad.py").write_text("def f(:\n")
    done = played("--quick", "--path", str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Files that do not parse: 1\n    bad.py: SyntaxError" in done.stdout
    assert "lost 0, accepted twice 0" in done.stdout


def test_a_port_in_use_gets_one_sentence():
    """It names the port and what to do."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        done = played("--quick", "--port", str(other.getsockname()[1]))
    assert done.returncode == 1
    assert re.fullmatch(r"treadle demo: port \d+ is in use; choose another with --port N.*\n", done.stderr)


def test_the_page_shows_it_live():
    """The page and its parts are served, and what it sends is followed by links alone."""
    with serving("--quick") as (_, address):
        assert b"Treadle demo" in answer(address)[1]
        assert b"job.follow(urls)" in answer(address + "static/page.js")[1]
        assert json.loads(answer(address + "input")[1])["framework"] == "Flask"
        status, body = answer(
            address + "analyses", data=b'{"input": "sample"}', headers={"Content-Type": "application/json"}
        )
        assert status == 202
        assert answer(address.rstrip("/") + json.loads(body)["urls"]["status"])[0] == 200


@pytest.mark.parametrize("framework", ["flask", "django"])
@pytest.mark.parametrize(
    ("path", "request_", "code"),
    [
        ("analyses", {"data": b'{"input": "all"}', "headers": {"Content-Type": "text/plain"}}, 415),
        ("analyses", {"data": b'{"input": "x"}', "headers": {"Content-Type": "application/json"}}, 400),
        ("analyses", {"data": b"[", "headers": {"Content-Type": "application/json"}}, 400),
        ("analyses", {}, 405),
        ("static/views.py", {}, 404),
        ("", {"headers": {"Host": "elsewhere.example"}}, 400),
    ],
)
def test_other_requests_are_refused(servers, framework, path, request_, code):
    """A page of another site can neither send the job nor read anything here."""
    with pytest.raises(urllib.error.HTTPError) as refused:
        answer(servers[framework] + path, **request_)
    assert refused.value.code == code
    refused.value.close()


@pytest.fixture(scope="module")
def servers():
    """The address of each framework's demo."""
    with serving("--quick") as (_, flask), serving("--quick", "--framework", "django") as (_, django):
        yield {"flask": flask, "django": django}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_no_server_stays_behind(number, tmp_path):
    """However the demo ends; after kill -9 it is the kernel that ends the server, and only a folder is left."""
    if number == signal.SIGKILL and sys.platform != "linux":
        pytest.skip("only Linux ends a process with its parent")
    with serving("--quick", TMPDIR=str(tmp_path)) as (process, address):
        assert answer(address + "ping")[0] == 200
        os.kill(process.pid, number)
        process.wait(TIMEOUT_S)
        assert is_closed(address)
    assert bool(list(tmp_path.iterdir())) == (number == signal.SIGKILL)
