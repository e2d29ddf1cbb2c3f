"""Trainings that were done before are not done again.

Looked for in the runs of ``search.transfer``, and among this run's own candidates that differ in their precision alone.
A training is the same where its ``candidate.json`` has the same ``training`` (choices, data, settings, seed, script)
and the ``untrained.onnx`` beside it the same bytes: the same network with the same first weights. What it left is
copied into the job's folder here, with ``earlier.json`` naming its own; the weights are exported and scored anew.
Not noticed: what the script or the space import, and libraries other than torch.
"""

from __future__ import annotations

import filecmp
import hashlib
import inspect
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from nas.data import Dataset
from nas.folder import FULL
from nas.precision import PRECISION, without_precision
from nas.results import Results
from nas.spaces import SearchSpace
from nas.study import Study
from nas.training.job import OURS
from nas.training.outcome import is_read, read_outcome
from profiles import files
from profiles.records import digest_of

EARLIER = "earlier://"  # how the handle of such a job begins
_NAME = "earlier.json"
_SETTINGS = {"epochs", "batch_size", "learning_rate"}


def identity(study: Study, choices: Mapping[str, Any], seed: int, content: Sequence[str]) -> str:
    """Of a training. ``content``: digests of the data, the script and the space. How many cores it has makes no other
    one.
    """
    settings = study.train.model_dump(include=_SETTINGS)
    data = study.data.model_dump()  # a script may read options that the data set does not know
    torch = version("torch")  # it is written into the untrained network, too
    return digest_of([study.space, without_precision(choices), seed, data, settings, torch, *content])


def digest_of_data(data: Dataset) -> str:
    """Of what is trained on, and what a script may choose its weights by."""
    shapes = f"{data.x_train.shape} {data.x_val.shape} {data.y_train.dtype}"
    whole = hashlib.sha256(f"{data.task} {data.outputs} {shapes}".encode())
    for array in (data.x_train, data.y_train, data.x_val, data.y_val):
        whole.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return whole.hexdigest()


def digest_of_script(study: Study) -> str:
    """Of the training script as it is now. Raises OSError where it cannot be read."""
    path = Path(study.train.script) if study.train.script else OURS
    return hashlib.sha256(path.read_bytes()).hexdigest()


def digest_of_space(space: SearchSpace) -> str:
    """Of the file that its ``build`` comes from: dropout, for example, does not show in an exported network."""
    try:
        file = inspect.getsourcefile(inspect.unwrap(space.build))
        return hashlib.sha256(Path(str(file)).read_bytes()).hexdigest()
    except (TypeError, OSError):  # written in C, or typed in somewhere
        return ""


class Earlier:
    """``runs``: run folders; one that is gone, or cannot be read, has nothing."""

    def __init__(self, runs: Sequence[str]) -> None:
        self._runs = runs
        self._known: dict[str, list[Path]] | None = None  # training -> folders with a candidate.json

    def find(self, candidate: Path, near: Iterable[Path] = ()) -> Path | None:
        """The job's folder of a completed training that is that of ``candidate`` (a candidate.json), or ``None``.

        ``near``: further folders to look in, each with a candidate.json.
        """
        training = _training_of(candidate.parent)
        if training is None:
            return None
        for folder in (*near, *self._index().get(training, [])):
            if folder == candidate.parent or _training_of(folder) != training or not _alike(folder, candidate.parent):
                continue
            if done := _completed(folder):
                return done
        return None

    def _index(self) -> dict[str, list[Path]]:
        if self._known is None:
            self._known = {}
            for run in self._runs:
                trials = Path(run) / "trials"
                for path in (*trials.glob("*/candidate.json"), *trials.glob("*/confirm-*/candidate.json")):
                    if training := _training_of(path.parent):
                        self._known.setdefault(training, []).append(path.parent)
        return self._known


def trained_before(study: Study, runs: Iterable[Results], content: Sequence[str]) -> list[dict[str, Any]]:
    """Candidates of ``runs`` that ``study`` need not train: their choices, and their values of its trained metrics; {}
    where it was trained in another precision.

    ``content``: as in ``identity``, but for the script. Whether the untrained network is still the same is looked at
    when the candidate is proposed.
    """
    try:
        content = (*content, digest_of_script(study))
    except OSError:  # the training will say so
        return []
    found: dict[str, dict[str, Any]] = {}
    for results in runs:
        for trial in results.of_space:
            folder = results.folder.trial(trial.index).path
            training = identity(study, trial.choices, study.seed, content)
            if trial.state != "completed" or _training_of(folder) != training or not _completed(folder):
                continue
            values = {name: trial.metrics[name] for name in study.trained_metrics if name in trial.metrics}
            found[digest_of(trial.choices)] = {"choices": trial.choices, "values": values}
            for precision in study.quantise.precisions if study.quantise else ():
                other = trial.choices | {PRECISION: precision}
                found.setdefault(digest_of(other), {"choices": other, "values": {}})
    return list(found.values())


def bring(done: Path, out_dir: Path) -> bool:
    """Copy that training to ``out_dir``, whole or not at all; False where it cannot be read any more.

    Nothing is done where ``out_dir`` is there already. Raises OSError where this disk is full.
    """
    if out_dir.exists():
        return True
    beside = out_dir.with_name(f".{out_dir.name}")
    shutil.rmtree(beside, ignore_errors=True)
    try:
        for path in sorted(done.rglob("*")):
            name = str(path.relative_to(done))
            if path.is_file() and is_read(name) and name != "job.json":  # that is about processes of then
                (beside / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, beside / name)
                files.sync(beside / name)
        known = files.read_json(done / _NAME)
        origin = known.get("from") if isinstance(known, dict) else None
        files.write_json(beside / _NAME, {"schema": 1, "from": origin or str(done)})
        files.write_text(beside / "handle", f"{EARLIER}{done}")  # so that it is taken for a job that has ended
        os.replace(beside, out_dir)
    except OSError as error:
        if error.errno in FULL:
            raise
        return False
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return True


def _completed(folder: Path) -> Path | None:
    """The job in it that left weights; ``None`` also where that cannot be read."""
    with suppress(OSError):
        for job in sorted(folder.glob("job*")):
            if read_outcome(job).reason is None and (job / "weights.pt").is_file():
                return job
    return None


def _training_of(folder: Path) -> str | None:
    found = files.read_json(folder / "candidate.json")
    training = found.get("training") if isinstance(found, dict) else None
    return training if isinstance(training, str) else None


def _alike(one: Path, other: Path) -> bool:
    """Whether both are of the same network with the same first weights."""
    try:
        return filecmp.cmp(_untrained(one), _untrained(other), shallow=False)
    except OSError:
        return False


def _untrained(folder: Path) -> Path:
    """That of a trial's folder, or of the one above: confirming seeds have a folder in it."""
    here = folder / "untrained.onnx"
    return here if here.exists() else folder.parent / here.name
