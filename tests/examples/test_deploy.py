"""examples/deploy behind the servers that it is made for: each file as it stands, but for ports and folders."""

import contextlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.end_to_end.server import Program, Server, eventually, free_port, program, serving
from tests.helpers import ROOT

DEPLOY = ROOT / "examples/deploy"
NGINX, APACHE = shutil.which("nginx", path="/usr/sbin:/usr/bin"), shutil.which("apache2", path="/usr/sbin:/usr/bin")
# Started by root, Apache's processes become another user, who could not read what belongs to root: this interpreter, say.
UNPRIVILEGED = () if os.getuid() else ("/usr/bin/unshare", "--user", "--map-user=1000", "--map-group=1000")
MODULES = Path("/usr/lib/apache2/modules")

needs_nginx = pytest.mark.skipif(NGINX is None, reason="nginx is not installed (Debian: nginx-light)")
needs_apache = pytest.mark.skipif(
    APACHE is None or subprocess.run([*UNPRIVILEGED, "/bin/true"], capture_output=True, check=False).returncode != 0,
    reason="Apache is not installed (Debian: apache2), or this is root in a container that makes no user namespaces",
)
needs_mod_wsgi = pytest.mark.skipif(
    not (MODULES / f"mod_wsgi.so-3.{sys.version_info.minor}").exists(),
    reason=f"there is no mod_wsgi for Python 3.{sys.version_info.minor} (Debian 12: libapache2-mod-wsgi-py3)",
)

NGINX_MAIN = """
pid {folder}/nginx.pid;
error_log stderr;
daemon off;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/site.conf;
}}
"""

APACHE_MAIN = """
ServerRoot {folder}
ServerName localhost
PidFile {folder}/apache.pid
DefaultRuntimeDir {folder}
Listen 127.0.0.1:{port}
{modules}
ErrorLog /dev/stderr
Include {folder}/site.conf
"""


class Native(Server):
    """A server that is not a program of Python."""

    def __init__(self, command, folder, environment):
        launcher = "import os, sys; os.execv(sys.argv[1], sys.argv[1:])"
        super().__init__(("-c", launcher, *command), folder, environment)


@contextlib.contextmanager
def native(*command, folder, port):
    with program(*command, folder=folder, kind=Native) as server:
        server.port = port
        eventually(server.is_answering, 30)
        yield server


@pytest.fixture
def site(tmp_path):
    """A copy of the example, and what it finds in its environment."""
    folder = tmp_path / "site"
    shutil.copytree(DEPLOY, folder)
    return folder


@contextlib.contextmanager
def gunicorn(site):
    with serving(
        "-m", "gunicorn", "-b", "127.0.0.1:PORT", "-w", "2", "--threads", "8", "app:app", folder=site
    ) as server:
        yield server


@contextlib.contextmanager
def nginx(site, backend_port):
    port = free_port()
    _site_file(
        site, "nginx.conf", {"listen 80;": f"listen 127.0.0.1:{port};", "127.0.0.1:8000": f"127.0.0.1:{backend_port}"}
    )
    (site / "main.conf").write_text(NGINX_MAIN.format(folder=site))
    with native(NGINX, "-p", str(site), "-c", str(site / "main.conf"), folder=site, port=port) as server:
        yield server


@contextlib.contextmanager
def apache(site, example, changes, modules):
    port = free_port()
    _site_file(site, example, {"*:80": f"127.0.0.1:{port}", **changes})
    common = ("mpm_event", "authz_core")
    loaded = "\n".join(f"LoadModule {name}_module {MODULES}/mod_{name}.so" for name in (*common, *modules))
    (site / "main.conf").write_text(APACHE_MAIN.format(folder=site, port=port, modules=loaded))
    with native(
        *UNPRIVILEGED, APACHE, "-f", str(site / "main.conf"), "-D", "FOREGROUND", folder=site, port=port
    ) as server:
        yield server


def _site_file(site, example, changes):
    text = (DEPLOY / example).read_text()
    for before, after in changes.items():
        assert before in text
        text = text.replace(before, after)
    (site / "site.conf").write_text(text)


def send(server):
    """A job over HTTP; what it was answered with."""
    reply = server.ask("POST", "/length", "hello", {"Host": "shop.example"})
    assert reply.status == 202, (reply.status, reply.body)
    return reply


@needs_nginx
def test_behind_nginx(site):
    """A job is sent and followed through nginx, and its links name the host that the visitor asked."""
    with gunicorn(site) as backend, nginx(site, backend.port) as server:
        reply = send(server)
        assert server.result(reply.json) == 5


@needs_apache
def test_behind_apache(site):
    """A job is sent and followed through Apache as a proxy."""
    with gunicorn(site) as backend:
        changes = {"127.0.0.1:8000": f"127.0.0.1:{backend.port}"}
        with apache(site, "apache-proxy.conf", changes, ("proxy", "proxy_http", "headers")) as server:
            assert server.result(send(server).json) == 5


@needs_apache
@needs_mod_wsgi
def test_inside_apache(site):
    """mod_wsgi runs the site, which computes in child processes, and a worker process beside it runs what it sends."""
    changes = {"/srv/site/.venv": sys.prefix, "/srv/site": str(site)}
    with apache(site, "apache-wsgi.conf", changes, ("wsgi",)) as server:
        assert server.post("/lengths", ["a", "bc"]).json == [1, 2]
        with program("-m", "flask", "--app", "app", "worker", "run", folder=site, kind=Program):
            assert server.result(send(server).json) == 5


def command_of(file, pattern, **changes):
    """The words of a command that stands in an example, for this interpreter."""
    text = re.search(pattern, (DEPLOY / file).read_text(), re.MULTILINE).group(1)
    program, *words = [word for word in _words(text) if word != "CMD"]
    return ("-m", Path(program).name, *(changes.get(word, word) for word in words))


def _words(text):
    return json.loads(text) if text.startswith("[") else shlex.split(text)


def test_the_image_and_the_services_start(site):
    """The commands of the image, of its worker and of the unit for systemd start a site with two workers, all healthy."""
    web = command_of("Dockerfile", r"^CMD (.*)$", **{"0.0.0.0:8000": "127.0.0.1:PORT"})
    worker, check = (command_of("compose.yaml", rf"{key}: (\[.*\])$") for key in ("command", "test"))
    unit = command_of("treadle-worker.service", r"^ExecStart=(.*)$")
    with serving(*web, folder=site) as server, program(*worker, folder=site), program(*unit, folder=site):
        assert server.result(send(server).json) == 5
        eventually(lambda: _exit_status(check, site) == 0, 20)


def _exit_status(command, folder):
    """Of one that ends by itself."""
    with program(*command, folder=folder) as running:
        return running.ended()
