"""``hwnas bisect`` on real files, of which one has more layers than the one before."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import bisect as command
from benchmarks.figures import _nets

pytestmark = pytest.mark.systems


def test_the_file_with_more_layers_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    layers = [3, 3, 3, 6, 6]
    files = [_nets.stack(tmp_path / f"v{n}.onnx", layers=count, channels=16, side=12) for n, count in enumerate(layers)]
    command.run(
        [str(path) for path in files],
        package=None,
        good=None,
        bad=None,
        target="local",
        fleet=None,
        budget="8s",
        floor="30%",
        shape=None,
        cache=None,
        json=True,
        store=None,
    )
    found = json.loads(capsys.readouterr().out)
    assert (found["last_good"], found["first_bad"]) == ("v2.onnx", "v3.onnx")
    assert set(found["comparisons"]) == {"v2.onnx", "v3.onnx", "v4.onnx"}
    assert found["comparisons"]["v3.onnx"]["ratio"] > 1.3
