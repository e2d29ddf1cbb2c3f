"""The commands ``hwnas history`` and ``hwnas bisect``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from benchmarks.cli_options import Fleet, Html, Json, Shape, StoreUrl


def history(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="Its name as it was profiled, its ONNX file, or the file's digest.")
    ],
    target: Annotated[str, typer.Option("--target", help="The target that it was profiled on.")] = "local",
    metric: Annotated[
        str, typer.Option(metavar="NAME", help="latency_ms, energy_mj, peak_memory_mb, load_ms, ...")
    ] = "latency_ms",
    floor: Annotated[str, typer.Option(metavar="SHARE", help="Changes up to this share do not count.")] = "1%",
    fleet: Fleet = None,
    store: StoreUrl = None,
    json: Json = False,
    html: Html = None,
) -> None:
    """What a model's profiles said over time, and what changed when: hwnas history resnet8 --target local"""
    from benchmarks.history import run

    run(model, target=target, metric=metric, floor=floor, fleet=fleet, store=store, json=json, html=html)


def bisect(
    models: Annotated[list[str], typer.Argument(metavar="MODEL...", help="Good to bad; with --package one model.")],
    package: Annotated[
        str | None, typer.Option(metavar="NAME", help="Bisect the versions of this package of the engine instead.")
    ] = None,
    good: Annotated[str | None, typer.Option(metavar="VERSION", help="A version that was fast.")] = None,
    bad: Annotated[str | None, typer.Option(metavar="VERSION", help="A later version that is slow.")] = None,
    target: Annotated[str, typer.Option("--target", help="A target of the fleet.")] = "local",
    fleet: Fleet = None,
    budget: Annotated[
        str, typer.Option(metavar="TIME", help="Most time to time one pair; four times that where it is undecided.")
    ] = "30s",
    floor: Annotated[str, typer.Option(metavar="SHARE", help="Differences up to this share count as the same.")] = "1%",
    shape: Shape = None,
    cache: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where an environment for each version is kept.")
    ] = None,
    json: Json = False,
    store: StoreUrl = None,
) -> None:
    """Which was the first slow one? hwnas bisect a.onnx b.onnx c.onnx, or one model with --package NAME --good --bad"""
    from benchmarks.bisect import run

    run(
        models,
        package=package,
        good=good,
        bad=bad,
        target=target,
        fleet=fleet,
        budget=budget,
        floor=floor,
        shape=shape,
        cache=cache,
        json=json,
        store=store,
    )
