"""Signed links: what their holder may see."""

import hashlib
import hmac
import json
import time
from typing import Any

import pytest

from treadle.errors import JobNotFound
from treadle.testing import ManualClock
from treadle.web.links import SCOPES, Links


class HmacSigner:
    """A signer in ten lines, as a framework would bring one."""

    def __init__(self, key: bytes = b"key") -> None:
        self.key = key
        self.age_s = 0.0

    def sign(self, value: dict[str, Any]) -> str:
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
        links.opened(token)
    return str(caught.value)


def test_a_token_opens_its_job(links):
    """A token gives back the id of the job that it was made for."""
    assert links.opened(links.token("job-1")).job_id == "job-1"


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
    assert links.opened(token).job_id == "job-1"
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


@pytest.mark.parametrize("scope", SCOPES)
def test_a_token_is_good_for_its_own_scope_only(links, scope):
    """To follow a job, to have its result and to cancel it are three rights; none holds another."""
    token = links.token("job-1", scope)
    assert links.opened(token, scope).scopes == {scope}
    for other in set(SCOPES) - {scope}:
        with pytest.raises(JobNotFound):
            links.opened(token, other)


def test_a_token_may_have_several_scopes(links):
    """That of a page with a button to cancel, for instance; without any named it lets its holder follow the job."""
    token = links.token("job-1", "read", "cancel")
    assert links.opened(token, "cancel") == (token, "job-1", {"read", "cancel"})
    assert links.opened(links.token("job-1")).scopes == {"read"}
    with pytest.raises(ValueError, match="unknown scope 'write'"):
        links.token("job-1", "write")


def test_a_link_may_end_sooner_than_the_setting_says(signer):
    """`expires_in_s` ends one link; `max_age_s` ends all."""
    clock = ManualClock()
    links = Links(signer, max_age_s=1000, clock=clock)
    token = links.token("job-1", expires_in_s=60)
    clock.advance(59)
    assert links.opened(token).job_id == "job-1"
    clock.advance(2)
    assert refusal(links, token)


def test_a_bound_link_is_good_for_its_owner_only(links):
    """Who is somebody else, or nobody, finds nothing; and the token does not show the name."""
    token = links.token("job-1", owner="session:secret")
    assert links.opened(token, "read", lambda: ["user:7", "session:secret"]).job_id == "job-1"
    assert b"session" not in bytes.fromhex(token.partition(".")[0])
    for owners in (list, lambda: ["session:other"]):
        with pytest.raises(JobNotFound):
            links.opened(token, "read", owners)


def test_an_open_link_does_not_ask_who_holds_it(links):
    """So that no session is read for it."""
    assert links.opened(links.token("job-1"), "read", lambda: 1 / 0).job_id == "job-1"


def test_a_token_of_any_length_is_looked_at_in_no_time(links, signer):
    """What is longer than any of ours does not even reach the signer."""
    signer.unsign = lambda token, max_age_s: 1 / 0
    assert refusal(links, "x" * 1_000_000)


def test_the_id_of_a_job_alone_opens_nothing(links):
    """Who knows only the id of a job has no link to it."""
    assert refusal(links, "01890a5d-ac96-774b-bcce-b302099a8057")
