"""Tables on a terminal of 80 columns, and piped."""

from __future__ import annotations

import re

import pytest

from benchmarks.pages.words import told
from benchmarks.tables import duration, figure, table

HEADS = [
    "trial",
    "val_accuracy",
    "latency_ms@local",
    "test_accuracy, other seeds",
    "test_accuracy",
    "against the baseline",
]
ROWS = [
    ["0", "0.9972", "0.40748 ± 0.00070", "0.9912 ± 0.0031", "0.9932", "itself"],
    ["16", "0.9944", "0.19214 ± 0.00070", "0.9884 ± 0.0031", "0.9904", "-0.3 pp, 2.12x"],
]


def test_on_a_terminal_heads_break_between_words_and_figures_never(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in {"COLUMNS": "80", "FORCE_COLOR": "1", "NO_COLOR": "1", "TERM": "xterm"}.items():
        monkeypatch.setenv(name, value)
    table(HEADS, ROWS, title="digits")
    printed = capsys.readouterr().out
    assert set(re.findall(r"\x1b\[(\d+)m", printed)) <= {"0", "1", "3"}  # bold and italics, no colour
    lines = re.sub(r"\x1b\[\d+m", "", printed).splitlines()
    assert all(len(line) <= 80 for line in lines)
    assert "trial  accuracy   latency_ms@local       other seeds  accuracy        baseline" in "\n".join(lines)
    assert all(cell in "\n".join(lines) for row in ROWS for cell in row)


def test_names_on_a_terminal_are_no_markup(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for name, value in {"COLUMNS": "80", "FORCE_COLOR": "1", "NO_COLOR": "1", "TERM": "xterm"}.items():
        monkeypatch.setenv(name, value)
    names = ["net[int8].onnx", "net[fp16].onnx", "[/x]", ":smile:"]
    table(["model [name]"], [[name] for name in names], title="[all]")
    lines = re.sub(r"\x1b\[\d+m", "", capsys.readouterr().out).split()
    assert [name for name in ("[all]", "[name]", *names) if name not in lines] == []


def test_piped_it_is_tab_separated(capsys: pytest.CaptureFixture[str]) -> None:
    table(HEADS, ROWS, title="digits")
    assert capsys.readouterr().out == "".join("\t".join(line) + "\n" for line in (HEADS, *ROWS))


def test_figures_and_durations() -> None:
    assert [figure(None), figure(0.123456), figure(0.12345, 0.0012), figure(1234.5, 20.0)] == [
        "-", "0.1235", "0.1235 ± 0.0012", "1234 ± 20",
    ]  # fmt: skip
    assert [duration(7.6), duration(185), duration(7620)] == ["8 s", "3 min 05 s", "2 h 07 min"]


def test_figures_from_a_thousand_on_are_whole() -> None:
    """An exponent is for what is tiny, or beyond all measures."""
    said = {
        999.5: "999.5", 999.96: "1000", 1234.5: "1234", 9999.6: "10000", 83012.4: "83012", -83012.4: "-83012",
        1e9: "1000000000", 1e15: "1e+15", 0.00001234: "1.234e-05",
    }  # fmt: skip
    assert {value: figure(value) for value in said} == said
    spaced = [told("throughput_per_s", 22371.4), told("params", 98305.0), told("val_accuracy", 0.97)]
    assert spaced == ["22\N{NARROW NO-BREAK SPACE}371", "98\N{NARROW NO-BREAK SPACE}305", "97.00"]
