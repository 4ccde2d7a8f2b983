"""Signed links: what their holder may see."""

import hashlib
import hmac
import json
import time
from typing import Any

import pytest

from treadle.errors import JobNotFound
from treadle.web.links import Links


class HmacSigner:
    """A signer in ten lines, as a framework would bring one."""

    def __init__(self, key: bytes = b"key") -> None:
        self.key = key
        self.age_s = 0.0

    def sign(self, value: dict[str, str]) -> str:
        body = json.dumps({"at": time.time(), "value": value}).encode().hex()
        return f"{body}.{self._mac(body)}"

    def unsign(self, token: str, max_age_s: float) -> Any:
        body, _, mac = token.partition(".")
        if not hmac.compare_digest(mac.encode(), self._mac(body).encode()):
            return None
        signed = json.loads(bytes.fromhex(body))
        return signed["value"] if time.time() + self.age_s - signed["at"] <= max_age_s else None

    def _mac(self, body: str) -> str:
        return hmac.new(self.key, body.encode(), hashlib.sha256).hexdigest()


@pytest.fixture
def signer():
    return HmacSigner()


@pytest.fixture
def links(signer):
    return Links(signer, max_age_s=60)


def refusal(links: Links, token: str) -> str:
    with pytest.raises(JobNotFound) as caught:
        links.job_id(token)
    return str(caught.value)


def test_a_token_opens_its_job(links):
    """A token gives back the id of the job that it was made for."""
    assert links.job_id(links.token("job-1")) == "job-1"


def test_each_job_has_its_own_token(links):
    """The tokens of two jobs differ."""
    assert links.token("job-1") != links.token("job-2")


def test_a_forged_token_is_refused(links):
    """A token whose signature was made with another key opens nothing."""
    forged = Links(HmacSigner(b"another"), max_age_s=60).token("job-1")
    assert refusal(links, forged)


def test_a_damaged_token_is_refused(links):
    """A token with one character changed opens nothing."""
    token = links.token("job-1")
    assert refusal(links, token[:-1] + ("0" if token[-1] != "0" else "1"))


def test_an_old_token_is_refused(links, signer):
    """A token opens its job for `max_age_s`, and nothing after that."""
    token = links.token("job-1")
    signer.age_s = 59
    assert links.job_id(token) == "job-1"
    signer.age_s = 61
    assert refusal(links, token)


@pytest.mark.parametrize(
    "value",
    [
        None,
        "job-1",
        ["job-1"],
        {"job": "job-1"},
        {"job": "job-1", "scope": "write"},
        {"job": 7, "scope": "read"},
        {"job": None, "scope": "read"},
    ],
)
def test_what_was_signed_for_another_purpose_is_refused(links, signer, value):
    """A value of another shape opens nothing, though its signature is good."""
    assert refusal(links, signer.sign(value))


def test_every_refusal_says_the_same(links, signer):
    """Forged, damaged, expired and foreign tokens cannot be told apart by the answer."""
    old = links.token("job-1")
    signer.age_s = 61
    refusals = {refusal(links, token) for token in ("", "x", "x.y", old, signer.sign({"job": "1"}))}
    assert len(refusals) == 1


def test_the_id_of_a_job_alone_opens_nothing(links):
    """Who knows only the id of a job has no link to it."""
    assert refusal(links, "01890a5d-ac96-774b-bcce-b302099a8057")
