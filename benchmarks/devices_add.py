"""``hwnas devices add``: a new host, from nothing but Python to an entry in the fleet file."""

from __future__ import annotations

import os
import re
import sys
import time
import tomllib
from pathlib import Path

import tomli_w

from benchmarks.tables import duration
from devices import install
from devices.fleet import NAME, NAMES, load_fleet
from devices.session import connect
from devices.transports.ssh import Device
from profiles import files
from profiles.errors import InputError
from profiles.records import Target

DEFAULT = Path("fleet.toml")


def add(host: str, *, name: str | None, path: Path | None, python: str, config: Path | None) -> None:
    """Raises InputError where the name is taken or the file cannot take it, UnavailableError where something is
    missing; then nothing is added.
    """
    path = path or DEFAULT
    name = name or _name(host)
    if not NAME.fullmatch(name):
        raise InputError(f"--name: given {name!r}; accepted: {NAMES}")
    fleet = load_fleet(path if path.exists() else None)
    if name in {*fleet.devices, *fleet.targets, *fleet.pools}:
        raise InputError(f"{path}: {name} is there already; give another --name")
    try:
        device = Device(host=host, python=python, config=config)
    except ValueError:
        raise InputError(f"HOST: given {host!r}; accepted: a host as ssh takes it") from None
    entry = _entry(name, host, config)
    _with(path, name, entry)  # a refusal comes before the work
    start = time.monotonic()

    def tell(what: str) -> None:
        print(f"{name}: {what}", file=sys.stderr)

    install.install(device, tell)
    ready = device.model_copy(update={"python": install.PYTHON})
    with connect(ready, name) as session:
        found = session.fingerprint(Target(name=name, device=name))
    files.write_text(path, _with(path, name, entry))
    tell(f"ready after {duration(time.monotonic() - start)}: {found['cpu']}, {found['cores']} cores")
    print(entry, end="")


def _with(path: Path, name: str, entry: str) -> str:
    """The text of the fleet file with ``entry`` at its end. Raises InputError where that is not TOML."""
    before = path.read_text(encoding="utf-8-sig") if path.exists() else ""
    text = before + ("\n" if before and not before.endswith("\n\n") else "") + entry
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        accepted = "a file whose devices and targets are tables of their own, as [devices.NAME]"
        raise InputError(f"{path}: {name} cannot be added at its end ({error}); accepted: {accepted}") from None
    return text


def _entry(name: str, host: str, config: Path | None) -> str:
    device = {"transport": "ssh", "host": host, "python": install.PYTHON}
    if config:
        device["config"] = os.path.realpath(os.path.expanduser(config))
    return tomli_w.dumps({"devices": {name: device}, "targets": {name: {"device": name}}})


def _name(host: str) -> str:
    """user@pi5.lab -> pi5; an address stays whole. One that the fleet file takes, or none at all."""
    bare = host.rpartition("@")[2]
    first = bare if re.fullmatch(r"[\d.:]+", bare) else bare.partition(".")[0]
    return re.sub(r"[^A-Za-z0-9_-]", "-", first).lstrip("-_")[:64]
