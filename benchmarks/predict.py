"""``hwnas predict``: what a network would cost on a target, from what searches of its space have measured there."""

from __future__ import annotations

import csv as csv_
import dataclasses
import io
import json as json_
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.measuring import check_folders, open_store, store_of
from benchmarks.tables import figure, table
from devices.fleet import load_fleet
from nas.cost_models import Network
from nas.measured import Known, Measured, read_known
from nas.predict import COVERAGE, Assessment, Prediction, Predictor
from nas.spaces import Choices, canonical
from nas.training.table import read_cells, value_in
from profiles import files
from profiles.errors import InputError, MeasurementError, TrialError
from profiles.records import SCHEMA
from profiles.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """``name``: a file, or the line of a candidate in its file. ``network``: or why there is none."""

    name: str
    choices: Choices | None
    network: Network | str


@dataclass(frozen=True, slots=True, kw_only=True)
class Predicted:
    metric: str  # with its target
    assessment: Assessment
    rows: list[tuple[Asked, Prediction]]


def run(
    given: Sequence[str],
    *,
    target: str,
    runs: Sequence[Path],
    metric: str,
    fleet: Path | None,
    store: str | None,
    json: bool,
    csv: Path | None,
) -> None:
    """Raises InputError; MeasurementError where too little was measured, or no candidate got a value."""
    check_folders(csv=csv)
    with _store(store, fleet) as kept:
        known = read_known(runs, metric, target, kept, load_fleet(fleet) if fleet is not None else None)
    found = predict(known, given, f"{metric}@{target}")
    if csv is not None:
        files.write_text(csv, _as_csv(found))
    print(json_.dumps(to_dict(found), indent=1, allow_nan=False)) if json else _show(found)
    if all(prediction.value is None for _, prediction in found.rows):
        raise MeasurementError(f"no value of {found.metric} for any candidate: {found.rows[0][1].reason}")


def predict(known: Known, given: Sequence[str], name: str) -> Predicted:
    """``given``: one CSV file of candidates, or ONNX files. Raises as ``run`` does."""
    tables = [one for one in given if Path(one).suffix == ".csv"]
    if tables and len(given) > 1:
        raise InputError(f"predict: given {tables[0]} beside others; accepted: one CSV file, or ONNX files")
    if tables:
        asked = _candidates(known, Path(tables[0]))
        networks, values = _readable(known.measured, lambda one: known.network(one.choices))
    else:
        asked = [Asked(name=one, choices=None, network=_or_why(known.file, Path(one))) for one in given]
        networks, values = _readable(known.measured, lambda one: known.file(one.file))
    predictor = Predictor(networks, values)
    there = iter(predictor.predict([one.network for one in asked if isinstance(one.network, Network)]))
    rows = [(one, next(there) if isinstance(one.network, Network) else Prediction(reason=one.network)) for one in asked]
    return Predicted(metric=name, assessment=predictor.assessment, rows=rows)


def _readable(measured: Sequence[Measured], read: Callable[[Measured], Network]) -> tuple[list[Network], list[float]]:
    """With their values. One whose file is gone or cannot be read is left out, and stderr says so."""
    networks, values, errors = [], [], []
    for one in measured:
        try:
            networks.append(read(one))
            values.append(one.value)
        except (InputError, TrialError) as error:
            errors.append(error)
    if errors:
        told = f"{len(errors)} of {len(measured)} measured networks left out; the first: {errors[0]}"
        print(told, file=sys.stderr)
    return networks, values


def _candidates(known: Known, path: Path) -> list[Asked]:
    """A row each; columns that are no choice are left alone, so ``trials.csv`` of a run will do."""
    names = [parameter.name for parameter in known.space.parameters]
    rows = read_cells(path, names, "one for each choice of the space")
    if not rows:
        raise InputError(f"{path}: no rows; accepted: one for each candidate")
    asked = []
    for number, cells in enumerate(rows, start=2):
        if not any(cells[name] for name in names):  # a baseline that is a file, in trials.csv
            asked.append(Asked(name=f"line {number}", choices=None, network="no choices: no network of the space"))
            continue
        chosen = {p.name: value_in(f"{path}: line {number}", p, cells[p.name]) for p in known.space.parameters}
        choices = canonical(known.space, chosen)
        asked.append(Asked(name=f"line {number}", choices=choices, network=_or_why(known.network, choices)))
    return asked


def _or_why(read: Callable[[Any], Network], what: Any) -> Network | str:
    try:
        return read(what)
    except TrialError as error:
        return str(error)


def _store(url: str | None, fleet: Path | None) -> AbstractContextManager[Store | None]:
    """The one that is named, else the usual one if it is there."""
    if url is None and not Path(store_of(None, fleet)).is_file():
        return nullcontext()
    return open_store(url, fleet)


def _show(found: Predicted) -> None:
    lines = [
        [one.name, figure(row.value), figure(row.low), figure(row.high), row.reason or ""] for one, row in found.rows
    ]
    percent = f"{100 * COVERAGE:.0f} %"
    table(["candidate", found.metric, f"{percent} from", "to", "why not"], lines)
    print(in_words(found.assessment, found.metric), file=sys.stderr)


def in_words(assessment: Assessment, metric: str) -> str:
    rank = "-" if assessment.spearman is None else f"{assessment.spearman:.3f}"
    return (
        f"{metric} from {assessment.measured} measured networks by {assessment.model}; predicted without them: "
        f"Spearman {rank}, {100 * assessment.within_10_percent:.0f} % within 10 %, median error "
        f"{100 * assessment.median_error:.1f} %"
    )


def to_dict(found: Predicted) -> dict[str, Any]:
    """As docs/schema/predict.json says."""
    return {
        "schema": SCHEMA,
        "metric": found.metric,
        "coverage": COVERAGE,
        "assessment": dataclasses.asdict(found.assessment),
        "predictions": [
            {"candidate": one.name, "choices": one.choices} | dataclasses.asdict(row) for one, row in found.rows
        ],
    }


def _as_csv(found: Predicted) -> str:
    names = list(dict.fromkeys(name for one, _ in found.rows for name in one.choices or {}))
    buffer = io.StringIO()
    writer = csv_.writer(buffer, lineterminator="\n")
    writer.writerow(["candidate", *names, found.metric, "low", "high", "reason"])
    for one, row in found.rows:
        chosen = [(one.choices or {}).get(name) for name in names]
        writer.writerow([one.name, *chosen, row.value, row.low, row.high, row.reason])
    return buffer.getvalue()
