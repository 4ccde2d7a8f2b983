"""Signed links: who holds one may see one job, for some time. The id of a job alone opens nothing."""

from typing import Any, Protocol

from treadle.errors import JobNotFound

SALT = "treadle.job"


class Signer(Protocol):
    """The framework's own signing, with its secrets and their rotation."""

    def sign(self, value: dict[str, str]) -> str:
        """A text for a URL that holds the value and cannot be forged."""
        ...

    def unsign(self, token: str, max_age_s: float) -> Any:
        """The value of a token of ours; None where it is forged, damaged or too old."""
        ...


class Links:
    """Makes and reads the tokens of links."""

    def __init__(self, signer: Signer, max_age_s: float) -> None:
        self._signer = signer
        self._max_age_s = max_age_s

    def token(self, job_id: str) -> str:
        """What lets its holder read this job."""
        return self._signer.sign({"job": job_id, "scope": "read"})

    def job_id(self, token: str) -> str:
        """The job that a token lets read. Raises JobNotFound for any other token, always in the same words."""
        match self._signer.unsign(token, self._max_age_s):
            case {"job": str(job_id), "scope": "read"}:
                return job_id
        raise JobNotFound("there is no such job, or the link to it has expired")
