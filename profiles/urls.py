"""URLs of databases, as people and files may see them."""

from __future__ import annotations

import re
from pathlib import Path

# password, sslpassword, token, ...; and what ODBC is told as a whole. Not libpq's passfile, which is a path.
_SECRET = r"[^=&]*(?:pass(?!file)|pwd|secret|token|private_key|api_key)[^=&]*|odbc_connect"
_IN_QUERY = re.compile(rf"([?&](?:{_SECRET})=)[^&]*", re.IGNORECASE)


def place_of(store: str) -> str | Path:
    """A URL as it is; anything else is the path of a file."""
    return store if "://" in store else Path(store)


def is_secret(key: str) -> bool:
    """Whether the value of this option of a URL is to be shown and written nowhere."""
    return re.fullmatch(_SECRET, key, re.IGNORECASE) is not None


def shown(url: str) -> str:
    """A URL without its passwords, which must be in no message, file or log; user names may hold an @."""
    return _IN_QUERY.sub(r"\1***", re.sub(r"(://[^:/]*):.*@", r"\1:***@", url))
