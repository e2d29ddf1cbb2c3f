"""The commands ``hwnas search``, ``pareto`` and ``report``: a search, and what it found."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.cli_options import Fleet, Json, Set, overrides_of, pair_of
from profiles.errors import InputError


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
    """The front of a search: hwnas pareto runs/digits --max latency_ms@local=0.02"""
    from benchmarks.front import show

    show(run, maxima=_bounds("--max", max_), minima=_bounds("--min", min_), json=json)


def report(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a search, finished or not.")],
    other: Annotated[
        Path | None,
        typer.Argument(
            metavar="OTHER", help="A run to compare it with on the same page, by the objectives they share."
        ),
    ] = None,
) -> None:
    """Write RUN/report.html, one self-contained page, and Ax's JSON: hwnas report runs/digits"""
    from benchmarks.report.report import write

    print(write(run, other))


def _bounds(option: str, pairs: list[str] | None) -> dict[str, float]:
    bounds = {}
    for pair in pairs or []:
        metric, text = pair_of(option, pair, "METRIC=BOUND")
        try:
            bounds[metric] = float(text)
        except ValueError:
            bounds[metric] = math.nan
        if not math.isfinite(bounds[metric]):
            raise InputError(f"{option} {pair}: given {text!r}; accepted: a number")
    return bounds
