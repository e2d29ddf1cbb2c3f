"""What a job left behind: metrics, or the reason why there are none."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from profiles import files

# Signals by which a machine or its keeper ends a process that did nothing wrong itself.
_FROM_OUTSIDE = ("SIGKILL", "SIGTERM", "SIGINT", "SIGHUP")
RESULT = "result.json"
_READ = ("job.json", "stdout.log", "stderr.log", "weights.pt", "metrics.json", RESULT)
_CURVES = "events.out.tfevents."  # how TensorBoard's files begin
_RESULT = {"schema": int, "cancelled": bool, "wall_s": float, "cpu_s": float, "last_lines": str}
_LONGEST_LINE = 300  # characters of a line in a reason
_LARGEST = 1 << 20  # bytes of metrics.json
_LONGEST_NAME = 200  # which any file system takes


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """``reason`` is ``None`` where the training succeeded; one line otherwise, and then ``metrics`` is empty.

    ``transient``: it was ended from outside, so trying again can help. ``wall_s``: as its supervisor saw it, times of
    standing still included; ``nas.jobs`` takes those off.
    """

    metrics: dict[str, float] = field(default_factory=dict)
    reason: str | None = None
    transient: bool = False
    wall_s: float | None = None
    cpu_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """What a scheduler says of a job. ``reason``: why it ended, ``None`` where its files say as much or more.

    ``transient``: whether trying again can help, ``None`` where that scheduler cannot tell. ``forgotten``: it knows
    nothing of the job any more, so that the files say how it ended. ``suspended``: it stands still for others.
    """

    running: bool
    reason: str | None = None
    transient: bool | None = False
    forgotten: bool = False
    suspended: bool = False


def is_read(name: str) -> bool:
    """Whether hwnas reads that file of a job's folder, by its relative name: what has to travel with the folder."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or len(name) > _LONGEST_NAME:
        return False
    return name in _READ or (path.name.startswith(_CURVES) and path.parts[0] not in _READ)


def read_result(out_dir: Path) -> dict[str, Any] | None:
    """The supervisor's ``result.json``; ``None`` where there is none, or another one: a script may write there too."""
    result = files.read_json(out_dir / RESULT)
    if not isinstance(result, dict) or not {"exit_code", "signal"} <= result.keys():
        return None
    return result if all(isinstance(result.get(key), kind) for key, kind in _RESULT.items()) else None


def read_outcome(out_dir: Path, word: Word | None = None) -> Outcome:
    """Of a job that has ended. Never raises on what a script wrote: everything wrong becomes a reason.

    ``word``: the scheduler's, which tells a job that ran out of time or memory from one that somebody cancelled.
    A supervisor that was asked to end was asked from outside: what hwnas itself cancels is not read here any more.
    Weights are not opened here; ``nas.export.load_weights`` judges them.
    """
    result = read_result(out_dir)
    said = word.reason if word else None
    if result is None:
        lost = (
            "ended without a result: killed, lost by its scheduler, a full disk, or a run folder or train.storage that"
            " its node does not reach"
        )
        # A training that fails by itself leaves a result: without one, only a scheduler that knows better says that
        # trying again cannot help.
        return Outcome(reason=said or lost, transient=not (word and said and word.transient is False))
    times = {"wall_s": result["wall_s"], "cpu_s": result["cpu_s"]}
    if result["exit_code"] != 0:
        transient = result["cancelled"] or result["signal"] in _FROM_OUTSIDE
        how = _how_it_ended(result)
        if word and said:
            how = f"{said}; {how}"
            known = result["cancelled"] if word.transient is None else word.transient
            transient = transient if word.forgotten else known
        return Outcome(reason=how, transient=transient, **times)
    metrics, reason = _read_metrics(out_dir / "metrics.json")
    return Outcome(metrics=metrics, reason=reason, **times)


def _how_it_ended(result: dict[str, Any]) -> str:
    how = f"exit code {result['exit_code']}" if result["signal"] is None else f"ended by {result['signal']}"
    if result["signal"] == "SIGKILL" and not result["cancelled"]:
        how += " (out of memory?)"
    lines = result["last_lines"].splitlines()
    return f"{how}: {' | '.join(_short(line.strip()) for line in lines[-3:])}" if lines else f"{how}, nothing on stderr"


def _short(line: str) -> str:
    """So that one long line does not hide the last one."""
    return line if len(line) <= _LONGEST_LINE else line[: _LONGEST_LINE - 3] + "..."


def _read_metrics(path: Path) -> tuple[dict[str, float], str | None]:
    if path.exists() and (not path.is_file() or path.stat().st_size > _LARGEST):
        return {}, f"metrics.json: accepted: a file of up to {_LARGEST:,} bytes"
    written = files.read_json(path)
    if written is None:
        state = "is not JSON" if path.exists() else "is missing"
        return {}, f"exit code 0, but metrics.json {state}; the script has to write one object, names with numbers"
    if not isinstance(written, dict) or not written:
        return {}, "metrics.json: accepted: one object, names with numbers"
    for name, value in written.items():
        if not _finite(value):
            return {}, f"metrics.json: {name[:80]!r}: given {str(value)[:80]!r}; accepted: a finite number"
    return {name: float(value) for name, value in written.items()}, None


def _finite(value: Any) -> bool:
    try:
        return not isinstance(value, bool) and isinstance(value, (int, float)) and math.isfinite(value)
    except OverflowError:  # a whole number beyond any float
        return False
