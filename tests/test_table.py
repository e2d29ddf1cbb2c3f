"""Tables in place of training: what is read from them, and how each bad one is named."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest

from nas.data import load
from nas.spaces import Choice, Range
from nas.training.table import read_cells, read_table
from profiles.errors import InputError, TrialError


class Space:
    parameters = (
        Choice("op", ("none", "3x3")),
        Choice("digit", ("0", "1")),
        Choice("width", (8, 16), ordered=True),
        Choice("ratio", (0.5, 1.0)),
        Choice("skip", (False, True)),
        Range("depth", 1, 4, integer=True),
    )

    def build(self, choices: dict[str, Any]) -> Any:
        raise NotImplementedError


HEAD = "op,digit,width,ratio,skip,depth,val_accuracy,arch\n"
ROWS = "3x3,0,8,0.50,True,2,0.91,aa\nnone,1,16,1,False,4,9.2e-1,bb\n"


def read(path: Path, text: str | bytes) -> Any:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return read_table(path, Space(), ["val_accuracy"])


def test_a_row_is_found_by_its_choices(tmp_path: Path) -> None:
    choices = {"op": "none", "digit": "1", "width": 16, "ratio": 1.0, "skip": False, "depth": 4}
    for name, text in (("t.csv", (HEAD + ROWS).encode()), ("t.csv.gz", gzip.compress((HEAD + ROWS).encode()))):
        table = read(tmp_path / name, text)
        assert table.look_up(choices) == {"val_accuracy": 0.92}
        with pytest.raises(TrialError, match=r"t.csv.* has no row for op = none, .* depth = 3"):
            table.look_up(choices | {"depth": 3})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "column op: given 0 of that name"),
        (HEAD, "no rows"),
        (HEAD.replace("width,", "") + ROWS, "column width"),
        (HEAD.replace("val_accuracy", "acc") + ROWS, "column val_accuracy"),
        (HEAD.replace("arch", "op") + ROWS, "column op: given 2"),
        (HEAD + ROWS + "none,1,16\n", "line 4: given 3 cells; accepted: 8"),
        (HEAD + ROWS.replace("none", "5x5"), "line 3: op: given '5x5'; accepted: one of 'none', '3x3'"),
        (HEAD + ROWS.replace("16", "12"), "line 3: width: given '12'"),
        (HEAD + ROWS.replace("False,4", "False,9"), "line 3: depth: given '9'; accepted: a whole number from 1 to 4"),
        (HEAD + ROWS.replace("0.91", "nan"), "line 2: val_accuracy: given 'nan'; accepted: a finite number"),
        (HEAD + ROWS.replace("0.91", ""), "line 2: val_accuracy: given ''"),
        (HEAD + ROWS + ROWS.replace("0.91", "0.5"), "line 4: line 2 says otherwise of the same network"),
        (b"\xff\xfe\x00\x01", "not a table"),
        (HEAD + '"', "not a table"),
    ],
)
def test_a_bad_table_is_one_line_that_names_the_place(tmp_path: Path, text: str | bytes, words: str) -> None:
    with pytest.raises(InputError) as caught:
        read(tmp_path / "t.csv", text)
    assert str(tmp_path / "t.csv") in str(caught.value) and words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "data", [b"not gzip", gzip.compress(HEAD.encode(), mtime=0)[:-9], b""], ids=["other", "cut", "empty"]
)
def test_a_damaged_archive_is_named(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(InputError, match=r"t\.csv\.gz"):
        read(tmp_path / "t.csv.gz", data)


def test_data_that_are_only_a_shape() -> None:
    data = load("shape", input_shape=[3, 4, 5], outputs=7)
    assert data.input_shape == (3, 4, 5) and data.outputs == 7 and len(data.x_val) >= 16 and not len(data.x_test)
    for wrong in (
        {"input_shape": [3, 0], "outputs": 7},
        {"input_shape": 3, "outputs": 7},
        {"input_shape": "33", "outputs": 7},
    ):
        with pytest.raises(InputError, match="input_shape"):
            load("shape", **wrong)
    with pytest.raises(InputError, match="outputs"):
        load("shape", input_shape=[3], outputs=0)


class Merged(Space):
    """Without the 3x3 its width does not count."""

    def canonical(self, choices: dict[str, Any]) -> dict[str, Any]:
        return choices | {"width": 8} if choices["op"] == "none" else choices


def test_a_table_as_excel_writes_it(tmp_path: Path) -> None:
    text = "width,val_accuracy\r\n8,0.5\r\n\r\n"
    (tmp_path / "t.csv").write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert read_cells(tmp_path / "t.csv", ["width"], "width") == [{"width": "8", "val_accuracy": "0.5"}]


def test_rows_are_those_of_networks_however_they_are_written(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(HEAD + ROWS + "none,1,8,1,False,4,0.92,cc\n")
    table = read_table(path, Merged(), ["val_accuracy"])
    chosen = {"op": "none", "digit": "1", "width": 8, "ratio": 1.0, "skip": False, "depth": 4}
    assert len(table.rows) == 2 and table.look_up(chosen) == {"val_accuracy": 0.92}
    path.write_text(HEAD + ROWS + "none,1,8,1,False,4,0.93,cc\n")
    with pytest.raises(InputError, match=r"t\.csv: line 4: line 3 says otherwise of the same network"):
        read_table(path, Merged(), ["val_accuracy"])
