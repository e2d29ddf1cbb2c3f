"""The command ``hwnas``. stdout is data, stderr is progress and log; an error is one line and an exit code.

Exit codes: 0 there is an answer; 1 no candidate fits, or a regression; 2 bad input; 3 a device, package, provider or
measurement is missing or failed; 130 interrupted and resumable.
"""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from benchmarks import cli_devices, cli_history, cli_measuring, cli_nightly, cli_predict, cli_search
from profiles.errors import HwnasError
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
        sys.excepthook = sys.__excepthook__
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
    """The console script. Errors of ours are one line on stderr."""
    sys.path.append(os.getcwd())  # for spaces and data sets of one's own, as in the training jobs
    arguments = sys.argv[1:]
    sys.argv[1:] = map(shown, arguments)  # profiles keep the command that took them
    try:
        app(arguments, prog_name="hwnas")
    except HwnasError as error:
        if _state["debug"]:
            raise
        print(f"hwnas: {_one_line(str(error))}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("hwnas: interrupted", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:  # the reader of our stdout has seen enough
        sys.stderr.close()
        sys.exit(0)
    except OSError as error:
        if _state["debug"]:
            raise
        where = f"{error.filename}: " if error.filename else ""
        print(f"hwnas: {where}{error.strerror or error}", file=sys.stderr)
        sys.exit(3)


def _one_line(text: str) -> str:
    """What comes from files may hold line ends and what a terminal obeys: shown, not sent."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


if __name__ == "__main__":
    main()
