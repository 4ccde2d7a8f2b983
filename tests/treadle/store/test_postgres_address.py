"""Where a PostgreSQL database is."""

import stat

import pytest

from treadle.errors import SettingsError
from treadle.store.masking import without_password
from treadle.store.postgres_address import alive_folder, parse, shown


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("postgresql://me:secret@db.local/jobs", "postgresql://db.local/jobs"),
        ("postgresql://me@db.local:6432/jobs?sslmode=require", "postgresql://db.local:6432/jobs"),
        ("postgresql://me:secret@/jobs?host=/run/pg", "postgresql:///jobs?host=/run/pg"),
        ("postgresql://db.local/jobs?user=me&password=secret", "postgresql://db.local/jobs"),
        ("postgresql://a:1,b:2/jobs", "postgresql://a,b:1,2/jobs"),
    ],
)
def test_an_address_is_shown_without_user_and_password(url: str, text: str) -> None:
    """What is left says which database it is."""
    assert shown(parse(url)) == text


def test_a_url_that_cannot_be_read_is_refused_without_its_password() -> None:
    """Neither the message nor its cause holds it."""
    with pytest.raises(SettingsError, match=r"database_url 'postgresql://me:\*\*\*@host.*cannot be read") as caught:
        parse("postgresql://me:secret@host:port/jobs?no=such")
    assert caught.value.__cause__ is caught.value.__context__ is None


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("at postgresql://me:a@b:c@host/x now", "at postgresql://me:***@host/x now"),
        ("postgresql+psycopg://me:secret@host", "postgresql+psycopg://me:***@host"),
        ("postgres://host/x?password=secret&user=me", "postgres://host/x?password=***&user=me"),
        ("postgres:me:secret@host", "postgres:me:***@host"),
        ("sqlite:////tmp/jobs.sqlite3", "sqlite:////tmp/jobs.sqlite3"),
        ("memory://", "memory://"),
    ],
)
def test_passwords_in_texts_are_masked(text: str, masked: str) -> None:
    """Those of URLs, whatever their kind; nothing else is changed."""
    assert without_password(text) == masked


def test_each_database_has_an_alive_folder_of_its_own() -> None:
    """By server, database and schema, not by user; in a folder that only this user can look into."""
    urls = [
        "postgresql://a/jobs", "postgresql://b/jobs", "postgresql://a/other", "postgresql://a:6432/jobs",
        "postgresql://a/jobs?options=-c%20search_path%3Dx",
    ]  # fmt: skip
    folders = {alive_folder(parse(url)) for url in urls}
    assert len(folders) == len(urls)
    folder = alive_folder(parse("postgresql://me:secret@a/jobs"))
    assert folder in folders
    assert folder is not None
    assert stat.S_IMODE(folder.parent.stat().st_mode) == 0o700


def test_an_alive_folder_that_is_not_ours_is_not_used(tmp_path, monkeypatch) -> None:
    """Somebody else could have made it first; leases decide then."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("os.getuid", lambda: 12345)
    assert alive_folder(parse("postgresql://a/jobs")) is None
