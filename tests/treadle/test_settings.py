"""The settings, refused at start where they are wrong."""

from typing import Any

import pytest

from treadle import settings
from treadle.errors import SettingsError
from treadle.settings import Mode, Settings


def test_every_setting_has_a_default() -> None:
    """An application without settings works."""
    assert settings.make({}) == Settings()


def test_settings_are_read_from_prefixed_keys() -> None:
    """`WORKER_DRAIN_S` is `drain_s`; keys of others are left alone."""
    read = settings.load({"WORKER_DRAIN_S": 5, "WORKER_MODE": "collect", "SECRET_KEY": 1}, prefix="WORKER_")
    assert (read.drain_s, read.mode) == (5, Mode.COLLECT)


def test_keys_to_ignore_are_ignored() -> None:
    """An integration may have keys of its own under the same prefix."""
    assert settings.load({"WORKER_URL": "x"}, prefix="WORKER_", ignore=frozenset({"WORKER_URL"})) == Settings()


def test_an_unknown_key_is_answered_with_the_nearest() -> None:
    """The message names the key as the user wrote it, and the one that was meant."""
    with pytest.raises(SettingsError, match=r"unknown setting 'WORKER_DRAIN', did you mean 'WORKER_DRAIN_S'\?"):
        settings.load({"WORKER_DRAIN": 5}, prefix="WORKER_")


def test_an_unknown_keyword_is_answered_with_the_nearest() -> None:
    """The same for the core's keyword arguments."""
    with pytest.raises(SettingsError, match=r"unknown setting 'concurency', did you mean 'concurrency'\?"):
        settings.make({"concurency": 2})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("concurrency", 0),
        ("concurrency", "2"),
        ("concurrency", True),
        ("threads", 1.5),
        ("drain_s", -1),
        ("heartbeat_s", 0),
        ("job_nice", 20),
        ("recycle_after_tasks", 0),
        ("recycle_over_rss_mb", 0),
        ("pool_nice", -1),
        ("queues", "default"),
        ("database_url", 7),
        ("mode", "imediate"),
        ("max_payload_bytes", 0),
    ],
)
def test_a_wrong_value_is_named_with_its_setting(name: str, value: Any) -> None:
    """The message gives the key as the user wrote it, and the value."""
    with pytest.raises(SettingsError, match=rf"setting WORKER_{name.upper()}={value!r}: "):
        settings.load({f"WORKER_{name.upper()}": value}, prefix="WORKER_")


def test_a_wrong_choice_is_answered_with_all() -> None:
    """For a setting that is one of some words, the message lists them."""
    with pytest.raises(SettingsError, match="it is one of 'store', 'immediate', 'collect'"):
        settings.make({"mode": "imediate"})


def test_a_lease_shorter_than_the_heartbeat_is_refused() -> None:
    """Such a pair would take live workers for dead."""
    with pytest.raises(SettingsError, match=r"lease_s=2.0 must be longer than heartbeat_s=3,"):
        settings.make({"lease_s": 2})


def test_lists_are_taken_for_tuples() -> None:
    """A settings file may write a list."""
    assert settings.make({"queues": ["mail", "default"]}).queues == ("mail", "default")
