"""``hwnas history`` from a store to a table, JSON and a page."""

from __future__ import annotations

import html
import json
import re
import sqlite3
import zlib
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from report_example import profile_of

from benchmarks import history as command
from benchmarks.figures import _nets
from devices import onnxfile
from profiles.errors import InputError, UnavailableError
from profiles.history import history
from profiles.records import Profile, Target
from profiles.store import Store

OLD = {"kernel": "6.1", "versions": {"onnxruntime": "1.31.0"}}
NEW = {"kernel": "6.1", "versions": {"onnxruntime": "1.32.0"}}


def night(number: int, latency_ms: float, **overrides: Any) -> Profile:
    usual = {"time": f"2026-10-{number + 1:02}T03:00:00Z", "digest": "a" * 64, "device": OLD}
    values = usual | overrides
    return profile_of(values.pop("model", "m.onnx"), latency_ms, np.random.default_rng(number), **values)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """12 nights at 1 ms, 8 at 1.1 ms, then a new runtime and 5 nights at 0.5 ms."""
    monkeypatch.chdir(tmp_path)
    with Store(tmp_path / "hwnas.db") as store:
        for number in range(25):
            device = OLD if number < 20 else NEW
            store.add_profile(night(number, 1.0 if number < 12 else 1.1 if number < 20 else 0.5, device=device))
        store.add_profile(night(26, 3.0, target=Target(name="other", device="local")))
    return tmp_path / "hwnas.db"


def options(**how: Any) -> dict[str, Any]:
    usual = {
        "target": "local", "metric": "latency_ms", "floor": "1%", "fleet": None, "store": None, "json": True,
        "html": None,
    }  # fmt: skip
    return usual | how


