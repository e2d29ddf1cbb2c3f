"""URLs of databases, as people and files may see them."""

from __future__ import annotations

import re


def shown(url: str) -> str:
    """A URL without its password, which must be in no message, file or log."""
    return re.sub(r"([?&]password=)[^&]*", r"\1***", re.sub(r"(://[^:/@]*):.*@", r"\1:***@", url))
