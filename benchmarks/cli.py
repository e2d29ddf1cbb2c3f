"""The command ``hwnas``. stdout is data, stderr is progress and log; an error is one line and an exit code.

Exit codes: 0 there is an answer; 1 no candidate fits, or a regression; 2 bad input; 3 a device, package, provider or
measurement is missing or failed; 130 interrupted and resumable.
"""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
from typing import Annotated

import typer

from benchmarks import cli_devices, cli_history, cli_measuring, cli_nightly, cli_predict, cli_search
from benchmarks.pipes import reader_gone, reader_may_go, unwritten
from profiles.errors import HwnasError, UnavailableError
from profiles.urls import shown

app = typer.Typer(
    name="hwnas",
    help="Search neural architectures for the hardware they will run on, with figures measured there.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def _options(debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False) -> None:
    if debug:
        _state["debug"] = True


_state: dict[str, bool] = {"debug": False}


app.command()(cli_search.search)
app.command()(cli_measuring.profile)
app.command()(cli_measuring.compare)
app.command()(cli_search.pareto)
app.command()(cli_search.report)
app.command()(cli_predict.predict)
app.command()(cli_nightly.nightly)
app.command()(cli_history.history)
app.command()(cli_history.bisect)
app.add_typer(cli_devices.devices, name="devices")
app.add_typer(cli_measuring.store, name="store")
app.add_typer(cli_nightly.baseline, name="baseline")


def main() -> None:
    """The console script. Errors of ours are one line on stderr; any other is a traceback, and exit code 3."""
    try:
        sys.path.append(os.getcwd())  # for spaces and data sets of one's own, as in the training jobs
    except FileNotFoundError:
        sys.exit(_told(UnavailableError("the current folder is gone: change to one that is there")))
    arguments = sys.argv[1:]
    sys.argv[1:] = map(shown, arguments)  # profiles keep the command that took them
    code = _run(arguments)
    try:
        with reader_may_go():  # a flush by Python itself, at its exit, would complain
            pass
    except OSError as error:
        told = _told(error)
        code = code or told  # a regression stays one
    sys.exit(code)


def _run(arguments: list[str]) -> int | str | None:
    """What ``sys.exit`` takes."""
    try:
        app(arguments, prog_name="hwnas")
    except SystemExit as ended:
        why = ended.__context__
        if isinstance(why, BrokenPipeError):  # of which typer makes an exit with 1
            return 0 if reader_gone() else _told(why)  # the reader of our stdout has seen enough
        if why is not None and isinstance(why.__cause__, KeyboardInterrupt):  # and of this one with 130
            _interrupted()
        return ended.code
    except KeyboardInterrupt:
        return _interrupted()
    except Exception as error:
        return _told(error)
    return 0


def _interrupted() -> int:
    with contextlib.suppress(OSError):
        print("hwnas: interrupted", file=sys.stderr)
    return 130


def _told(error: Exception) -> int:
    """The exit code, once stderr says what went wrong."""
    unwritten()  # what stdout cannot take would be an error of its own
    with contextlib.suppress(OSError), reader_may_go():  # stderr may be on the same full disk
        if _state["debug"] or not isinstance(error, (HwnasError, OSError)):
            traceback.print_exception(error)
        else:
            print(f"hwnas: {_one_line(_message(error))}", file=sys.stderr)
    return error.exit_code if isinstance(error, HwnasError) else 3


def _message(error: Exception) -> str:
    if not isinstance(error, OSError):
        return str(error)
    where = f"{error.filename}: " if error.filename else ""
    return f"{where}{error.strerror or error}"


def _one_line(text: str) -> str:
    """What comes from files may hold line ends and what a terminal obeys: shown, not sent."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


if __name__ == "__main__":
    main()