def test_the_json_has_points_environments_and_changes(
    store: Path, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command.run("m.onnx", **options())
    found = json.loads(capsys.readouterr().out)
    jsonschema.validate(found, json.loads((root / "docs/schema/history.json").read_text()))
    assert [one["environment"] for one in found["points"]] == [1] * 20 + [2] * 5
    assert found["environments"][1]["changes"] == {"onnxruntime": ["1.31.0", "1.32.0"]}
    (change,) = found["changes"]
    assert (change["index"], change["environment"]) == (12, 1)
    assert change["percent"] == pytest.approx(10, abs=1.5)


def test_the_table_and_the_remarks(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command.run("m.onnx", **options(json=False))
    out, err = capsys.readouterr()
    heads, *rows = [line.split("\t") for line in out.splitlines()]
    assert heads == ["time, UTC", "latency, ms", "95 % interval", "x calibration", "env", "change"]
    assert [row[0] for row in rows if row[5]] == ["2026-10-13 03:00"]
    assert "environment 2 from 2026-10-21 03:00: onnxruntime 1.31.0 -> 1.32.0" in err
    assert re.search(r"\+\d+\.\d % from 2026-10-13 03:00 on \(p = \de-\d\d\)", err)
    assert len(err.splitlines()[0]) == 25  # one bar each
    assert max(map(len, err.splitlines())) <= 80


def test_a_model_is_found_by_its_name_its_file_and_its_digest(tmp_path: Path) -> None:
    path = _nets.mlp(tmp_path / "mlp.onnx")
    digest = onnxfile.digest(path)
    with Store(tmp_path / "s.db") as store:
        store.add_profile(night(0, 1.0, digest=digest))
        store.add_profile(night(1, 1.0, digest="b" * 64))
        assert len(command.find(store, "m.onnx", "local")) == 2
        for name in (str(path), digest, digest[:8]):
            assert [one.digest for one in command.find(store, name, "local")] == [digest]
        with pytest.raises(InputError, match=r"no profiles of x on target local; there are: m.onnx"):
            command.find(store, "x", "local")
        with pytest.raises(InputError, match="it is on local"):
            command.find(store, "m.onnx", "elsewhere")


def test_another_metric_and_what_has_no_figure(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command.run("m.onnx", **options(metric="model_size_mb"))
    assert json.loads(capsys.readouterr().out)["changes"] == []
    with pytest.raises(InputError, match="accepted: latency_ms, "):
        command.run("m.onnx", **options(metric="happiness"))
    with pytest.raises(UnavailableError, match=r"no profile of m\.onnx on local has energy_mj: no meter"):
        command.run("m.onnx", **options(metric="energy_mj"))
    with pytest.raises(InputError, match="there is no such store"):
        command.run("m.onnx", **options(store="none.db"))


def test_the_page_is_whole_alone_and_escaped(store: Path, tmp_path: Path) -> None:
    with Store(store) as opened:
        for number in range(2):
            opened.add_profile(night(number, 1.0, model="<b>evil</b>"))
    command.run("m.onnx", **options(html=tmp_path / "h.html"))
    text = html.unescape((tmp_path / "h.html").read_text())
    assert "default-src 'none'" in text
    assert "onnxruntime 1.31.0 -> 1.32.0" in text
    assert '"x":["2026-10-01T03:00:00Z"' in text
    command.run("<b>evil</b>", **options(html=tmp_path / "evil.html"))
    body = re.sub(r"<(script|style)\b.*?</\1>", "", (tmp_path / "evil.html").read_text(), flags=re.DOTALL)
    assert "<b>evil" not in body
    assert "<b>evil</b>" in html.unescape(body)


def test_a_sparkline_has_the_medians_of_neighbours_where_there_is_no_room() -> None:
    assert command.spark([0, 7, 3.6]) == "\u2581\u2588\u2585"
    assert command.spark([1.0, 1.0]) == "\u2581\u2581"
    assert command.spark([*[0.0] * 50, *[1.0] * 50], width=4) == "\u2581\u2581\u2588\u2588"


def test_profiles_without_raw_times_are_the_same_otherwise(tmp_path: Path) -> None:
    with Store(tmp_path / "s.db") as store:
        store.add_profile(night(0, 1.0))
        store.add_profile(night(1, 1.0, blocks=()))
        assert [one.to_dict(raw=False) for one in store.profiles(raw=False)] == [
            one.to_dict(raw=False) for one in store.profiles()
        ]
        assert [bool(one.blocks) for one in store.profiles()] == [True, False]
        assert not any(one.blocks for one in store.profiles(raw=False))
        assert store.models() == [("m.onnx", "a" * 64, "local")]


def test_pace_shapes_and_python_are_part_of_an_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usual = {"kernel": "6.1", "versions": {"python": "3.11.7"}}
    newer = {"kernel": "6.1", "versions": {"python": "3.13.1"}}
    nights = [
        night(0, 1.0, device=usual),
        night(1, 1.3, device=usual, interval_ms=50.0),
        night(2, 4.0, device=usual, shapes={"input": [1, 512]}),
        night(3, 1.0, device=newer),
    ]
    found = history(nights, model="m.onnx", target="local")
    assert [one.environment for one in found.points] == [1, 2, 3, 4]
    assert [one.changes for one in found.environments[1:]] == [
        {"interval_ms": (None, 50.0)},
        {"interval_ms": (50.0, None), "shapes": (None, "input 1x512")},
        {"python": ("3.11.7", "3.13.1"), "shapes": ("input 1x512", None)},
    ]


@pytest.mark.parametrize(
    ("count", "said"),
    [(9, "no change points before 10 figures in one environment"), (10, "no change point above 1 %")],
)
def test_no_change_is_said_of_figures_and_not_of_profiles(count: int, said: str) -> None:
    """Of 12 profiles, the first few have an energy."""
    nights = [night(number, 1.0, energy_mj=2.0 if number < count else None) for number in range(12)]
    assert command.none_found(history(nights, model="m.onnx", target="local", metric="energy_mj")) == said


def test_an_exact_figure_without_a_floor(store: Path) -> None:
    nights = [night(number, 1.0, model_size_mb=1.0 if number < 7 else 1.1) for number in range(14)]
    (change,) = history(nights, model="m.onnx", target="local", metric="model_size_mb", floor=0.0).changes
    assert (change.index, round(change.percent)) == (7, 10)


def test_a_file_whose_target_ran_a_converted_one_is_found_by_its_name(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "sub").mkdir()
    path = _nets.mlp(tmp_path / "sub" / "m.onnx")
    with Store(store) as opened:
        assert len(command.find(opened, str(path), "local")) == 25
    assert "no profile of this very file on local; those named m.onnx are shown" in capsys.readouterr().err


def test_a_record_that_cannot_be_read_hides_no_other(store: Path, caplog: pytest.LogCaptureFixture) -> None:
    with sqlite3.connect(store) as database:
        database.execute("UPDATE profiles SET record = X'00' WHERE id = 3")
        newer = night(1, 1.0).to_dict() | {"of_a_newer_hwnas": 1}
        record = zlib.compress(json.dumps(newer).encode())
        database.execute("UPDATE profiles SET record = ? WHERE id = 4", [record])
    with Store(store) as opened:
        assert len(opened.profiles(model="m.onnx", target="local", raw=False)) == 24
    assert "profile 3 cannot be read (" in caplog.text


def test_a_store_that_is_not_there_is_not_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="there is no such store"):
        command.run("m.onnx", **options(store="sqlite:///nothere.db"))
    assert not list(tmp_path.iterdir())
