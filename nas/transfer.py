"""Figures of other devices and of earlier studies, for the models of a new search.

    [search]
    transfer = ["runs/digits-pi4", "runs/digits-pi5"]

Of each run what it measured, trained or scouted; a metric of a target tells of the same metric of every target. They
are written to ``transfer.json`` when a search begins, so that it stays what it is when the runs go on or are removed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from nas.folder import RunFolder
from nas.measured import Seen, seen
from nas.results import read_results
from nas.study import STATIC_METRICS, Study
from profiles import files
from profiles.errors import InputError

LEAST = 10  # figures of a metric that are worth a model
MOST = 300  # of one source, the last ones


def transferred(study: Study, folder: RunFolder) -> list[dict[str, Any]]:
    """For the objectives and limits of a study, as ``nas.generate.parse`` takes them; as kept, once it has begun.

    Raises InputError where a run is none, is of another space or of an earlier form of this one, or has not enough
    figures of any of them.
    """
    if not study.search.transfer:
        return []
    known = files.read_json(folder.transfer) if folder.study.exists() else None  # else of a search that never began
    if known is None:
        return [one for run in study.search.transfer for one in _of(run, study)]
    found: list[dict[str, Any]] = known["transfer"]
    return found


def keep(found: list[dict[str, Any]], folder: RunFolder) -> None:
    """For the search that begins now."""
    if found:
        files.write_json(folder.transfer, {"schema": 1, "transfer": found})


def _of(run: str, study: Study) -> list[dict[str, Any]]:
    results = read_results(Path(run))
    if results.study.full_space != study.full_space:
        raise InputError(
            f"search.transfer: {run}: given networks of {results.study.full_space}; accepted: of {study.full_space}"
        )
    metrics = list(dict.fromkeys(one.metric for one in (*study.objective, *study.constraint)))
    networks = list(seen(results))
    found = [one for metric in metrics for one in _about(metric, networks, run)]
    if not found:
        raise InputError(
            f"search.transfer: {run}: given fewer than {LEAST} figures of each of {', '.join(metrics)}, or of the same "
            "on other targets"
        )
    return found


def _about(metric: str, networks: Sequence[Seen], run: str) -> Iterator[dict[str, Any]]:
    name, at, _ = metric.partition("@")
    if metric in STATIC_METRICS:
        return
    there = dict.fromkeys(known for one in networks for known in one.figures)
    for known in there:
        if known == metric or (at and known.startswith(name + at)):
            rows = [(one.choices, one.figures[known]) for one in networks if known in one.figures][-MOST:]
            if len(rows) >= LEAST:
                choices, values = zip(*rows, strict=True)
                yield {"metric": metric, "from": f"{run}: {known}", "choices": choices, "values": values}
