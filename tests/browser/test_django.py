"""A page of a Django site in a real browser, under an ASGI and a WSGI server, with a worker that runs the jobs."""

import statistics

import pytest

from tests.end_to_end.server import program, serving

UVICORN = (
    "-m",
    "uvicorn",
    "--host",
    "127.0.0.1",
    "--port",
    "PORT",
    "django.core.asgi:get_asgi_application",
    "--factory",
)
GUNICORN = ("-m", "gunicorn", "-b", "127.0.0.1:PORT", "--threads", "4", "django.core.wsgi:get_wsgi_application()")
EVENTS = "performance.getEntriesByType('resource').filter((each) => each.name.includes('/events')).length"


@pytest.fixture
def site(tmp_path):
    """What a server of the tests' Django site is given; its database is there."""
    environment = {
        "DJANGO_SETTINGS_MODULE": "tests.django_site.settings",
        "DATABASE_FILE": str(tmp_path / "site.sqlite3"),
    }
    with program("-m", "django", "migrate", "--verbosity", "0", folder=tmp_path, **environment) as migrate:
        assert migrate.ended() == 0
    return {"folder": tmp_path, **environment}


@pytest.mark.parametrize(("server", "lang", "done"), [(UVICORN, "zh-CN", "已完成"), (GUNICORN, "en", "Done")], ids=["ASGI", "WSGI"])  # fmt: skip
def test_it_follows_a_job(site, chromium, server, lang, done, record_property):
    """To its end, with every message; under ASGI by one answer that goes on, under WSGI by several that end."""
    with serving(*server, **site) as running, chromium.page(locale="en-GB") as page:
        page.goto(f"http://127.0.0.1:{running.port}/page?lang={lang}")
        page.says(done)
        late_s = page.evaluate("heard")
        asked = page.evaluate(EVENTS)
        assert page.inner_text("job-progress .percent") == "100 %"
        assert page.complaints == []
    record_property("late_s", late_s)
    print(f"messages were in the page after {statistics.median(late_s):.3f} s, at most {max(late_s):.3f} s")
    assert len(late_s) == 8
    assert (asked == 1) is (server is UVICORN)
