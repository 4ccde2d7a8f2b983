"""Every example runs as its reader would run it: a server, a request, and the answer that arrives."""

import json
import os
import shutil
import socket
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.helpers import eventually
from treadle import Treadle

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
FLASK = [sys.executable, "-m", "flask", "run", "--port"]
DJANGO = [sys.executable, "manage.py", "runserver", "--noreload"]


@contextmanager
def serving(example, tmp_path, command, *first, **environment):
    """The example's server, started in a copy of its folder after the commands `first`; gives its address."""
    root = tmp_path / "examples"
    shutil.copytree(EXAMPLES, root, ignore=shutil.ignore_patterns("*.sqlite3*", "instance", "__pycache__"))
    folder = root / example
    variables = {k: v for k, v in os.environ.items() if k != "DJANGO_SETTINGS_MODULE"} | environment
    if "manage.py" in command:
        first = [[sys.executable, "manage.py", "migrate"], *first]
    for each in first:
        subprocess.run(each, cwd=folder, env=variables, check=True, timeout=60)
    port = free_port()
    server = subprocess.Popen([*command, str(port)], cwd=folder, env=variables)
    try:
        address = f"http://127.0.0.1:{port}"
        eventually(lambda: answers(address), timeout_s=30)
        yield address
    finally:
        server.terminate()
        server.wait(20)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def answers(address):
    try:
        urllib.request.urlopen(address, timeout=5).close()
    except urllib.error.HTTPError as error:
        error.close()
        return True
    except OSError:
        return False
    return True


def request(address, data=None, content_type="application/x-www-form-urlencoded"):
    wanted = urllib.request.Request(address, data=data, headers={"Content-Type": content_type})
    with urllib.request.urlopen(wanted, timeout=20) as answer:
        return answer.status, json.load(answer)


def refusal(address, data):
    """The status of an answer that is an error."""
    with pytest.raises(urllib.error.HTTPError) as caught:
        request(address, data)
    caught.value.close()
    return caught.value.code


def followed(address, sent):
    """The status of a job once it has ended."""
    url = address + sent["urls"]["status"]
    eventually(lambda: request(url)[1]["state"] in ("succeeded", "failed"), timeout_s=20)
    return request(url)[1]


def form(**fields):
    return urllib.parse.urlencode(fields).encode()


def test_flask_quickstart(tmp_path):
    """The twelve lines for Flask: a job is sent, ends, and has its result; a list is computed at once."""
    with serving("flask_quickstart", tmp_path, FLASK) as address:
        code, sent = request(f"{address}/length", b"hello", "text/plain")
        assert (code, followed(address, sent)["state"]) == (202, "succeeded")
        assert request(address + sent["urls"]["result"]) == (200, 5)
        assert request(f"{address}/lengths", b'["a", "bb"]', "application/json") == (200, [1, 2])


def test_django_quickstart(tmp_path):
    """The twelve lines for Django do the same."""
    with serving("django_quickstart", tmp_path, DJANGO) as address:
        code, sent = request(f"{address}/length", form(text="hello"))
        assert (code, followed(address, sent)["state"]) == (202, "succeeded")
        assert request(address + sent["urls"]["result"]) == (200, 5)
        assert request(f"{address}/lengths?text=a&text=bb") == (200, {"lengths": [1, 2]})


@pytest.mark.parametrize("pool", ["processes", "threads"])
def test_the_article_in_flask(tmp_path, pool):
    """The article's handler answers with the length, in a child process and in a thread."""
    with serving("article/flask_article", tmp_path, FLASK, ARTICLE_POOL=pool) as address:
        job = followed(address, request(f"{address}/send", form(text="hello world"))[1])
        assert [message["body"] for message in job["messages"]] == ["The length of 'hello world' is 11"]


def test_the_article_in_django(tmp_path):
    """The article's handler answers with the length, and the model knows what was sent."""
    with serving("article/django_article", tmp_path, DJANGO) as address:
        job = followed(address, request(f"{address}/send", form(text="hello world"))[1])
        assert [message["body"] for message in job["messages"]] == ["The length of 'hello world' is 11"]
        assert request(f"{address}/lengths") == (200, {"lengths": [11]})


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request, tmp_path):
    if request.param == "postgres":
        return request.getfixturevalue("postgres_url")
    return f"sqlite:///{tmp_path / 'party.sqlite3'}"


def test_flask_sqlalchemy(tmp_path, database_url):
    """A guest and the job that invites it are there together, once each, and gone together where no seat is free."""
    first = [[sys.executable, "-m", "flask", *words] for words in (["create-tables"], ["worker", "migrate"])]
    with serving("flask_sqlalchemy", tmp_path, FLASK, *first, DATABASE_URL=database_url) as address:
        for name in ("Ada", "Bob", "Cy"):
            assert followed(address, request(f"{address}/guests", form(name=name))[1])["state"] == "succeeded"
        assert refusal(f"{address}/guests", form(name="Di")) == 409
        invited = [{"name": name, "invitations": 1} for name in ("Ada", "Bob", "Cy")]
        assert request(f"{address}/guests") == (200, invited)
    app = Treadle(database_url)
    assert app.store.counts() == {("default", "succeeded"): 3}
    app.close()


def test_quart_quickstart(tmp_path):
    """In Quart, too, a job is sent and its result awaited, by a worker that needs no process of its own."""
    command = [sys.executable, "-m", "uvicorn", "app:app", "--port"]
    with serving("quart_quickstart", tmp_path, command) as address:
        assert request(f"{address}/length", b"hello", "text/plain") == (200, {"length": 5})


def test_both_frameworks_are_given_the_same_page():
    """The article's page is the same file in both examples."""
    flask, django = (EXAMPLES / "article" / f"{f}_article" / "static" / "page.html" for f in ("flask", "django"))
    assert flask.read_text() == django.read_text()
