"""Pages: one file with all that it needs, plotly included, that asks nobody for anything.

Its content policy forbids every request and every script but its own. Templates are those of ``templates``; texts that
come from files are escaped.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.pages.words import glued, when
from profiles.clock import utc_now

FOLDER = Path(__file__).parent / "templates"


def page(template: str, content: Mapping[str, Any], own: Sequence[str] = ()) -> str:
    """The whole file. ``content``: what the template names. ``own``: further scripts of ``FOLDER``."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from plotly.offline import get_plotlyjs

    environment = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=glued,
    )
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}
    scripts = [get_plotlyjs(), *((FOLDER / name).read_text() for name in ("report.js", *own))]
    return environment.get_template(template).render(
        content,
        scripts=scripts,
        policy=_policy(scripts),
        style=(FOLDER / "report.css").read_text(),
        written=f"hwnas {version('hwnas')}, {when(utc_now())} UTC",
    )


def _policy(scripts: Sequence[str]) -> str:
    """A content policy under which these scripts run and nothing else, and nothing is fetched."""
    digests = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests)
    nowhere = "default-src 'none'; base-uri 'none'; form-action 'none'"
    return f"{nowhere}; script-src {allowed}; style-src 'unsafe-inline'; img-src data: blob:"
