"""The command ``hwnas``. stdout is data, stderr is progress and log; an error is one line and an exit code.

Exit codes: 0 there is an answer; 1 no candidate fits, or a regression; 2 bad input; 3 a device, package, provider or
measurement is missing or failed; 130 interrupted and resumable.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from benchmarks import cli_history, cli_nightly, cli_predict
from benchmarks.cli_options import Fleet, Html, Json, Set, StoreUrl, overrides_of, pair_of
from profiles.errors import HwnasError, InputError
from profiles.urls import shown

app = typer.Typer(
    name="hwnas",
    help="Search neural architectures for the hardware they will run on, with figures measured there.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

devices = typer.Typer(
    no_args_is_help=True, help="The devices of a fleet file: what there is, what it can do, new ones."
)
app.add_typer(devices, name="devices")


@app.callback()
def _options(debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False) -> None:
    if debug:
        sys.excepthook = sys.__excepthook__
        _state["debug"] = True


_state: dict[str, bool] = {"debug": False}


@app.command()
def search(
    study: Annotated[
        Path, typer.Argument(metavar="STUDY.toml", help="What to search: space, data, objectives, limits.")
    ],
    trials: Annotated[int | None, typer.Option(help="Shorthand for --set budget.trials=N.")] = None,
    seed: Annotated[int | None, typer.Option(help="Shorthand for --set seed=N.")] = None,
    out: Annotated[Path | None, typer.Option(help="The run folder; default runs/NAME.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where the run folder stopped.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check everything with one tiny trial, keep nothing.")
    ] = False,
    report: Annotated[
        bool, typer.Option("--report/--no-report", help="Whether to write report.html and Ax's JSON at the end.")
    ] = True,
    fleet: Fleet = None,
    store: Annotated[
        str | None,
        typer.Option("--store", metavar="URL", help="Where events and profiles are kept; default study.db in the run."),
    ] = None,
    set_: Set = None,
    json: Json = False,
) -> None:
    """Search a space on measured hardware: hwnas search studies/digits.toml"""
    from benchmarks.search import run

    overrides = overrides_of(set_)
    if trials is not None:
        overrides["budget.trials"] = str(trials)
    if seed is not None:
        overrides["seed"] = str(seed)
    run(study, overrides, out=out, resume=resume, dry_run=dry_run, report=report, fleet=fleet, store=store, json=json)


Target = Annotated[
    list[str] | None, typer.Option("--target", help="A target of the fleet (repeatable), or all that its file names.")
]
Shape = Annotated[
    list[str] | None,
    typer.Option("--shape", metavar="NAME=SIZES", help="Shape of an input, as input=1x3x224x224 (repeatable)."),
]
Inputs = Annotated[
    Path | None, typer.Option("--inputs", metavar="FILE.npz", help="Inputs by name; default random ones.")
]
Threads = Annotated[int | None, typer.Option("--threads", help="Threads, instead of the target's.")]
Batch = Annotated[int | None, typer.Option("--batch", help="Batch, instead of the target's.")]
Precision = Annotated[str | None, typer.Option("--precision", help="Precision, instead of the target's.")]
Budget = Annotated[
    str, typer.Option("--budget", metavar="TIME", help="Most time to time one model, or one pair, on one target.")
]
Interval = Annotated[
    float | None,
    typer.Option("--interval-ms", help="Start one inference every so many ms; default back to back."),
]
Timeout = Annotated[
    str, typer.Option("--timeout", metavar="TIME", help="Most time for one pass, which is then killed.")
]

MaxFallback = Annotated[
    float | None,
    typer.Option(
        "--max-fallback",
        metavar="PERCENT",
        help="Of nodes that may run on another provider than asked for, instead of the target's.",
    ),
]
Sweep = Annotated[
    list[str] | None,
    typer.Option(
        "--sweep", metavar="KEY=VALUES", help="Each of threads=1,2,4 or batch=1,8 in turn (repeatable); gives the knee."
    ),
]
Csv = Annotated[Path | None, typer.Option("--csv", metavar="FILE", help="Also write a table for spreadsheets.")]


@app.command()
def profile(
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL...",
            help="ONNX files, reference models such as resnet8, or package.module:callable with --shape.",
        ),
    ],
    target: Target = None,
    fleet: Fleet = None,
    within: Annotated[
        str, typer.Option(metavar="SHARE", help="Stop when the 95 % interval is this narrow, to either side.")
    ] = "1%",
    budget: Budget = "30s",
    shape: Shape = None,
    inputs: Inputs = None,
    threads: Threads = None,
    batch: Batch = None,
    precision: Precision = None,
    interval_ms: Interval = None,
    timeout: Timeout = "5m",
    max_fallback: MaxFallback = None,
    sweep: Sweep = None,
    callers: Annotated[int | None, typer.Option(help="Also the throughput of so many callers at once.")] = None,
    sustain: Annotated[
        str | None, typer.Option(metavar="TIME", help="Also a steady load for 10m: latency and temperature over time.")
    ] = None,
    operators: Annotated[bool, typer.Option("--operators", help="Also the time of each operator.")] = False,
    json: Json = False,
    csv: Csv = None,
    html: Html = None,
    store: StoreUrl = None,
) -> None:
    """Measure models on targets: hwnas profile model.onnx --within 1% --budget 30s"""
    from benchmarks import profile as command
    from benchmarks.measuring import Setting

    overrides = {"threads": threads, "batch": batch, "precision": precision, "max_fallback": max_fallback}
    setting = Setting.of(models, target, fleet, shape, inputs, overrides, store)
    command.run(
        setting,
        within=within,
        budget=budget,
        interval_ms=interval_ms,
        timeout=timeout,
        sweeps=sweep or [],
        callers=callers,
        sustain=sustain,
        operators=operators,
        json=json,
        csv=csv,
        html=html,
    )


@app.command()
def compare(
    models: Annotated[
        list[str], typer.Argument(metavar="MODEL...", help="One, on several targets; or the base and others.")
    ],
    target: Target = None,
    fleet: Fleet = None,
    base: Annotated[
        str | None,
        typer.Option(metavar="TARGET", help="What one MODEL's targets are compared with; default the first."),
    ] = None,
    sort: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Best first in latency_ms, energy_mj, ...; default as given.")
    ] = None,
    budget: Budget = "30s",
    floor: Annotated[str, typer.Option(metavar="SHARE", help="Differences up to this share count as the same.")] = "1%",
    shape: Shape = None,
    inputs: Inputs = None,
    threads: Threads = None,
    batch: Batch = None,
    precision: Precision = None,
    max_fallback: MaxFallback = None,
    sweep: Sweep = None,
    interval_ms: Interval = None,
    timeout: Timeout = "5m",
    fail_on: Annotated[
        list[str] | None,
        typer.Option(metavar="VERDICT", help="Exit code 1 on regressed, improved, same or undecided (repeatable)."),
    ] = None,
    json: Json = False,
    csv: Csv = None,
    html: Html = None,
    store: StoreUrl = None,
) -> None:
    """Targets side by side, or models: hwnas compare resnet8 --fleet fleet.toml --target pc --target pc-int8"""
    from benchmarks import compare as command
    from benchmarks.measuring import Setting

    overrides = {"threads": threads, "batch": batch, "precision": precision, "max_fallback": max_fallback}
    setting = Setting.of(models, target, fleet, shape, inputs, overrides, store)
    code = command.run(
        setting,
        base=base,
        budget=budget,
        floor=floor,
        interval_ms=interval_ms,
        timeout=timeout,
        sweep=sweep or [],
        fail_on=fail_on or [],
        output=command.Output(sort=sort, json=json, csv=csv, html=html),
    )
    raise typer.Exit(code)


stored = typer.Typer(no_args_is_help=True, help="Profiles that were kept: to and from CSV files.")
app.add_typer(stored, name="store")


@stored.command("export")
def export_(
    file: Annotated[Path, typer.Argument(metavar="FILE.csv", help="The file to write.")],
    store: StoreUrl = None,
    fleet: Fleet = None,
) -> None:
    """Write all profiles, without raw times: hwnas store export profiles.csv"""
    from benchmarks.measuring import export_csv

    export_csv(file, store, fleet)


@stored.command("import")
def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE.csv", help="A file that export wrote.")],
    store: StoreUrl = None,
    fleet: Fleet = None,
) -> None:
    """Add the profiles of another machine's export: hwnas store import profiles.csv"""
    from benchmarks.measuring import import_csv

    import_csv(file, store, fleet)


