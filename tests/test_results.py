"""What is written at the end of a search, and again when it goes on: the files of the front."""

from __future__ import annotations

import shutil
import tomllib
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from report_example import STUDY, write_example

from nas.begin import begin
from nas.closing import interrupt
from nas.folder import RunFolder, as_it_was
from nas.journal import Journal, Trial
from nas.results import _row, read_results, trials_frame, write_results
from nas.study import Study
from profiles.errors import InputError
from profiles.store import Store

TRAINED = b"not a network"  # as the example has it


def test_what_the_user_deletes_from_trials_stays_in_the_front(tmp_path: Path) -> None:
    results = write_example(tmp_path / "run")
    for index in results.front:
        trial = results.folder.trial(index)
        trial.untrained.write_bytes(b"untrained")
        trial.trained.unlink()
    write_results(results)
    assert results.front and {results.onnx(index).read_bytes() for index in results.front} == {TRAINED}
    shutil.rmtree(results.folder.path / "trials")
    write_results(results)
    assert {results.onnx(index).read_bytes() for index in results.front} == {TRAINED}


def test_with_a_table_the_untrained_network_is_what_ships(tmp_path: Path) -> None:
    results = write_example(tmp_path / "run", STUDY + '[train]\ntable = "t.csv"\n')
    for index in results.front:
        trial = results.folder.trial(index)
        trial.trained.rename(trial.untrained)
        results.onnx(index).unlink()
    write_results(results)
    assert results.front and {results.onnx(index).read_bytes() for index in results.front} == {TRAINED}


def test_a_run_is_read_where_its_script_is_gone(tmp_path: Path) -> None:
    write_example(tmp_path / "run", STUDY + '[train]\nscript = "gone.py"\n')
    assert len(read_results(tmp_path / "run").trials) == 24


def test_a_search_that_is_refused_before_its_first_trial_leaves_no_study(tmp_path: Path) -> None:
    """What was mistyped can be mended without another folder; what has trials, or was there before, stays."""
    for number, (trials, before, left) in enumerate([(0, False, False), (1, False, True), (0, True, True)]):
        run = RunFolder(tmp_path / str(number))
        run.trial(0).path.mkdir(parents=True) if trials else run.path.mkdir()
        run.database.touch() if before else None
        with pytest.raises(InputError, match="mistyped"), as_it_was(run):
            run.database.touch()
            run.study.touch()
            raise InputError("mistyped")
        assert run.study.exists() == run.database.exists() == left


def test_a_run_whose_data_have_changed_is_not_gone_on_with(tmp_path: Path) -> None:
    study = Study.model_validate(tomllib.loads(STUDY))
    bench: Any = SimpleNamespace(described=dict, reference_ms=lambda name: 1.0)
    with Store("sqlite://") as store:
        begin(study, RunFolder(tmp_path), bench, Journal(store, "s"), "one")
        begin(study, RunFolder(tmp_path), bench, Journal(store, "s"), "one")
        with pytest.raises(InputError, match="the data is not what it was begun with"):
            begin(study, RunFolder(tmp_path), bench, Journal(store, "s"), "other")


def test_a_metric_of_any_name_leaves_number_and_choices_as_they_are() -> None:
    trial = Trial(index=7, choices={"kernel": 3}, digest="d", source="sobol")
    row = _row(trial, {"trial": 5.0, "kernel": 99.0, "val_accuracy": 0.5}, {})
    assert row == {"trial": 7, "digest": "d", "kernel": 3, "val_accuracy": 0.5}


def test_a_baseline_without_choices_leaves_whole_numbers_whole(tmp_path: Path) -> None:
    """Trial, digest, choices, and then what was measured, whichever row has it first."""
    results = write_example(tmp_path / "run")
    first = replace(results.trials[0], choices={})
    table = trials_frame(replace(results, trials=[first, *results.trials[1:]]))
    choices = list(results.trials[1].choices)
    assert list(table.columns[: 2 + len(choices)]) == ["trial", "digest", *choices]
    whole = [name for name in choices if type(results.trials[1].choices[name]) is int]
    assert {str(trials_frame(results)[name].dtype) for name in whole} == {"int64"}  # as numpy takes them
    assert whole and {str(table[name].dtype) for name in whole} == {"Int64"}
    text = table.to_csv(index=False).splitlines()
    assert text[2].split(",")[2 + choices.index("width")] == str(results.trials[1].choices["width"])


def test_an_interrupted_search_writes_what_it_found_without_its_store(tmp_path: Path) -> None:
    results = write_example(tmp_path / "run")
    tables = {path: path.read_text() for path in results.folder.path.glob("*.csv")}
    with Store(results.folder.database) as store:
        journal = Journal(store, results.study.name)
        for path in tables:
            path.unlink()
        results.folder.database.write_bytes(b"no database")
        interrupt(results.study, results.folder, journal)
    assert len(tables) == 2 and {path: path.read_text() for path in tables} == tables
