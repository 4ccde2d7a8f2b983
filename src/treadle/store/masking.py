"""What may be shown of an address."""

import re


def without_password(text: str) -> str:
    """A text with the password of each address in it replaced by `***`."""
    in_urls = re.sub(r"(://[^:/@\s]*):\S*@", r"\1:***@", text)
    # Also where the slashes were forgotten.
    before_hosts = re.sub(r":[^:@\s]+@", ":***@", in_urls)
    return re.sub(r"(\bpassword=)[^&\s]+", r"\1***", before_hosts)
