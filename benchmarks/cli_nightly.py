"""The commands ``hwnas nightly`` and ``hwnas baseline``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from benchmarks.cli_options import Fleet, Json, Set, StoreUrl, overrides_of

SuiteFile = Annotated[Path, typer.Argument(metavar="SUITE.toml", help="Models, targets, and a floor for each metric.")]
Python = Annotated[
    str | None,
    typer.Option(
        "--baseline-python",
        metavar="PATH",
        help="Interpreter on the device in whose environment the baseline runs, as /opt/old/bin/python.",
    ),
]

baseline = typer.Typer(no_args_is_help=True, help="What the models of a suite are judged against.")


def nightly(
    suite: SuiteFile,
    fleet: Fleet = None,
    baseline_python: Python = None,
    max_undecided: Annotated[
        str,
        typer.Option(
            metavar="SHARE", help="Exit code 3 where more pairs than this have something missing or undecided."
        ),
    ] = "20%",
    markdown: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a summary for a pull request.")] = None,
    junit: Annotated[Path | None, typer.Option(metavar="FILE", help="Write JUnit XML for a CI server.")] = None,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write one page with the history of every pair.")
    ] = None,
    set_: Set = None,
    json: Json = False,
    store: StoreUrl = None,
) -> None:
    """Did anything get slower, hungrier, larger or wrong? hwnas nightly suites/tiny.toml --markdown summary.md"""
    from benchmarks.nightly.command import run

    code = run(
        suite,
        overrides_of(set_),
        fleet=fleet,
        python=baseline_python,
        max_undecided=max_undecided,
        markdown=markdown,
        junit=junit,
        html=html,
        json=json,
        store=store,
    )
    raise typer.Exit(code)


@baseline.command("set")
def set_baseline(
    suite: SuiteFile,
    model: Annotated[list[str] | None, typer.Option(help="Only this model of the suite (repeatable).")] = None,
    baseline_python: Python = None,
    fleet: Fleet = None,
    set_: Set = None,
    store: StoreUrl = None,
) -> None:
    """Make the present files and environment the baseline: hwnas baseline set suites/tiny.toml"""
    from benchmarks.nightly.keeping import keep
    from benchmarks.nightly.watched import setting_of

    with setting_of(suite, overrides_of(set_), fleet=fleet, store=store, python=baseline_python) as setting:
        keep(setting, model or [])


@baseline.command("show")
def show_baseline(
    suite: SuiteFile, fleet: Fleet = None, set_: Set = None, json: Json = False, store: StoreUrl = None
) -> None:
    """Which file and environment each pair is judged against: hwnas baseline show suites/tiny.toml"""
    from benchmarks.nightly.keeping import show

    show(suite, overrides_of(set_), fleet=fleet, store=store, json=json)
