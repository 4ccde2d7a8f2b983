"""Requests that nobody would send, for the tests of both frameworks."""

from urllib.parse import quote

from hypothesis import strategies as st

METHODS = st.sampled_from(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
PLACES = st.sampled_from(
    [
        "jobs/{}",
        "jobs/{}/result",
        "jobs/{}/cancel",
        "jobs/{}/events",
        "events?job={}",
        "events?job={}&job={}",
        "assets/{}",
    ]
)
TEXTS = st.text(st.characters(codec="utf-8"), max_size=60)
VALUES = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=60)
"""What a header can carry."""

_hostile = st.sampled_from(
    [
        "..",
        "../../etc/passwd",
        "%2e%2e%2f",
        "\x00",
        "\r\nX-Injected: 1",
        "a" * 3000,
        "'; DROP TABLE treadle_job; --",
        "{{7*7}}",
        "٣",
    ]
)
HEADERS = st.fixed_dictionaries(
    {},
    optional={
        "Accept": VALUES | st.sampled_from(["text/html", "*/*;q=nan", "text/html;q=2,;;,q=,", "a/b;q=1e999"]),
        "Accept-Language": VALUES | st.sampled_from(["zh", "zh-CN;q=x", "*", "en;q=-1", ",".join("a" * 99)]),
        "If-None-Match": VALUES | st.sampled_from(["*", 'W/"1"', '"' * 50]),
        "Last-Event-ID": VALUES
        | st.sampled_from(["0-0", "9" * 400, "1-1.1-1", "-", "1-1.", "999999999999999999-999999999999999999"]),
        "Sec-Fetch-Site": VALUES | st.sampled_from(["none", "same-origin", "cross-site"]),
        "Origin": VALUES | st.sampled_from(["null", "http://[", "http://localhost", "//", "http://[::1]:x"]),
        "Cookie": VALUES,
        "Content-Type": VALUES
        | st.sampled_from(["application/json", "multipart/form-data", "multipart/form-data; boundary=x"]),
    },
)
QUERIES = st.dictionaries(st.sampled_from(["after", "job", "v", "x"]), TEXTS, max_size=2)
BODIES = st.binary(max_size=200)


def tokens(good: list[str]) -> st.SearchStrategy[str]:
    """Tokens that are good, damaged, or none at all."""
    damaged = st.tuples(st.sampled_from(good), st.integers(0, 200), st.characters(codec="utf-8")).map(
        lambda each: each[0][: each[1]] + each[2] + each[0][each[1] + 1 :]
    )
    return st.sampled_from(good) | damaged | _hostile | TEXTS


def address(place: str, token: str, query: dict[str, str]) -> str:
    path = place.replace("{}", quote(token, safe=""))
    more = "&".join(f"{name}={quote(value, safe='')}" for name, value in query.items())
    return f"/worker/{path}" + (f"{'&' if '?' in path else '?'}{more}" if more else "")


def is_proper(status: int, headers: dict[str, str], body: bytes) -> None:
    """What holds of every answer: no error of the server's, nothing injected, nothing told."""
    assert status < 500
    assert "X-Injected" not in headers
    assert b"Traceback" not in body
    assert b"root:" not in body
