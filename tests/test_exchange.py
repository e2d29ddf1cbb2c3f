"""Profiles as CSV, from one store to another: nothing is lost or there twice, and what is no profile is refused."""

from __future__ import annotations

import csv
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from report_example import profile_of

from benchmarks import exchange
from profiles import frames
from profiles.errors import InputError
from profiles.records import Profile, Target
from profiles.store import Store


def taken(**overrides: Any) -> Profile:
    return profile_of("nét.onnx", 1.0, np.random.default_rng(0), **overrides)


def exported_with(path: Path, cells: dict[str, str]) -> Path:
    """A profile as exported, with other ``cells``, as Excel writes it: with a byte order mark."""
    frames.write_csv([taken()], path)
    with path.open(newline="", encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    with path.open("w", newline="", encoding="utf-8-sig") as file:
        writer = csv.DictWriter(file, list(row))
        writer.writeheader()
        writer.writerow(row | cells)
    return path


def test_what_export_writes_comes_back(tmp_path: Path) -> None:
    """An interpreter of the target's own, and more operators than a cell of the csv module holds by default."""
    target = Target(name="t", device="d", python="/opt/old/bin/python", precision="int8")
    nodes = tuple({"name": f"node {number}", "operator": "Conv", "share": 0.5} for number in range(4000))
    written = [taken(target=target), taken(operators=nodes)]
    frames.write_csv(written, tmp_path / "p.csv")
    assert max(map(len, (tmp_path / "p.csv").read_text(encoding="utf-8").splitlines())) > 131_072
    found = frames.read_csv(tmp_path / "p.csv")
    assert [one.to_dict(raw=False) for one in found] == [one.to_dict(raw=False) for one in written]


def test_a_file_is_utf_8_whatever_the_locale(tmp_path: Path) -> None:
    frames.write_csv([taken()], tmp_path / "p.csv")
    code = "import sys, pathlib\nfrom profiles import frames\nprint(len(frames.read_csv(pathlib.Path(sys.argv[1]))))"
    plain = os.environ | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    command = [sys.executable, "-c", code, str(tmp_path / "p.csv")]
    done = subprocess.run(command, env=plain, capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("1\n", 0), done.stderr


@pytest.mark.parametrize("change", [lambda line: line + ",more", lambda line: line.rpartition(",")[0]])
def test_a_line_has_as_many_cells_as_the_first(tmp_path: Path, change: Any) -> None:
    path = tmp_path / "p.csv"
    frames.write_csv([taken()], path)
    head, line = path.read_text(encoding="utf-8").splitlines()
    path.write_text(f"{head}\n{change(line)}\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"p\.csv: line 2: has more or fewer cells than the first line"):
        frames.read_csv(path)


def test_the_same_file_twice_is_one_history(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    here, there, path = str(tmp_path / "here.db"), str(tmp_path / "there.db"), tmp_path / "p.csv"
    with Store(Path(here)) as store:
        for device in ("a", "b"):  # at the same time, on two boards of a pool
            store.add_profile(taken(target=Target(name="pool", device=device)))
        with monkeypatch.context() as only:
            only.delattr("profiles.store._whole")  # raw times are not even unpacked
            exchange.export_csv(path, here, None)
        for new in (2, 0):
            exchange.import_csv(path, there, None)
            assert f"{new} profiles added to " in (said := capsys.readouterr().err)
            assert f"; {2 - new} were there already" in said
        with Store(Path(there)) as other:
            assert [one.target for one in other.profiles()] == [one.target for one in store.profiles()]


def test_two_imports_at_once_make_one_history(tmp_path: Path) -> None:
    frames.write_csv([taken(time=f"2026-01-{day:02}T00:00:00Z") for day in range(1, 29)], tmp_path / "p.csv")
    command = [sys.executable, "-m", "benchmarks.cli", "store", "import", "p.csv", "--store", "there.db"]
    both = [subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate()[1] for process in both]
    with Store(tmp_path / "there.db") as store:
        assert len(store.profiles()) == 28, said


@pytest.mark.parametrize(
    ("column", "cell", "message"),
    [
        ("model", "", "model: given None: Input should be a valid string"),
        ("peak_memory_mb", "NaN", "NaN is no figure; what was not measured is an empty cell"),
        ("calibration.reference_ms", "", "calibration.reference_ms: given None: Input should be a valid number"),
        ("latency_ms_calibrated", '"fast"', "latency_ms_calibrated: given 'fast': Input should be a valid number"),
        ("latency_ms_calibrated", "0", "latency_ms_calibrated is 0.0; accepted: a number above 0"),
        ("peak_memory_mb", "1e999", "Out of range float values are not JSON compliant"),
        ("device", "[]", "device: given []: Input should be a valid dictionary"),
        ("threads", "", "target.threads: given None: Input should be a valid integer"),
        ("time", "yesterday", "Invalid isoformat string"),
    ],
)
def test_what_no_reader_could_use_is_not_imported(tmp_path: Path, column: str, cell: str, message: str) -> None:
    path = exported_with(tmp_path / "p.csv", {column: cell})
    with pytest.raises(InputError, match=r"p\.csv: line 2: not a profile .*" + re.escape(message)):
        frames.read_csv(path)


def test_a_column_that_an_older_export_lacks_may_be_empty(tmp_path: Path) -> None:
    """As where pandas joins two exports."""
    (found,) = frames.read_csv(exported_with(tmp_path / "p.csv", {"shapes": "", "operators": ""}))
    assert (found.shapes, found.operators) == ({}, ())
