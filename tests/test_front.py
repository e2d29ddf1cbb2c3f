"""``hwnas pareto`` and the live view of a search: the same figures, limits and names as in the files."""

from __future__ import annotations

from pathlib import Path

import pytest
from report_example import STUDY, Example

from benchmarks import front
from benchmarks.cli_search import _bounds
from benchmarks.progress import _View
from benchmarks.report import front as report_front
from nas.results import Results, read_results, trials_frame
from profiles.errors import InputError, NothingFits

ACCURACY = 'metric = "val_accuracy"\ngoal = "max"\nthreshold = 0.90'
REGRESSION = STUDY.replace(ACCURACY, 'metric = "val_rmse"\ngoal = "min"')
LATENCY = "latency_ms@local"


def searched(folder: Path, study: str, score: str, rows: list[tuple[float, float]]) -> tuple[Results, Example]:
    """Trained trials with these scores and latencies."""
    example = Example(folder / "run", study)
    example.start()
    for index, (value, latency_ms) in enumerate(rows):
        example.propose(index)
        sems = {LATENCY: 0.001}
        example.journal.append("profiled", index, metrics={LATENCY: latency_ms}, sems=sems, seconds=1.0)
        example.journal.append("training", index, attempt=0)
        example.journal.append("completed", index, metrics={score: value}, train_s=1.0)
    return example.results(), example


def test_a_limit_of_the_study_holds_for_confirmed_figures_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, example = searched(tmp_path, STUDY, "val_accuracy", [(0.97, 0.20), (0.99, 0.43)])
    example.journal.append("confirmed", 1, metrics={LATENCY: 0.47}, sems={}, reason=None)
    example.close()
    front.show(tmp_path / "run", maxima={LATENCY: 0.6}, minima={}, json=True)
    assert '"trial": 0' in (out := capsys.readouterr().out) and '"trial": 1' not in out
    with pytest.raises(NothingFits, match=r"keeps latency_ms@local <= 0\.44, val_accuracy >= 0\.98"):
        front.show(tmp_path / "run", maxima={}, minima={"val_accuracy": 0.98}, json=True)


def test_one_that_was_picked_is_not_called_the_front(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, example = searched(tmp_path, STUDY, "val_accuracy", [(0.97, 0.20), (0.99, 0.43)])
    example.close()
    titles: list[str] = []
    monkeypatch.setattr(front, "folded", lambda heads, rows, title: titles.append(title))
    for maxima in ({}, {LATENCY: 0.3}):
        front.show(tmp_path / "run", maxima=maxima, minima={}, json=False)
    assert titles == ["digits: the front, 2 of 2 trials", "digits: the best that keeps the limits, of 2 on the front"]


def test_a_bound_is_a_number() -> None:
    for text in ("nan", "inf", "fast"):
        with pytest.raises(InputError, match=f"--max params={text}: given '{text}'; accepted: a number"):
            _bounds("--max", [f"params={text}"])


def test_scores_on_the_test_split_stand_under_their_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, example = searched(tmp_path, REGRESSION, "val_rmse", [(1.2, 0.20)])
    tests = {"test_rmse": 1.5, "test_rmse_sd": 0.1, "test_rmse_shipped": 1.4}
    example.journal.append("confirmed", 0, metrics=tests, sems={}, reason=None)
    front.print_front(example.results())
    example.close()
    heads, row = (line.split("\t") for line in capsys.readouterr().out.splitlines()[-2:])
    assert heads == ["trial", "val_rmse", LATENCY, "test_rmse_shipped", "test_rmse"]
    assert row[3:] == ["1.4", "1.50 ± 0.10"]


def test_the_live_hypervolume_is_that_of_the_report(tmp_path: Path) -> None:
    """A bad trial after the random phase moves neither."""
    free = STUDY.partition("[[constraint]]")[0].replace("threshold = 0.90\n", "").replace("trials = 8", "trials = 4")
    rows = [(0.95, 0.30), (0.96, 0.35), (0.90, 0.20), (0.92, 0.25), (0.5, 2.0)]
    results, example = searched(tmp_path, free, "val_accuracy", rows)
    view = _View(results.study)
    for event in results.events:
        view.hear(event.kind, event.trial, event.data)
    example.close()
    assert results.hypervolume is not None and view._hypervolume() == pytest.approx(results.hypervolume)


def test_what_is_not_trained_breaks_no_limit(tmp_path: Path) -> None:
    """Of two objectives that are known before a training."""
    study = STUDY.replace(ACCURACY, 'metric = "params"\ngoal = "min"')
    example = Example(tmp_path / "run", study)
    example.start()
    for index, latency_ms in enumerate((0.2, 0.3, 0.5)):
        example.propose(index)
        metrics = {LATENCY: latency_ms, "params": 1000 - 100 * index}
        example.journal.append("profiled", index, metrics=metrics, sems={}, seconds=1.0)
    example.journal.append("completed", 0, metrics={}, train_s=1.0)
    example.gate(2)
    (figure,) = report_front.trade_offs(example.results())
    example.close()
    shown = {trace["name"]: trace.get("customdata") for trace in figure.plot["data"]}
    assert (shown["on the front"], shown["not trained to the end"], shown["breaks a limit"]) == ([0], [1], [2])


def test_a_run_is_read_where_its_space_is_not_to_be_had(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, example = searched(tmp_path, STUDY, "val_accuracy", [(0.97, 0.20), (0.99, 0.43)])
    example.close()
    study = tmp_path / "run" / "study.toml"
    study.write_text(study.read_text().replace('"convnet"', '"of_somebody_else.nets:space"'))
    front.show(tmp_path / "run", maxima={LATENCY: 0.3}, minima={}, json=True)
    assert '"trial": 0' in capsys.readouterr().out
    assert "depth_1" in trials_frame(read_results(tmp_path / "run"))
