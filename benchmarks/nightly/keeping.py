"""``hwnas baseline set`` and ``show``: what the models of a suite are judged against."""

from __future__ import annotations

import dataclasses
import json as json_
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.measuring import is_there, raise_first, store_of
from benchmarks.nightly import judging
from benchmarks.nightly.baselines import Baselines, folder_of
from benchmarks.nightly.judging import Pair, Ready
from benchmarks.nightly.nights import study_of
from benchmarks.nightly.suite import load_suite
from benchmarks.nightly.watched import Setting, on_devices
from benchmarks.tables import table
from devices import measure
from devices.session import Session
from profiles.errors import HwnasError, InputError, UnavailableError
from profiles.records import SCHEMA
from profiles.store import Store


def keep(setting: Setting, models: Sequence[str]) -> None:
    """Make what there is now the baseline, on every target: each file, once its output is right, in
    ``setting.python``'s environment (``None``: the target's own). ``models``: only those; empty: all.

    Raises the first error once all others are kept, and InputError on a name that the suite has not.
    """
    names = [entry.name for entry in setting.entries]
    for model in models:
        if model not in names:
            raise InputError.of("baseline set", "--model", model, ", ".join(names))
    errors: list[HwnasError] = []
    with Store(setting.store) as store:
        baselines = Baselines(store, setting.study, setting.folder)
        pairs = {pair.key: pair for pair in setting.pairs(baselines) if not models or pair.entry.name in models}
        work = [(pair, _call(dataclasses.replace(pair, kept=None))) for pair in pairs.values()]
        for outcome in on_devices(setting, work):
            name = " on ".join(outcome.key)
            if outcome.error is not None:
                errors.append(type(outcome.error)(f"{name}: {outcome.error}"))
                continue
            here: Ready = outcome.value
            job = dataclasses.replace(here.job, name=outcome.key[0])
            try:
                kept = baselines.keep(job, outcome.key[1], here.target, here.base_device, setting.python)
            except HwnasError as error:
                errors.append(type(error)(f"{name}: {error}"))
                continue
            except OSError as error:
                errors.append(UnavailableError(f"{name}: it cannot be kept as a baseline: {error}"))
                continue
            print(f"{name}: {kept.digest[:12]} is the baseline now", file=sys.stderr)
    raise_first(errors)


def show(suite: Path, overrides: Mapping[str, str], *, fleet: Path | None, store: str | None, json: bool) -> None:
    """Raises InputError where there is no baseline yet."""
    name, place = load_suite(suite, overrides).name, store_of(store, fleet)
    none = f"{place}: no baseline of {name}; its first night keeps one, and so does: hwnas baseline set {suite}"
    if not is_there(place):
        raise InputError(none)
    with Store(place) as opened:
        found = Baselines(opened, study_of(name), folder_of(place, fleet)).all()
    if not found:
        raise InputError(none)
    if json:
        rows = [dataclasses.asdict(kept) for kept in found]
        print(json_.dumps({"schema": SCHEMA, "baselines": rows}, indent=1, default=str))
        return
    heads = ["model", "target", "since", "file", "environment", "runs on"]
    table(
        heads,
        [
            (kept.model, kept.target, kept.time[:10], kept.digest[:12], _versions(kept.device), kept.python or "-")
            for kept in found
        ],
    )


def _call(pair: Pair) -> Callable[[Session], Ready]:
    def call(session: Session) -> Ready:
        here = judging.ready(session, pair)
        measure.check(session, here.job, here.base_target or here.target)
        return here

    return call


def _versions(device: dict[str, Any]) -> str:
    """Those of the engine's packages: what every device has does not tell environments apart at a glance."""
    return ", ".join(f"{name} {version}" for name, version in device["versions"].items() if name != "numpy")
