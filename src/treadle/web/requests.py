"""What of a request decides how it is answered, as its headers say it."""

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import urlsplit

from treadle.web import words

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


class Headers(Protocol):
    """Headers as frameworks give them: by name, whatever the case of its letters."""

    def get(self, name: str, /) -> str | None:
        """The value of a header, or None."""
        ...


@dataclass(frozen=True)
class Asked:
    """A request, as far as we need to know it."""

    method: str = "GET"
    host: str = ""
    """The host that the client has asked, with its port."""
    headers: Headers = field(default_factory=dict[str, str])
    debug: bool = False
    """Whether the text of errors may be told."""
    trusted_origins: Collection[str] = ()
    """Other sites of one's own, whose pages may do what those of this one may: `https://app.example.com`, or, as in Django,
    `https://*.example.com` for a domain and all below it.
    """

    @property
    def wants_page(self) -> bool:
        """Whether a person looks: the client would rather have HTML than JSON."""
        accepted = dict(words.qualities(self.headers.get("Accept") or ""))
        return accepted.get("text/html", 0) > accepted.get("application/json", 0)

    @property
    def language(self) -> str:
        return words.language(self.headers.get("Accept-Language"))

    @property
    def words(self) -> dict[str, str]:
        return words.words(self.language)

    @property
    def is_cross_site(self) -> bool:
        """Whether a browser says that a page of another site makes it do what changes something.

        `Sec-Fetch-Site` and `Origin` are set by browsers, and no page can forge them. Who sends neither is no browser of
        today, and has no cookies that a page could abuse.
        """
        if self.method in SAFE:
            return False
        origin = self.headers.get("Origin")
        if origin is not None and any(_is_of(origin, trusted) for trusted in self.trusted_origins):
            return False
        fetched_from = self.headers.get("Sec-Fetch-Site")
        if fetched_from is not None:
            return fetched_from not in ("same-origin", "none")
        return origin is not None and _host(origin) != self.host.lower()


def _is_of(origin: str, trusted: str) -> bool:
    scheme, star, domain = trusted.partition("://*.")
    if not star:
        return origin == trusted
    return origin == f"{scheme}://{domain}" or (origin.startswith(f"{scheme}://") and origin.endswith(f".{domain}"))


def _host(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc.lower() or None
    except ValueError:
        return None
