"""What a model is judged against on a target: a kept file, and the environment that it ran in.

The file that the target ran is copied to ``hwnas-kept/<digest>/`` beside the store, so that it can be measured beside
its successors for years; which file in which environment counts is an event of the suite in the store, the last one of
a model and target. Nothing that is whole is ever overwritten or removed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from devices import onnxfile, transfer
from devices.convert import own_precision
from devices.plan import Job
from profiles import files
from profiles.database import file_of
from profiles.errors import InputError, UnavailableError
from profiles.records import Target
from profiles.store import Event, Store

FOLDER = "hwnas-kept"
KIND = "baseline"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """``file``: what ran; ``origin``: the fp32 file that it was converted from, if it was. ``python``: the interpreter
    on the device that it runs in; ``None``: the target's own. ``device``: the fingerprint there when it was kept;
    ``settings``: those of the target, empty in old records. ``night``: the one that kept it; ``None``: a person did.
    """

    model: str
    target: str
    digest: str
    file: Path
    origin: Path | None
    python: str | None
    device: dict[str, Any]
    settings: dict[str, Any]
    night: str | None
    time: str

    def job(self, job: Job) -> Job:
        """To measure it as ``job`` is: the same shapes, inputs and precision. Raises UnavailableError where the file is
        gone or is not what was kept.
        """
        with contextlib.suppress(InputError, OSError):
            if onnxfile.digest(self.file) == self.digest:
                name = f"{self.model} (baseline)"
                precision = job.precision if self.origin else own_precision(self.file)
                kept = dataclasses.replace(job, name=name, model=self.file, reference=None, program=None)
                return dataclasses.replace(kept, reference_model=self.origin, precision=precision)
        again = "bring it back, or choose another baseline: hwnas baseline set SUITE"
        raise UnavailableError(f"{self.file}: the kept file is missing or damaged; {again}")

    def changes(self, device: Mapping[str, Any], target: Target) -> list[str]:
        """What differs now, in an environment with the fingerprint ``device``, on ``target``; see ``differences``."""
        now = {key: value for key, value in _settings(target).items() if key in self.settings}
        return differences(self.device, device) + differences(self.settings, now)


class Baselines:
    """Those of one suite. ``folder``: see ``folder_of``; ``study``: the suite's events in the store."""

    def __init__(self, store: Store, study: str, folder: Path) -> None:
        self._store = store
        self._study = study
        self._folder = folder
        self._found: dict[tuple[str, str], Kept] = {}
        self._seen = 0  # the place of the last event that was read
        self._read()

    def of(self, model: str, target: str) -> Kept | None:
        return self._found.get((model, target))

    def all(self) -> list[Kept]:
        """In the order of models and targets' names."""
        return [kept for _, kept in sorted(self._found.items())]

    def keep(
        self,
        job: Job,
        name: str,
        target: Target,
        device: Mapping[str, Any],
        python: str | None,
        *,
        night: str | None = None,
    ) -> Kept:
        """``job``: as ``target``, which is called ``name`` in the suite, runs it. Durable when this returns.

        A ``night`` keeps only where there is none: what a person or another night has kept meanwhile stands. Raises
        InputError, OSError or UnavailableError where the file cannot be read, or copied as it is.
        """
        origin = job.reference_model
        data = {
            "model": job.name,
            "target": name,
            "digest": _copy(job.model, self._folder),
            "suffix": job.model.suffix,
            "origin": _copy(origin, self._folder) if origin else None,
            "origin_suffix": origin.suffix if origin else None,
            "python": python,
            "device": dict(device),
            "settings": _settings(target),
            "night": night,
        }
        self._read()
        if night is None or (job.name, name) not in self._found:
            self._store.append(self._study, KIND, None, data)
            self._read()
        return self._found[job.name, name]

    def _read(self) -> None:
        new = self._store.events(self._study, self._seen)
        self._found |= _latest(new, self._folder)
        self._seen = new[-1].seq if new else self._seen


def folder_of(store: str | Path, fleet: Path | None) -> Path:
    """Beside the store where that is a file, else beside the fleet file, else in the working directory."""
    file = store if isinstance(store, Path) else file_of(store)
    return (file.parent if file else fleet.parent if fleet else Path()) / FOLDER


def differences(before: Mapping[str, Any], now: Mapping[str, Any], prefix: str = "") -> list[str]:
    """What differs between two fingerprints: ["versions.onnxruntime 1.31.0 -> 1.32.0", ...]; "-" for what is absent."""
    found = []
    for key in sorted({*before, *now}):
        old, new = before.get(key), now.get(key)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            found += differences(old, new, f"{prefix}{key}.")
        elif old != new:
            found.append(f"{prefix}{key} {'-' if old is None else old} -> {'-' if new is None else new}")
    return found


def _latest(events: Iterable[Event], folder: Path) -> dict[tuple[str, str], Kept]:
    return {(event.data["model"], event.data["target"]): _kept(event, folder) for event in events if event.kind == KIND}


def _kept(event: Event, folder: Path) -> Kept:
    data = event.data
    return Kept(
        model=data["model"],
        target=data["target"],
        digest=data["digest"],
        file=_place(folder, data["digest"], data["suffix"]),
        origin=None if data["origin"] is None else _place(folder, data["origin"], data.get("origin_suffix", ".onnx")),
        python=data["python"],
        device=data["device"],
        settings=data.get("settings", {}),
        night=data.get("night"),
        time=event.time,
    )


def _settings(target: Target) -> dict[str, Any]:
    """What of a target makes its figures, beside the device and the environment."""
    return {name: value for name, value in target.settings.items() if name != "python"}


def _place(folder: Path, digest: str, suffix: str) -> Path:
    return folder / digest / f"model{suffix}"


def _copy(model: Path, folder: Path) -> str:
    """The model's digest, once it and the files that hold its weights are there; whole or not at all."""
    digest = onnxfile.digest(model)
    place = _place(folder, digest, model.suffix)
    if _whole(place, digest):
        return digest
    folder.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(dir=folder, prefix=".new-"))
    try:
        shutil.copyfile(model, scratch / place.name)
        weights_of = onnxfile.external_files(model)
        there = transfer.placed(model, weights_of).parent
        for weights in weights_of:
            beside = scratch / weights.relative_to(there)
            beside.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(weights, beside)
        if not _whole(scratch / place.name, digest):
            raise UnavailableError(f"{model}: it was written anew while it was copied")
        files.sync(*scratch.rglob("*"), scratch)  # durable before the event that names them
        os.chmod(scratch, 0o755)
        with _alone(folder):
            if not _whole(place, digest):  # else another run was faster: its files are the same
                with contextlib.suppress(FileNotFoundError):  # a damaged one makes way
                    place.parent.rename(damaged := scratch.with_name(f"{scratch.name}-damaged"))
                    shutil.rmtree(damaged, ignore_errors=True)
                scratch.rename(place.parent)
        files.sync(folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return digest


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One process at a time, where the file system has locks."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _whole(place: Path, digest: str) -> bool:
    try:
        return onnxfile.digest(place) == digest
    except (InputError, OSError):
        return False