@app.command()
def pareto(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a search.")],
    max_: Annotated[
        list[str] | None,
        typer.Option("--max", metavar="METRIC=BOUND", help="Pick the best that keeps this limit (repeatable)."),
    ] = None,
    min_: Annotated[
        list[str] | None, typer.Option("--min", metavar="METRIC=BOUND", help="Likewise, from below.")
    ] = None,
    json: Json = False,
) -> None:
    """The front of a search: hwnas pareto runs/digits --max latency_ms@local=0.2"""
    from benchmarks.front import show

    show(run, maxima=_bounds("--max", max_), minima=_bounds("--min", min_), json=json)


@app.command()
def report(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a search, finished or not.")],
    beside: Annotated[
        Path | None, typer.Option(metavar="RUN", help="A second run of the same study, such as random search.")
    ] = None,
) -> None:
    """Write RUN/report.html, one self-contained page, and Ax's JSON: hwnas report runs/digits"""
    from benchmarks.report import write

    print(write(run, beside))


app.command()(cli_predict.predict)
app.command()(cli_nightly.nightly)
app.add_typer(cli_nightly.baseline, name="baseline")
app.command()(cli_history.history)
app.command()(cli_history.bisect)


@devices.command("list")
def list_devices(fleet: Fleet = None, json: Json = False) -> None:
    """Devices, pools and their targets: hwnas devices list --fleet fleet.toml"""
    from benchmarks.devices import list_devices

    list_devices(fleet, as_json=json)


