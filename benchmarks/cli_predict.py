"""The command ``hwnas predict``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from benchmarks.cli_options import Csv, Fleet, Json, StoreUrl


def predict(
    candidates: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL...|CANDIDATES.csv",
            help="ONNX files of the runs' space, or one CSV file with a column for each of its choices.",
        ),
    ],
    target: Annotated[str, typer.Option("--target", help="The target that others were measured on.")] = "local",
    run: Annotated[
        list[Path] | None,
        typer.Option("--run", metavar="RUN", help="The folder of a search of that space (repeatable)."),
    ] = None,
    metric: Annotated[
        str, typer.Option(metavar="NAME", help="latency_ms, energy_mj, peak_memory_mb, ...")
    ] = "latency_ms",
    fleet: Fleet = None,
    store: StoreUrl = None,
    json: Json = False,
    csv: Csv = None,
) -> None:
    """What would it cost there, without measuring it? hwnas predict candidates.csv --run runs/digits"""
    from benchmarks import predict as command

    command.run(candidates, target=target, runs=run or [], metric=metric, fleet=fleet, store=store, json=json, csv=csv)
