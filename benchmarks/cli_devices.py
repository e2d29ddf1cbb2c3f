"""The commands ``hwnas devices list``, ``check`` and ``add``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from benchmarks.cli_options import Fleet, Json

devices = typer.Typer(
    no_args_is_help=True, help="The devices of a fleet file: what there is, what it can do, new ones."
)


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
    """What each device is, and what keeps it from a good measurement: hwnas devices check pi5 --fleet fleet.toml"""
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
