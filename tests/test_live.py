"""What commands show while they work: on a terminal, where stderr is piped, and with names that look like markup."""

from __future__ import annotations

import re

import pytest

from benchmarks.live import live, told_of_pass
from benchmarks.nightly import progress


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"COLUMNS": "80", "FORCE_COLOR": "1", "NO_COLOR": "1", "TERM": "xterm"}.items():
        monkeypatch.setenv(name, value)


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)


@pytest.mark.usefixtures("terminal")
def test_names_on_a_terminal_are_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    with progress.shown() as hear:
        hear("unprofiled", {"model": "net[int8].onnx", "reason": ":smile: [/x]"})
        hear("pass", {"device": "d[fp16]", "model": "net[int8].onnx", "pass": "latency", "number": 0, "of": 1})
    said = plain(capsys.readouterr().err)
    assert "net[int8].onnx: no profile for the history: :smile: [/x]" in said
    assert "d[fp16]: net[int8].onnx: latency" in said


@pytest.mark.usefixtures("terminal")
def test_it_is_drawn_at_once_or_after_a_pause(capsys: pytest.CaptureFixture[str]) -> None:
    drawn = []

    def draw() -> str:
        drawn.append(len(drawn))
        return f"drawing {len(drawn)}"

    with live(draw, pause_s=1000) as tell:
        assert len(drawn) == 1
        tell(["a line"])
        assert len(drawn) == 2
        tell(["another"], at_once=False)
        assert len(drawn) == 2
    said = plain(capsys.readouterr().err)
    assert "a line" in said and "another" in said and "drawing 2" in said


def test_what_is_told_of_a_pass() -> None:
    data = {"model": "resnet8", "pass": "latency", "number": 2, "of": 5}
    assert told_of_pass(data) == "resnet8: latency, process 3 of 5"
    assert told_of_pass(data | {"of": None}) == "resnet8: latency, process 3"
    assert told_of_pass(data | {"number": 0, "of": 1}) == "resnet8: latency"


def test_piped_it_is_lines(capsys: pytest.CaptureFixture[str]) -> None:
    for stamped in (True, False):
        with live(lambda: "never drawn", stamped=stamped) as tell:
            tell(["one", "[two]"])
            tell()
    stamp = f"[{'0 s':>12}] "
    assert capsys.readouterr().err == f"{stamp}one\n{stamp}[two]\none\n[two]\n"
