"""Models on several devices: on all of them at once, with a live table on stderr; plain lines where that is piped."""

from __future__ import annotations

import dataclasses
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Any

from benchmarks.live import live
from benchmarks.measuring import label
from benchmarks.side_by_side import half_width
from benchmarks.tables import duration, figure
from devices import everywhere, extras
from devices.artifact import prepare
from devices.everywhere import Finish, Key
from devices.fleet import Fleet
from devices.plan import Job, Plan
from devices.scheduler import Outcome, Policy
from devices.session import Session
from profiles.errors import HwnasError
from profiles.records import Profile, Target
from profiles.store import Store

# Somebody is waiting: a board that never answers is soon reported, one that is started anew has a minute for it.
_POLICY = Policy(patience_s=60.0, first_patience_s=2.0)
_DRAWN_S = 0.2


def measure(
    fleet: Fleet, jobs: Sequence[Job], targets: Sequence[Target], store: Store, plan: Plan, finish: Finish
) -> tuple[list[Profile], list[HwnasError]]:
    """Profiles in the order of targets and jobs, and the errors of the others. Of a target that is measured on every
    board of its pool, the slowest; all of them are in the store.

    This machine comes last, alone: nothing else of hwnas runs on a machine while it is measured.
    """
    harness: dict[tuple[str, str], float] = {}

    def finished(session: Session, job: Job, profile: Profile) -> Profile:
        key = (session.name, label(profile.target))
        if key not in harness:
            harness[key] = extras.harness_us(session, profile.target)
        return finish(session, job, dataclasses.replace(profile, harness_us=harness[key]))

    def last(target: Target) -> bool:
        return fleet.is_here(target.device)

    def hear(kind: str, data: dict[str, Any]) -> None:
        tell(view.hear(kind, data), at_once=False)

    view = _View(fleet, len(jobs), targets)
    found: dict[tuple[int, int], list[Outcome]] = defaultdict(list)
    with live(view.draw, pause_s=_DRAWN_S, stamped=False) as tell:
        for numbers in [*_rounds(targets, lambda one: not last(one)), *_rounds(targets, last)]:
            outcomes = everywhere.profile_everywhere(
                fleet,
                jobs,
                [targets[number] for number in numbers.values()],
                store,
                plan=plan,
                policy=_POLICY,
                on_event=hear,
                prepare=prepare,
                finish=finished,
            )
            with closing(outcomes):  # Ctrl-C ends all sessions, and what they measure
                for outcome in outcomes:
                    tell([view.ended(outcome, jobs[outcome.key.job])])
                    found[numbers[outcome.key.target], outcome.key.job].append(outcome)
    profiles: list[Profile] = []
    errors: list[HwnasError] = []
    for _, each in sorted(found.items()):
        failed = [outcome for outcome in each if outcome.error is not None]
        errors += [_told(outcome) for outcome in failed]
        if not failed:
            profiles.append(everywhere.worst([outcome.value for outcome in each]))
    return profiles, errors


def _rounds(targets: Sequence[Target], chosen: Callable[[Target], bool]) -> list[dict[str, int]]:
    """Name -> number of the targets to be measured at once: all, but those of a sweep, which share a name, in turn."""
    rounds: list[dict[str, int]] = []
    for number, target in enumerate(targets):
        if chosen(target):
            free = next((one for one in rounds if target.name not in one), None)
            if free is None:
                rounds.append(free := {})
            free[target.name] = number
    return rounds


def _told(outcome: Outcome) -> HwnasError:
    error = outcome.error or HwnasError("no reason given")
    text = str(error)
    return error if text.startswith("device ") else type(error)(f"{outcome.key.target} on {outcome.board}: {text}")


@dataclasses.dataclass(slots=True)
class _Row:
    state: str = "waits for its turn"
    progress: str = ""
    result: str = ""
    done: int = 0


class _View:
    """What the events add up to: a row for each device."""

    def __init__(self, fleet: Fleet, jobs: int, targets: Sequence[Target]) -> None:
        boards = dict.fromkeys(board for target in targets for board in fleet.boards(target.device))
        self._rows = {board: _Row() for board in boards}
        each = [len(fleet.boards(target.device)) if target.name in fleet.worst else 1 for target in targets]
        self._all, self._ended = jobs * sum(each), 0
        self._begin = time.monotonic()

    def hear(self, kind: str, data: dict[str, Any]) -> list[str]:
        """Take the event in; lines for those that a person may want to scroll back to."""
        lines: list[str] = []
        row = self._rows[data["device"]]
        match kind:
            case "board":
                if data["state"] == "away" and row.state != "away":
                    lines.append(data["reason"])
                row.state = data["state"]
                row.progress = data["reason"].removeprefix(f"device {data['device']}: ")
            case "work":
                row.state, row.progress = "ready", "checking the model"
            case "waiting":
                lines.append(f"{data['device']}: {data['message']}")
                row.state, row.progress = "waiting", data["message"].removeprefix("waiting for ")
            case "pass":
                number = f" {data['number'] + 1}" if data["of"] != 1 else ""
                width = data.get("half_width")
                row.state = "measuring"
                row.progress = f"{data['model']}: {data['pass']}{number}" + (f", ± {width:.1%}" if width else "")
        return lines

    def ended(self, outcome: Outcome, job: Job) -> str:
        """Take the outcome in; a line about it."""
        row = self._rows[outcome.board]
        self._ended += 1
        row.done += 1
        who = f"{job.name} on {_where(outcome.key, outcome.board)}"
        if outcome.error is not None:
            row.result = "failed"
            return f"{who}: {outcome.error}"
        row.result = _result(outcome.value)
        return f"{who}: {row.result}"

    def draw(self) -> Any:
        """At most 80 columns."""
        from rich import box
        from rich.table import Table

        spent = duration(time.monotonic() - self._begin)
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, caption=f"{self._ended} of {self._all}, {spent}")
        table.caption_justify = "left"
        for head, width in (("device", 14), ("state", 10), ("progress", 31), ("result", 16)):
            table.add_column(head, max_width=width, no_wrap=True, overflow="ellipsis")
        for board, row in self._rows.items():
            table.add_row(board, row.state, row.progress, row.result)
        return table


def _where(key: Key, board: str) -> str:
    return key.target if key.target == board else f"{key.target} ({board})"


def _result(profile: Profile) -> str:
    return f"{figure(profile.latency_ms_calibrated)} ms ± {half_width(profile):.1%}"