@devices.command("check")
def check_devices(
    names: Annotated[list[str] | None, typer.Argument(metavar="[DEVICE]...", help="Default: all.")] = None,
    fleet: Fleet = None,
    json: Json = False,
) -> None:
    """What each device is, and what keeps it from a good measurement: hwnas devices check pi5"""
    from benchmarks.devices import check

    check(names or [], fleet, as_json=json)


@devices.command("add")
def add_device(
    host: Annotated[str, typer.Argument(metavar="HOST", help="As ssh takes it: user@host, or a name it knows.")],
    name: Annotated[str | None, typer.Option(help="In the fleet file; default: the host's.")] = None,
    fleet: Annotated[Path | None, typer.Option("--fleet", help="Fleet file; default fleet.toml.")] = None,
    python: Annotated[str, typer.Option(help="Python there, 3.10 or later.")] = "python3",
    config: Annotated[Path | None, typer.Option(help="Another file than ~/.ssh/config.")] = None,
) -> None:
    """Make a host ready and add it to the fleet file, without root: hwnas devices add user@host"""
    from benchmarks.devices_add import add

    add(host, name=name, path=fleet, python=python, config=config)


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


def _bounds(option: str, pairs: list[str] | None) -> dict[str, float]:
    bounds = {}
    for pair in pairs or []:
        metric, text = pair_of(option, pair, "METRIC=BOUND")
        try:
            bounds[metric] = float(text)
        except ValueError:
            raise InputError(f"{option} {pair}: given {text!r}; accepted: a number") from None
    return bounds


if __name__ == "__main__":
    main()
