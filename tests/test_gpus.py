"""GPUs: which there are, who gets one, and what is said where there is none."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, ClassVar

import pytest

from benchmarks import gpu_check
from devices import gpus
from devices.fleet import LOCAL, Fleet, load_fleet
from devices.session import connect
from nas.account import Account
from nas.gpu_share import for_training, least_used
from nas.jobs import Jobs, Key
from nas.launcher import Launcher
from profiles.errors import MeasurementError, UnavailableError
from profiles.records import Profile, Target

CPU = Target(name="cpu", device="local")
CUDA = dataclasses.replace(CPU, provider="cuda")


@pytest.fixture
def fleet() -> Fleet:
    return load_fleet()


def test_gpus_are_those_of_the_kernel_that_are_not_hidden(tmp_path: Path) -> None:
    assert gpus.visible(tmp_path, {}) == []
    assert gpus.visible(tmp_path, {"CUDA_VISIBLE_DEVICES": "0"}) == []
    (tmp_path / "dev").mkdir()
    for name in ("nvidia0", "nvidia10", "nvidia2", "nvidiactl", "nvidia-uvm"):
        (tmp_path / "dev" / name).touch()
    assert gpus.visible(tmp_path, {}) == ["0", "1", "2"]  # as CUDA counts, of few of many too
    assert gpus.visible(tmp_path, {"CUDA_VISIBLE_DEVICES": "2, GPU-8f"}) == ["2", "GPU-8f"]
    assert gpus.visible(tmp_path, {"CUDA_VISIBLE_DEVICES": ""}) == []
    assert gpus.visible(tmp_path, {"CUDA_VISIBLE_DEVICES": "1,-1,0"}) == ["1"]  # what comes after is hidden
    assert gpus.visible(tmp_path, {"CUDA_VISIBLE_DEVICES": "NoDevFiles"}) == []
    assert gpus.visible(tmp_path, {"CUDA_VISIBLE_DEVICES": "7,0"}) == []


def test_the_metered_gpu_is_the_one_that_cuda_counts_first(monkeypatch: pytest.MonkeyPatch) -> None:
    class Nvml:
        names: ClassVar[list[str]] = ["small", "large", "lost"]
        NVMLError = OSError

        def nvmlDeviceGetCount(self) -> int:
            return len(self.names)

        def nvmlDeviceGetHandleByIndex(self, number: int) -> int:
            return number

        def nvmlDeviceGetName(self, handle: int) -> str:
            if self.names[handle] == "lost":
                raise self.NVMLError
            return self.names[handle]

        def nvmlDeviceGetHandleByPciBusId(self, slot: bytes) -> str:
            return slot.decode()

    monkeypatch.delenv("CUDA_DEVICE_ORDER", raising=False)
    monkeypatch.setattr(gpus, "_slot_of_first", lambda: b"0000:41:00.0")
    assert gpus.first(Nvml(), {}) == "0000:41:00.0"
    monkeypatch.setattr(Nvml, "names", ["large", "large", "lost"])
    assert gpus.first(Nvml(), {}) == 0 and gpus.first(Nvml(), {"CUDA_VISIBLE_DEVICES": "1"}) == 1


def test_the_measured_gpu_is_not_for_training(fleet: Fleet) -> None:
    assert for_training(fleet, [CPU], ["0", "1", "2"]) == ["0", "1", "2"]
    assert for_training(fleet, [CPU, CUDA], ["0", "1", "2"]) == ["1", "2"]
    for provider in ("cuda-graph", "tensorrt"):
        assert for_training(fleet, [dataclasses.replace(CPU, provider=provider)], ["0"]) == []
    assert for_training(fleet, [CUDA], []) is None


def test_jobs_side_by_side_see_different_gpus(tmp_path: Path) -> None:
    class Recorder(Launcher):
        given: list[Any] = []  # noqa: RUF012

        def submit(self, candidate: Path, out_dir: Path, script: Any = None, gpu: str | None = None) -> str:
            self.given.append(
                self.request(candidate, out_dir, script, gpu=gpu)
                .request.role_params["train"][0]
                .env.get("CUDA_VISIBLE_DEVICES")
            )
            return "handle"

    for available, expected in (([], ["", ""]), (["1", "2"], ["1", "2"]), (None, [None, None])):
        launcher = Recorder()
        launcher.given.clear()
        jobs = Jobs(launcher, parallel=2, timeout_s=1, script=None, account=Account(), gpus=available)
        for trial in range(2):
            jobs.start(Key(trial=trial), tmp_path / "candidate.json", tmp_path / f"{trial}" / "job")
        assert launcher.given == expected
    assert least_used(["1", "2"], ["1", "2", "1"]) == "2"


def test_no_gpu_no_check(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    if gpus.visible():
        pytest.skip("this machine has a GPU")
    assert gpu_check.main([str(tmp_path / "gpu.md")]) == 3
    captured = capsys.readouterr()
    assert captured.err == "gpu-check: this needs an NVIDIA GPU and its driver; there is no /dev/nvidia0 here\n"
    assert not (tmp_path / "gpu.md").exists()


@pytest.mark.parametrize(
    "target", [one for one in gpu_check.targets() if one.provider != "cpu"], ids=lambda one: one.name
)
def test_every_gpu_target_says_what_is_missing(target: Target) -> None:
    """To the point where package or device is missing, and no further."""
    from devices import inputs
    from devices.engines import format_of
    from profiles import registry

    if gpus.visible():
        pytest.skip("this machine has a GPU")
    model = Path(inputs.__file__).parent / "calibration"
    with pytest.raises((UnavailableError, MeasurementError), match=r"pip install|would run on cpu") as caught:
        engine = registry.find("devices.engines", target.engine)
        engine.load(model.with_suffix(format_of(engine)), target)
    assert caught.value.exit_code == 3
    assert "\n" not in str(caught.value)


def test_a_check_says_what_was_not_measured() -> None:
    fleet = load_fleet()
    slow = dataclasses.replace(CPU, device=LOCAL, engine="null", provider="1ms")  # not a CPU: its energy is asked for
    plain = dataclasses.replace(slow, name="plain", engine="onnxruntime", provider="cpu")
    with connect(fleet.device(LOCAL), LOCAL) as session:
        kept: list[list[gpu_check.Row]] = []
        rows = gpu_check.take(session, ["dscnn"], [slow, plain], lambda: False, kept.append)
        late = gpu_check.take(session, ["dscnn"], [plain], lambda: True, kept.append)
    left_out = "left out: the check ended before"
    assert [[str(one) == left_out for _, _, one in each] for each in kept] == [[False, True], [False, False]]
    assert [(name, target.name) for name, target, _ in rows] == [("dscnn", slow.name), ("dscnn", "plain")]
    (_, _, timed), (_, _, other) = rows
    assert isinstance(timed, Profile) and isinstance(other, Profile)
    assert other.missing["energy_mj"] == "no meter"
    if not gpus.visible():
        assert "meter nvml" in timed.missing["energy_mj"]
    assert str(late[0][2]) == left_out
    page = gpu_check.page([*rows, *late], "Taken.")
    assert "| dscnn | plain |" in page and page.endswith("Taken.\n")
    assert f"- Not measured, {left_out}: dscnn on plain.\n" in page
