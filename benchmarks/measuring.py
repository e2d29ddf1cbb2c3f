"""What ``profile`` and ``compare`` share: their options, connections to devices, the store, progress on stderr."""

from __future__ import annotations

import math
import os
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import models
from benchmarks.live import told_of_pass
from devices import measure, reference
from devices.artifact import prepare
from devices.fleet import LOCAL, Fleet, load_fleet
from devices.plan import Job, Plan
from devices.session import Session, connect
from profiles.database import file_of
from profiles.errors import HwnasError, InputError, UnavailableError
from profiles.records import Target
from profiles.store import Store
from profiles.urls import place_of

if TYPE_CHECKING:
    from rich.console import Console

STORE = "hwnas.db"
ALL = "all"  # of --target: every target that the fleet file names


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What is to be measured where, checked before anything starts."""

    given: Sequence[str]  # the MODELs
    targets: list[Target]
    fleet: Fleet
    shapes: models.Shapes
    inputs: Path | None
    store: str | Path

    @classmethod
    def of(
        cls,
        given: Sequence[str],
        targets: Sequence[str] | None,
        fleet: Path | None,
        shapes: Sequence[str] | None,
        inputs: Path | None,
        overrides: Mapping[str, Any],
        store: str | None,
    ) -> Setting:
        found = load_fleet(fleet)
        sizes, batch = models.without_batch(models.parse_shapes(shapes or []))
        if batch is not None and overrides.get("batch") not in (None, batch):
            given_batch = f"{batch} of --shape and {overrides['batch']} of --batch"
            raise InputError(f"batch: given {given_batch}; accepted: one of them, or the same")
        if overrides.get("batch") is None:
            overrides = {**overrides, "batch": batch}
        names: list[str] = []
        for name in targets or [LOCAL]:
            names += found.named if name == ALL and ALL not in found.targets else [name]
        place = store_of(store, fleet)
        check_folders(store=place if isinstance(place, Path) else file_of(place))
        return cls(
            given=given,
            targets=[found.target(name, overrides) for name in dict.fromkeys(names)],
            fleet=found,
            shapes=sizes,
            inputs=inputs,
            store=place,
        )


class Bench:
    """Jobs, sessions, references and the store, while a command runs."""

    def __init__(self, setting: Setting, jobs: list[Job], store: Store, progress: Progress) -> None:
        self.jobs = jobs
        self.store = store
        self.progress = progress
        self._fleet = setting.fleet
        self._sessions: dict[str, Session] = {}

    def session(self, target: Target) -> Session:
        """With its device; of a pool, with the first board."""
        board = self._board(target)
        known = self._sessions.get(board)
        if known is None or known.closed:
            known = connect(self._fleet.devices[board], board, self.progress.hear)
            self._sessions[board] = known
        return known

    def prepared(self, job: Job, target: Target) -> Job:
        """With the file that this target runs: in the format of its engine and in its precision."""
        return prepare(self.session(target), job, target)

    def meter(self, target: Target) -> Mapping[str, Any] | None:
        """Of the device that ``session`` is with."""
        return self._fleet.meters.get(self._board(target))

    def usable(self, target: Target, plan: Plan) -> list[Job | HwnasError]:
        """For each model what can be measured there, or why it cannot."""
        found: list[Job | HwnasError] = []
        # Some seconds of calibration may be ahead: not for a model whose outputs are wrong.
        new = reference.lacking(self.session(target), target, self.store) > 0
        for job in self.jobs:
            try:
                ready = self.prepared(job, target)
                if new:
                    measure.check(self.session(target), ready, target, deadline_s=plan.deadline_s)
                found.append(ready)
            except HwnasError as error:
                found.append(error)
        return found

    def reference_ms(self, target: Target) -> float:
        session = self.session(target)
        if missing := reference.lacking(session, target, self.store):
            self.progress.say(f"{label(target)}: first use here: timing the calibration model in {missing} processes")
        return reference.reference_ms(session, target, self.store)

    def close(self) -> None:
        for session in self._sessions.values():
            session.close()

    def _board(self, target: Target) -> str:
        return self._fleet.boards(target.device)[0]


@contextmanager
def bench(setting: Setting) -> Iterator[Bench]:
    """Raises InputError where a MODEL cannot be used, UnavailableError where the store cannot."""
    progress = Progress()
    with tempfile.TemporaryDirectory(prefix="hwnas-") as folder:
        jobs = models.jobs(setting.given, shapes=setting.shapes, inputs=setting.inputs, folder=Path(folder))
        with Store(setting.store) as store:
            found = Bench(setting, jobs, store, progress)
            try:
                yield found
            finally:
                found.close()
                progress.clear()


class Progress:
    """One line on a terminal's stderr, drawn when something happens; nothing but ``say`` where it is piped."""

    def __init__(self) -> None:
        self._terminal: Console | None = None
        if sys.stderr.isatty():
            from rich.console import Console

            self._terminal = Console(stderr=True)  # which knows its width also where stdout is no terminal

    def hear(self, kind: str, data: Mapping[str, Any]) -> None:
        if kind == "waiting":
            self.say(f"{data['device']}: {data['message']}")
        elif kind == "pass":
            self._draw(self._line(data))

    def say(self, line: str) -> None:
        self.clear()
        print(line, file=sys.stderr, flush=True)

    def clear(self) -> None:
        self._draw("")

    def _draw(self, line: str) -> None:
        if self._terminal is not None:
            print(f"\r\x1b[2K{line[: self._terminal.width - 1]}", end="", file=sys.stderr, flush=True)

    @staticmethod
    def _line(data: Mapping[str, Any]) -> str:
        line = told_of_pass(data)
        if data.get("half_width") is not None:
            line += f", ± {100 * data['half_width']:.2f} % so far"
        if "verdict" in data:
            line += f", ratio {data['ratio']:.4f}, {data['verdict']} so far"
        return line


