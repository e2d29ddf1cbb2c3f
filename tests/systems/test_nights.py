"""Nights beside a busy process: the alarm finds what has changed, and does not cry wolf."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.figures.nights import CHANGED, EXPECTED, NETS, SLOWER, UNCHANGED, WRONG, Street


@pytest.mark.systems
def test_two_models_in_two_nights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One network gets a third more layers, another one other weights; in the night before nothing.

    Whether some seconds beside a busy process are enough to decide on the first is for the long form: here it is an
    alarm or left open, but never passed over.
    """
    monkeypatch.setattr("profiles.store.REFERENCE_COUNT", 1)
    monkeypatch.setattr("devices.reference.REFERENCE_COUNT", 1)
    street = Street(tmp_path, nets=(SLOWER, WRONG), more_layers=7)
    assert street.night(1, changed=False)["alarms"] == []
    found = street.night(2, changed=True)
    slower = [SLOWER, "latency_ms"]
    assert [one for one in found["alarms"] if one != slower] == [[WRONG, "output"]]
    assert slower in found["alarms"] or any(line.startswith(f"{SLOWER}.onnx latency_ms") for line in found["open"])
    assert found["code"] == 1


@pytest.mark.soak
def test_twenty_nights_of_six_models(tmp_path: Path) -> None:
    street = Street(tmp_path)
    quiet = [street.night(number, changed=False) for number in range(1, UNCHANGED + 1)]
    assert [one["alarms"] for one in quiet] == [[]] * UNCHANGED
    open_pairs = sum(len({line.split()[0] for line in one["open"]}) for one in quiet)
    assert open_pairs <= 0.05 * UNCHANGED * len(NETS), [one["open"] for one in quiet]
    for number in range(CHANGED):
        assert street.night(UNCHANGED + 1 + number, changed=True)["alarms"] == EXPECTED
