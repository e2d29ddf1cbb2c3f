"""URLs of databases, as people and files may see them."""

from __future__ import annotations

import re
from pathlib import Path


def place_of(store: str) -> str | Path:
    """A URL as it is; anything else is the path of a file."""
    return store if "://" in store else Path(store)


def shown(url: str) -> str:
    """A URL without its password, which must be in no message, file or log."""
    return re.sub(r"([?&]password=)[^&]*", r"\1***", re.sub(r"(://[^:/@]*):.*@", r"\1:***@", url))
