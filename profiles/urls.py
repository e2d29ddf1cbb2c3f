"""URLs of databases, as people and files may see them."""

from __future__ import annotations

import re
from pathlib import Path

# password, sslpassword, token, ...; and what ODBC is told as a whole.
_IN_QUERY = re.compile(r"([?&](?:[^=&]*(?:password|passwd|pwd|secret|token)[^=&]*|odbc_connect)=)[^&]*", re.IGNORECASE)


def place_of(store: str) -> str | Path:
    """A URL as it is; anything else is the path of a file."""
    return store if "://" in store else Path(store)


def shown(url: str) -> str:
    """A URL without its passwords, which must be in no message, file or log; user names may hold an @."""
    return _IN_QUERY.sub(r"\1***", re.sub(r"(://[^:/]*):.*@", r"\1:***@", url))
