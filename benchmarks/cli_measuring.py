"""The commands ``hwnas profile``, ``compare`` and ``store``: models measured, and kept."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from benchmarks.cli_options import Csv, Fleet, Html, Json, Shape, StoreUrl

Target = Annotated[
    list[str] | None,
    typer.Option(
        "--target", help="A target of the fleet file (repeatable), or all: every one that it names; default local."
    ),
]
Inputs = Annotated[
    Path | None, typer.Option("--inputs", metavar="FILE.npz", help="Inputs by name; default random ones.")
]
Threads = Annotated[int | None, typer.Option("--threads", help="Number of threads; overrides the target's.")]
Batch = Annotated[int | None, typer.Option("--batch", help="Batch size; overrides the target's.")]
Precision = Annotated[str | None, typer.Option("--precision", help="fp32, fp16 or int8; overrides the target's.")]
Budget = Annotated[
    str,
    typer.Option(
        "--budget",
        metavar="TIME",
        help="Most time to time one model, or one pair, on one target; 3 processes, or 5 of a pair, in any case.",
    ),
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
        help="Nodes that may run on another provider than asked for; overrides the target's max_fallback.",
    ),
]
Sweep = Annotated[
    list[str] | None,
    typer.Option(
        "--sweep", metavar="KEY=VALUES", help="Each of threads=1,2,4 or batch=1,8 in turn (repeatable); gives the knee."
    ),
]


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
        str,
        typer.Option(
            metavar="SHARE", help="Stop when the 95 % interval of the latency is at most this far to either side."
        ),
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
    callers: Annotated[int | None, typer.Option(help="Also the throughput of this many callers at once.")] = None,
    sustain: Annotated[
        str | None,
        typer.Option(
            metavar="TIME", help="Also run a steady load for this long, such as 10m: latency and temperature over time."
        ),
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


store = typer.Typer(no_args_is_help=True, help="Profiles that were kept: to and from CSV files.")


@store.command("export")
def export_(
    file: Annotated[Path, typer.Argument(metavar="FILE.csv", help="The file to write.")],
    store: StoreUrl = None,
    fleet: Fleet = None,
) -> None:
    """Write all profiles, without raw times: hwnas store export profiles.csv"""
    from benchmarks.exchange import export_csv

    export_csv(file, store, fleet)


@store.command("import")
def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE.csv", help="A file that export wrote.")],
    store: StoreUrl = None,
    fleet: Fleet = None,
) -> None:
    """Add the profiles of another machine's export: hwnas store import profiles.csv"""
    from benchmarks.exchange import import_csv

    import_csv(file, store, fleet)
