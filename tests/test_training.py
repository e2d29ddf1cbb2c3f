"""The default training script, learning curves, scores, and the contract as docs/own-training.md tells it."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
from torch.utils.tensorboard import SummaryWriter

from nas.export import load_weights, reference_output
from nas.spaces import Choice, build, find_space
from nas.training.curves import Known, read_curves
from nas.training.score import score
from nas.training.train import _batches, train
from profiles import files
from profiles.errors import TrialError

SMALLEST = {
    "width": 8, "stem_stride": 2, "kernel": 3, "depth_1": 1, "expansion_1": 1,
    "depth_2": 1, "expansion_2": 1, "depth_3": 0, "expansion_3": 1,
}  # fmt: skip


@pytest.fixture(autouse=True)
def _only_here() -> Iterator[None]:
    """Training turns deterministic algorithms on for its process; other tests have not asked for that."""
    yield
    torch.use_deterministic_algorithms(False)


def candidate(seed: int = 0, train: Mapping[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    """Of the smallest convnet on the digits, one epoch. ``train``: other settings than these."""
    return {
        "schema": 1,
        "study": "s",
        "trial": 0,
        "space": "convnet",
        "choices": SMALLEST,
        "digest": "",
        "seed": seed,
        "data": {"name": "digits"},
        "train": {"epochs": 1, "batch_size": 64, "learning_rate": 0.01, **(train or {})},
    } | changes


def test_one_seed_gives_one_set_of_weights(tmp_path: Path) -> None:
    weights = []
    for folder, seed in (("a", 3), ("b", 3), ("c", 4)):
        (tmp_path / folder).mkdir()
        train(candidate(seed), tmp_path / folder)
        weights.append(torch.load(tmp_path / folder / "weights.pt", weights_only=True))
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert not all(torch.equal(weights[0][name], weights[2][name]) for name in weights[0])


def test_the_kept_weights_are_those_of_the_metrics_and_of_the_curves_end(tmp_path: Path) -> None:
    train(candidate(train={"epochs": 3}), tmp_path)
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    curves = read_curves(tmp_path / "tb")
    assert set(curves) == set(metrics) == {"val_accuracy", "train_loss"}
    assert [step for step, _ in curves["val_accuracy"]] == [1, 2, 3]
    assert curves["val_accuracy"][-1][1] == pytest.approx(metrics["val_accuracy"])
    from nas.data import load

    data = load("digits")
    module = build(find_space("convnet"), SMALLEST, data.input_shape, data.outputs)
    load_weights(module, tmp_path / "weights.pt")
    assert score("classification", reference_output(module, data.x_val), data.y_val)["accuracy"] == pytest.approx(
        metrics["val_accuracy"]
    )


def test_a_loss_that_is_no_number_ends_the_training_at_once(tmp_path: Path) -> None:
    with pytest.raises(TrialError, match=r"the loss is (nan|inf) in epoch 1"):
        train(candidate(train={"epochs": 50, "batch_size": 32, "learning_rate": 1e30}), tmp_path)
    assert not (tmp_path / "metrics.json").exists() and not (tmp_path / "weights.pt").exists()


def test_hyperparameters_come_from_the_choices_before_the_study(tmp_path: Path) -> None:
    choices = {
        "hidden_size_1": 16, "hidden_size_2": 16, "learning_rate": 0.01, "epochs": 2, "dropout": 0.0, "batch_size": 256,
    }  # fmt: skip
    train(candidate(space="mlp", choices=choices, train={"epochs": 5}), tmp_path)
    assert [step for step, _ in read_curves(tmp_path)["train_loss"]] == [1, 2]


def test_only_a_row_that_is_left_over_joins_no_batch() -> None:
    for count, size, lengths in ((5, 2, [2, 2]), (4, 3, [3]), (3, 1, [1, 1, 1]), (1, 2, [1])):
        batches = list(_batches(count, size))
        assert [len(rows) for rows in batches] == lengths
        assert len({int(row) for rows in batches for row in rows}) == sum(lengths)


def test_a_regression(tmp_path: Path) -> None:
    """y = x0 - x1 is learnt to a tenth of its spread."""
    x = np.random.default_rng(0).normal(size=(400, 2)).astype(np.float32)
    y = x[:, 0] - x[:, 1]
    np.savez(tmp_path / "line.npz", x_train=x[:300], y_train=y[:300], x_val=x[300:], y_val=y[300:])
    choices = {
        "hidden_size_1": 32, "hidden_size_2": 32, "learning_rate": 0.01, "epochs": 4, "dropout": 0.0, "batch_size": 32,
    }  # fmt: skip
    train(candidate(space="mlp", choices=choices, data={"name": str(tmp_path / "line.npz")}), tmp_path)
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert set(metrics) == {"val_rmse", "val_r2", "train_loss"}
    assert metrics["val_r2"] > 0.9 and metrics["val_rmse"] < 0.5


def test_scores_by_hand() -> None:
    outputs = np.array([[0.1, 0.9], [0.8, 0.2], [math.nan, 1.0]])
    assert score("classification", outputs, np.array([1, 1, 1])) == {"accuracy": pytest.approx(1 / 3)}
    assert score("regression", np.array([[1.0], [3.0]]), np.array([[1.0], [5.0]])) == {
        "rmse": pytest.approx(math.sqrt(2)),
        "r2": pytest.approx(0.5),
    }
    assert set(score("regression", np.array([[1.0], [3.0]]), np.array([[2.0], [2.0]]))) == {"rmse"}


def test_curves_of_a_file_that_is_cut_off_end_where_it_does(tmp_path: Path) -> None:
    with SummaryWriter(tmp_path) as writer:
        for step in range(1, 6):
            writer.add_scalar("val_accuracy", step / 10, step)
    whole = read_curves(tmp_path)
    assert whole == {"val_accuracy": [(step, pytest.approx(step / 10)) for step in range(1, 6)]}
    (path,) = tmp_path.iterdir()
    content = path.read_bytes()
    for size in range(len(content)):
        path.write_bytes(content[:size])
        cut = read_curves(tmp_path).get("val_accuracy", [])
        assert cut == whole["val_accuracy"][: len(cut)]
    path.write_bytes(b"no event file at all" * 20)
    assert read_curves(tmp_path) == {}
    assert read_curves(tmp_path / "absent") == {}


def test_curves_that_are_read_again_are_read_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that grows byte by byte is opened once; one that took its place, or was begun anew, is read as a whole."""
    for run, factor in (("one", 10), ("other", 100)):
        with SummaryWriter(tmp_path / run) as writer:
            for step in range(1, 6):
                writer.add_scalar("val_accuracy", step / factor, step)
    one, other = (next((tmp_path / run).iterdir()).read_bytes() for run in ("one", "other"))
    opened: list[str] = []

    def open_one(path: str) -> Any:
        opened.append(path)
        return EventFileLoader(path)

    monkeypatch.setattr("nas.training.curves.EventFileLoader", open_one)
    path = tmp_path / "job" / "events.out.tfevents.1"
    known: Known = {}

    def values() -> list[float]:
        return [round(value, 6) for _, value in read_curves(path.parent, known).get("val_accuracy", [])]

    path.parent.mkdir()
    found = []
    for size in range(len(one) + 1):
        path.write_bytes(one[:size])
        found.append(values())
    tenths = [0.1, 0.2, 0.3, 0.4, 0.5]
    assert [same for same, _ in itertools.groupby(found)] == [tenths[:length] for length in range(6)]
    assert len(opened) == 1
    files.write_bytes(path, other)
    assert values() == [0.01, 0.02, 0.03, 0.04, 0.05] and len(opened) == 2
    path.write_bytes(one[:-1])
    assert values() == tenths[:4] and len(opened) == 3
    assert read_curves(path.parent) == read_curves(path.parent, known)


class Normalised:
    """One value for each channel and row."""

    parameters = (Choice("layers", (1, 2)),)

    def build(self, choices: dict[str, Any], *, outputs: int) -> torch.nn.Module:
        return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.BatchNorm1d(64), torch.nn.Linear(64, outputs))


def test_batches_of_one_row_that_batchnorm_cannot_take_are_one_line(tmp_path: Path) -> None:
    own = candidate(space=f"{__name__}:Normalised", choices={"layers": 1}, train={"epochs": 1, "batch_size": 1})
    with pytest.raises(TrialError, match="batch_size: given 1; accepted: from 2 with this network's BatchNorm"):
        train(own, tmp_path)
    assert not (tmp_path / "weights.pt").exists()
