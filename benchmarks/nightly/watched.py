"""What is watched: the models of a suite on the targets of a fleet, against their baselines, all devices at once."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.measuring import store_of
from benchmarks.nightly.baselines import Baselines, folder_of
from benchmarks.nightly.judging import Pair
from benchmarks.nightly.nights import study_of
from benchmarks.nightly.suite import ACCURACY, ENERGY, MEMORY, Entry, Suite, entries, load_suite
from devices import scheduler
from devices.fleet import Fleet, load_fleet
from devices.lines import Work
from devices.memory_pass import unread_memory
from devices.scheduler import Outcome, Policy
from devices.session import OnEvent, Session, connect
from profiles.records import Target

_POLICY = Policy(patience_s=60.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """``python``: the interpreter of the baselines' environment on every device; ``None``: see ``baselines.Kept``."""

    suite: Suite
    entries: Sequence[Entry]
    fleet: Fleet
    store: str | Path
    folder: Path  # of the files that are kept
    python: str | None = None

    @property
    def study(self) -> str:
        return study_of(self.suite.name)

    def pairs(self, baselines: Baselines) -> list[Pair]:
        """Each model on each target; of a target with ``boards = "worst"``, on every board of its pool."""
        places: list[tuple[str, Target, tuple[str, ...]]] = []
        for name in self.suite.targets:
            target = self.fleet.target(name)
            boards = self.fleet.boards(target.device)
            if name in self.fleet.worst:
                places += [(f"{name}@{board}", target, (board,)) for board in boards]
            else:
                places.append((name, target, boards))
        return [
            Pair(
                entry=entry,
                name=name,
                target=dataclasses.replace(target, batch=entry.batch or target.batch),
                boards=boards,
                kept=baselines.of(entry.name, name),
                python=self.python,
            )
            for name, target, boards in places
            for entry in self.entries
        ]

    def metrics(self, pair: Pair) -> list[str]:
        """Those of the suite that the model and the target can have."""
        without = {ACCURACY} if pair.entry.run is None else set()
        without |= {MEMORY} if unread_memory(pair.target) else set()
        boards = {board for name in self.suite.targets for board in self.fleet.boards(self.fleet.target(name).device)}
        if not self.fleet.meters.keys() & set(pair.boards) and self.fleet.meters.keys() & boards:
            without.add(ENERGY)
        # Where there is no meter at all, or nothing else to judge, the judgement says so.
        return [metric for metric in self.suite.floors if metric not in without] or [*self.suite.floors]


@contextmanager
def setting_of(
    path: Path, overrides: Mapping[str, str], *, fleet: Path | None, store: str | None, python: str | None = None
) -> Iterator[Setting]:
    """Raises InputError where the suite or the fleet file cannot be used."""
    suite, found = load_suite(path, overrides), load_fleet(fleet)
    for name in suite.targets:
        found.target(name)
    kept_in = store_of(store, fleet)
    with tempfile.TemporaryDirectory(prefix="hwnas-") as folder:
        yield Setting(
            suite=suite,
            entries=entries(suite, path, Path(folder)),
            fleet=found,
            store=kept_in,
            folder=folder_of(kept_in, fleet),
            python=python,
        )


def on_devices(
    setting: Setting,
    work: Sequence[tuple[Pair, Callable[[Session], Any]]],
    *,
    sessions: dict[str, Session] | None = None,
    on_event: OnEvent | None = None,
) -> Iterator[Outcome]:
    """Outcomes as they come, one for each pair, under its ``key``; see ``devices.scheduler.run``.

    Pairs that only other devices measure come first, then those of this machine, with nothing beside them.
    """
    for here in (False, True):
        running = scheduler.run(
            [
                Work(key=pair.key, boards=pair.boards, call=call)
                for pair, call in work
                if any(map(setting.fleet.is_here, pair.boards)) == here
            ],
            lambda board, tell: connect(setting.fleet.devices[board], board, tell),
            policy=_POLICY,
            on_event=on_event,
            sessions=sessions,
        )
        try:
            yield from running
        finally:
            running.close()
