"""The devices of a study: several targets at once, pools, and the worst of a pool."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import devices
from devices.fleet import load_fleet
from nas.bench import Bench
from profiles.errors import UnavailableError
from profiles.store import Store

MODEL = Path(str(devices.__file__)).parent / "calibration.onnx"
X, Y = np.ones((4, 1), dtype=np.float32), np.ones((4, 1), dtype=np.float32)
BOARDS = "".join(f'[devices.n{n}]\ntransport = "null"\ntime_ms = 1\npool = "pool"\n' for n in range(3))
TARGETS = """
[devices.gone]
transport = "local"
python = "/no/python"
pool = "half"
[devices.there]
transport = "null"
time_ms = 1
pool = "half"
[targets.any]
device = "pool"
engine = "null"
[targets.worst]
device = "pool"
engine = "null"
boards = "worst"
[targets.gone]
device = "gone"
[targets.half]
device = "half"
engine = "null"
"""


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "study.db") as store:
        yield store


def _bench(folder: Path, store: Store, *targets: str) -> Bench:
    path = folder / "fleet.toml"
    path.write_text(BOARDS + TARGETS)
    fleet = load_fleet(path)
    return Bench(fleet, {name: fleet.target(name) for name in targets}, store, "study")


def test_one_candidate_on_several_targets(store: Store, tmp_path: Path) -> None:
    with _bench(tmp_path, store, "any", "worst") as bench:
        assert set(bench.described()) == {"any", "worst"}
        found = bench.profile(MODEL, ["any", "worst"], "candidate", (X, Y))
    assert {name: profile.target.name for name, profile in found.items()} == {"any": "any", "worst": "worst"}
    kept = store.profiles(study="study")
    boards = sorted(profile.target.device for profile in kept if profile.target.name == "worst")
    assert boards == ["n0", "n1", "n2"]
    assert sum(profile.target.name == "any" for profile in kept) == 1
    assert found["worst"].latency_ms_calibrated == max(
        profile.latency_ms_calibrated for profile in kept if profile.target.name == "worst"
    )


def test_a_device_that_is_not_there_at_the_start_is_said_at_once(store: Store, tmp_path: Path) -> None:
    gone = pytest.raises(UnavailableError, match="device gone: the agent cannot be started")
    with _bench(tmp_path, store, "any", "gone") as bench, gone:
        bench.described()


def test_a_pool_is_described_by_its_first_board_whichever_answers_first(store: Store, tmp_path: Path) -> None:
    """Else a search might not be resumed: boards of a pool need not have one fingerprint."""
    with _bench(tmp_path, store, "half") as bench:
        with pytest.raises(UnavailableError, match="device gone: the agent cannot be started"):
            bench.described()
        assert bench.profile(MODEL, ["half"], "candidate", (X, Y))["half"].target.device == "there"


def test_several_files_are_interleaved_on_one_board(store: Store, tmp_path: Path) -> None:
    with _bench(tmp_path, store, "any") as bench:
        found = bench.interleaved([MODEL, MODEL], "any", ["a", "b"], processes=2)
    assert [profile.model for profile in found] == ["a", "b"]  # type: ignore[union-attr]
    assert len({profile.target.device for profile in found}) == 1  # type: ignore[union-attr]
    reasons = {profile.missing["operators"] for profile in found}  # type: ignore[union-attr]
    assert reasons == {"the null device does not know the operation operators"}
