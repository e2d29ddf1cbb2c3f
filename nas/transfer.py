"""Figures of other devices and of earlier studies, for the models of a new search.

    [search]
    transfer = ["runs/digits-pi4", "runs/digits-pi5"]

Of each run what it measured, trained or scouted; a metric of a target tells of the same metric of every target. What
no device changes, such as an accuracy, is one source over all runs with the same data and training. With them go the
candidates that need no training any more (``nas.earlier``). All is written to ``transfer.json`` when a search begins,
so that it stays what it is when the runs go on or are removed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from nas.earlier import trained_before
from nas.folder import RunFolder
from nas.measured import Seen, seen
from nas.results import Results, read_results
from nas.study import STATIC_METRICS, Study
from profiles import files
from profiles.errors import InputError
from profiles.records import digest_of

LEAST = 10  # figures of a metric that are worth a model
MOST = 300  # of one source, and of candidates that were trained: the last ones
_TRAINING = {"script", "table", "epochs", "batch_size", "learning_rate"}


Told = dict[str, list[dict[str, Any]]]  # "transfer" and "trained", as ``nas.generate.parse`` takes them


def transferred(study: Study, folder: RunFolder, content: Sequence[str] | None) -> Told:
    """As kept, once the search has begun. {} where the study names no run.

    ``content``: as in ``nas.earlier.identity`` but for the script; ``None``: nothing is trained, or not known to be.

    Raises InputError where a run is none, is of another space or of an earlier form of this one, or has not enough
    figures of any of them.
    """
    if not study.search.transfer:
        return {}
    known = kept(folder) if folder.study.exists() else None  # else of a search that never began
    if known is not None:
        return known
    runs = {run: read_results(Path(run)) for run in study.search.transfer}
    figures = merged([one for run, results in runs.items() for one in _of(run, results, study)])
    return {"transfer": figures, "trained": trained_before(study, runs.values(), content)[-MOST:] if content else []}


def kept(folder: RunFolder) -> Told | None:
    known = files.read_json(folder.transfer)
    return None if known is None else {name: known.get(name, []) for name in ("transfer", "trained")}


def keep(found: Told, folder: RunFolder) -> None:
    """For the search that begins now."""
    if found:
        files.write_json(folder.transfer, {"schema": 1, **found})


def merged(sources: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Those of the same metric and of one ``alike`` as one source, in the order of the first; ``alike`` is left out.

    More figures make a better model than several models of few. Of a network in several of them the last figure counts.
    """
    groups: dict[Any, list[Mapping[str, Any]]] = {}
    for number, one in enumerate(sources):
        groups.setdefault((one["metric"], number if one["alike"] is None else one["alike"]), []).append(one)
    found = []
    for each in groups.values():
        rows = {digest_of(c): (c, v) for one in each for c, v in zip(one["choices"], one["values"], strict=True)}
        choices, values = zip(*list(rows.values())[-MOST:], strict=True)
        names = ", ".join(one["from"] for one in each)
        found.append({"metric": each[0]["metric"], "from": names, "choices": choices, "values": values})
    return found


def _of(run: str, results: Results, study: Study) -> list[dict[str, Any]]:
    if results.study.full_space != study.full_space:
        raise InputError(
            f"search.transfer: {run}: given networks of {results.study.full_space}; accepted: of {study.full_space}"
        )
    metrics = list(dict.fromkeys(one.metric for one in (*study.objective, *study.constraint)))
    networks = list(seen(results))
    alike = digest_of([results.study.data.model_dump(), results.study.train.model_dump(include=_TRAINING)])
    found = [one for metric in metrics for one in _about(metric, networks, run, alike)]
    if not found:
        raise InputError(
            f"search.transfer: {run}: given fewer than {LEAST} figures of each of {', '.join(metrics)}, or of the same "
            "on other targets"
        )
    return found


def _about(metric: str, networks: Sequence[Seen], run: str, alike: str) -> Iterator[dict[str, Any]]:
    name, at, _ = metric.partition("@")
    if metric in STATIC_METRICS:
        return
    there = dict.fromkeys(known for one in networks for known in one.figures)
    for known in there:
        if known == metric or (at and known.startswith(name + at)):
            rows = [(one.choices, one.figures[known]) for one in networks if known in one.figures][-MOST:]
            if len(rows) >= LEAST:
                choices, values = zip(*rows, strict=True)
                yield {
                    "metric": metric,
                    "from": f"{run}: {known}",
                    "alike": None if at else alike,
                    "choices": choices,
                    "values": values,
                }
