"""Take the figures that the documents quote, and keep the last of each in ``docs/results-<name>.md``.

python -m benchmarks.bench [NAME...] [--minutes N]

``--minutes`` is for figures that can be taken in pieces: the next call goes on.
"""

from __future__ import annotations

import argparse
import inspect
import platform
import sys
from collections.abc import Callable
from pathlib import Path

from profiles import files
from profiles.clock import utc_now
from profiles.errors import HwnasError, InputError, UnavailableError
from profiles.registry import find, names

_DOCS = Path(__file__).resolve().parent.parent / "docs"


def main(arguments: list[str]) -> int:
    """The exit code: 0, or that of the first figure that could not be taken; the others are taken all the same."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(names("benchmarks.figures")))
    parser.add_argument("--minutes", type=float)
    given = parser.parse_args(arguments)
    code = 0
    for name in given.names or names("benchmarks.figures"):
        try:
            lines = _taken(find("benchmarks.figures", name).take, given.minutes, named=bool(given.names))
        except HwnasError as error:
            print(f"{name}: {error}", file=sys.stderr)
            code = code or error.exit_code
            continue
        text = "\n".join([*lines, "", _where()]) + "\n"
        print(text)
        files.write_text(_DOCS / f"results-{name}.md", text)
    return code


def _taken(take: Callable[..., list[str]], minutes: float | None, *, named: bool) -> list[str]:
    """Raises what the figure raises: UnavailableError where it needs a package that is not here."""
    pieces = "minutes" in inspect.signature(take).parameters
    if minutes is not None and named and not pieces:
        raise InputError("is taken whole: give it without --minutes")
    try:
        return take(minutes) if pieces else take()
    except ModuleNotFoundError as error:
        raise UnavailableError(f"needs the package {error.name}: pip install 'hwnas[bench]'") from None


def _where() -> str:
    from devices.fingerprint import fingerprint

    found = fingerprint({})
    return f"Taken {utc_now()[:16]} UTC on {found['cpu']}, {found['cores']} cores, Linux {platform.release()}."


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