def raise_first(errors: Sequence[HwnasError]) -> None:
    """All but the first to stderr; bad input comes before what failed, as in all commands."""
    in_order = sorted(errors, key=lambda error: error.exit_code != InputError.exit_code)
    tell(in_order[1:])
    if in_order:
        raise in_order[0]


def tell(errors: Sequence[HwnasError]) -> None:
    for error in errors:
        print(f"hwnas: {error}", file=sys.stderr)


def check_folders(**files: Path | None) -> None:
    """Before anything is measured: can these be written? By option. Raises InputError."""
    for option, path in files.items():
        if path is None:
            continue
        if path.exists() and not path.is_file():
            raise InputError(
                f"--{option} {path}: given what is no file; accepted: a file, or a path where there is nothing"
            )
        if not path.parent.is_dir():
            raise InputError(f"--{option} {path}: there is no folder {path.parent}")
        if not os.access(Path(os.path.realpath(path)).parent, os.W_OK | os.X_OK):
            raise InputError(f"--{option} {path}: its folder cannot be written")


@contextmanager
def written(path: Path, errors: list[HwnasError]) -> Iterator[None]:
    """Where the block cannot write ``path``, that is one of ``errors``, and the others are told as well."""
    try:
        yield
    except OSError as error:
        errors.append(UnavailableError(f"{path}: {error.strerror or error}"))


def store_of(url: str | None, fleet: Path | None) -> str | Path:
    """``--store``: a URL or a file; else ``hwnas.db`` beside the fleet file, or in the working directory."""
    if url is None:
        return (fleet.parent if fleet else Path()) / STORE
    return place_of(url)


def is_there(store: str | Path) -> bool:
    """Whether a store can be opened without being made. Of a server that is not known."""
    file = store if isinstance(store, Path) else file_of(store)
    return file is None or file.is_file()


def open_store(url: str | None, fleet: Path | None) -> Store:
    """One that is there, to read from. Raises InputError."""
    path = store_of(url, fleet)
    if not is_there(path):
        raise InputError(f"--store {path}: there is no such store; it is made by: hwnas profile MODEL")
    return Store(path)


def label(target: Target) -> str:
    """A target's name, with what one call may have changed of it where that is not the usual."""
    parts = [
        f"{target.threads} threads" if target.threads > 1 else "",
        f"batch {target.batch}" if target.batch > 1 else "",
    ]
    return ", ".join([target.name, *filter(None, parts)])


def check_interval(interval_ms: float | None) -> None:
    """Raises InputError."""
    if interval_ms is not None and not 0 < interval_ms < math.inf:
        raise InputError(f"--interval-ms: given {interval_ms:g}; accepted: a number of ms above 0")


def seconds(option: str, text: str, least_s: float = 0.0) -> float:
    """'30s', '500ms', '10m', '1h'. Raises InputError."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|m|h)", text)
    value = float(match[1]) * {"ms": 1e-3, "s": 1, "m": 60, "h": 3600}[match[2]] if match else 0.0
    if not 0 < value < math.inf or value < least_s:
        least = f"from {1e3 * least_s:g}ms" if least_s else "above 0"
        raise InputError(f"{option}: given {text!r}; accepted: a time {least} with its unit, such as 500ms, 30s or 10m")
    return value


def share(option: str, text: str, least: float = 0.0, *, whole: bool = False) -> float:
    """'1%' -> 0.01. ``whole``: 100% too. Raises InputError."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*%", text)
    value = float(match[1]) / 100 if match else -1.0
    if not (least <= value < 1 or (whole and value == 1)):
        span = f"from {100 * least:g}%, {'up to' if whole else 'below'} 100%"
        raise InputError(f"{option}: given {text!r}; accepted: a percentage {span}, such as 1%")
    return value
