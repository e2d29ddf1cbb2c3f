"""Parts of the fleet that need no fleet: the depot of a device, its health and what is said of it, the lock."""

from __future__ import annotations

import base64
import errno
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest

from devices import advice, depot, health, transfer
from devices.lock import Lock
from devices.transports.ssh import Device
from profiles.errors import InputError, UnavailableError


@pytest.fixture
def device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """``Session.request`` of a device whose depot lies in ``tmp_path / "there"``; it keeps what was asked."""
    monkeypatch.setenv("HWNAS_FOLDER", str(tmp_path / "there"))
    asked: list[str] = []

    def request(operation: str, **parameters: Any) -> dict[str, Any]:
        asked.append(operation)
        return depot.OPERATIONS[operation](parameters)

    request.asked = asked  # type: ignore[attr-defined]
    return request


@pytest.mark.parametrize("size", [0, 1, depot.PIECE, 2 * depot.PIECE + 5])
def test_a_file_arrives_whole_and_once(device: Any, tmp_path: Path, size: int) -> None:
    model, weights = tmp_path / "m.onnx", tmp_path / "data" / "w.bin"
    weights.parent.mkdir()
    model.write_bytes(os.urandom(size))
    weights.write_bytes(b"weights")
    there = Path(transfer.send(device, model, [weights]))
    assert there.read_bytes() == model.read_bytes()
    assert (there.parent / "data/w.bin").read_bytes() == b"weights"
    device.asked.clear()
    assert transfer.send(device, model, [weights]) == str(there)
    assert device.asked == ["have"]
    link = tmp_path / "elsewhere" / "link.onnx"
    link.parent.mkdir()
    link.symlink_to(model)
    assert transfer.send(device, link, [weights]) == str(there)
    weights.write_bytes(b"others.")
    os.utime(weights, (1, 1))
    assert transfer.send(device, model, [weights]) != str(there)


def test_a_link_is_sent_under_the_name_beside_which_its_weights_lie(device: Any, tmp_path: Path) -> None:
    """As in the cache of Hugging Face, and as latest.onnx -> run1/model.onnx."""
    snapshot, blobs = tmp_path / "snapshot", tmp_path / "blobs"
    snapshot.mkdir()
    blobs.mkdir()
    for name, blob in (("model.onnx", "m1"), ("model.onnx_data", "d1")):
        (blobs / blob).write_text(blob)
        (snapshot / name).symlink_to(f"../blobs/{blob}")
    there = Path(transfer.send(device, snapshot / "model.onnx", [snapshot / "model.onnx_data"]))
    assert there.name == "model.onnx"
    assert [there.read_text(), (there.parent / "model.onnx_data").read_text()] == ["m1", "d1"]
    (tmp_path / "latest.onnx").symlink_to("blobs/m1")
    there = Path(transfer.send(device, tmp_path / "latest.onnx", [blobs / "d1"]))
    assert there.name == "m1"
    assert (there.parent / "d1").read_text() == "d1"


def test_what_did_not_arrive_leaves_nothing(device: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = base64.b64encode(b"abc").decode()
    device("put", key="k", name="m", offset=0, data=data)
    depot.forget_parts()
    assert list((tmp_path / "there" / "files").iterdir()) == []
    device("put", key="k", name="m", offset=0, data=data)
    monkeypatch.setattr(Path, "open", _full)
    with pytest.raises(UnavailableError, match="the disk of the device is full"):
        device("put", key="k", name="m", offset=3, data=data)
    assert list((tmp_path / "there" / "files").iterdir()) == []


def _full(*_: Any, **__: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_file_that_is_damaged_on_the_way_is_not_kept(device: Any) -> None:
    device("put", key="k", name="m", offset=0, data=base64.b64encode(b"abc").decode())
    with pytest.raises(UnavailableError, match="m: arrived damaged"):
        device("keep", key="k", files={"m": "0" * 64})
    assert device("have", key="k") == {"folder": None}


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a/../../x", ""])
def test_a_name_that_leads_out_of_the_folder_is_refused(device: Any, name: str) -> None:
    with pytest.raises(InputError, match="accepted: a"):
        device("put", key="k", name=name, offset=0, data="")
    with pytest.raises(InputError, match="accepted: a plain file name"):
        device("have", key=f"x/{name}")


def test_what_nobody_asked_for_during_a_day_makes_room(device: Any, tmp_path: Path) -> None:
    (tmp_path / "old").write_bytes(b"old")
    (tmp_path / "used").write_bytes(b"used")
    (tmp_path / "new").write_bytes(b"new")
    old, used = (Path(transfer.send(device, tmp_path / name)) for name in ("old", "used"))
    for path in (old, used):
        os.utime(path.parent, (time.time() - 90_000,) * 2)
    transfer.send(device, tmp_path / "used")
    transfer.send(device, tmp_path / "new")
    assert not old.exists()
    assert used.exists()


def test_agents_that_nobody_started_for_a_week_make_room(device: Any, tmp_path: Path) -> None:
    there = tmp_path / "there"
    there.mkdir()
    for name in ("agent-1.pyz", "agent-2.pyz", "agent-3.pyz", "agent-4.pyz.77"):
        (there / name).write_bytes(b"agent")
        (there / name.split(".")[0]).mkdir()
        os.utime(there / name, (time.time() - 8 * 86_400,) * 2)
    with depot.hold_agent(str(there / "agent-2.pyz")) as running:  # type: ignore[union-attr]
        os.utime(there / "agent-2.pyz", (time.time() - 8 * 86_400,) * 2)  # it began last week
        with depot.hold_agent(str(there / "agent-3.pyz")):  # type: ignore[union-attr]
            pass
        (tmp_path / "new").write_bytes(b"new")
        transfer.send(device, tmp_path / "new")
        assert not running.closed
    found = sorted(path.name for path in there.iterdir())
    assert found == ["agent-2", "agent-2.pyz", "agent-3", "agent-3.pyz", "agent-4", "files"]


def test_outputs_are_taken_and_gone(device: Any, tmp_path: Path) -> None:
    there = Path(device("place", name="y.npy")["path"])
    assert there.name.endswith("y.npy")
    there.write_bytes(os.urandom(depot.PIECE + 1))
    expected = there.read_bytes()
    transfer.receive(device, str(there), tmp_path / "y.npy")
    assert (tmp_path / "y.npy").read_bytes() == expected
    assert not there.exists()


def test_the_log_does_not_grow_without_end(device: Any, tmp_path: Path) -> None:
    for number in range(4):
        depot.log({"number": number, "filler": "x" * 300_000})
    sizes = [path.stat().st_size for path in (tmp_path / "there").glob("measured*")]
    assert len(sizes) == 2
    assert max(sizes) < 1_300_000


GOOD: dict[str, Any] = {
    "packages": {"numpy": "2", "onnxruntime": "1"},
    "executable": "/py",
    "throttled": 0,
    "governors": ["performance"],
    "turbo": False,
    "on_battery": None,
    "busy": [],
    "pressure": 0.0,
    "disk_free_mb": 1e4,
    "memory_free_mb": 1e4,
    "virtual": False,
    "clock_step_ns": 50,
}


def test_a_good_device_has_no_problems() -> None:
    assert advice.problems(GOOD, noise=0.01) == []


@pytest.mark.parametrize(
    ("change", "what", "mend"),
    [
        ({"packages": {"numpy": "2"}}, "no onnxruntime", "/py -m pip install onnxruntime"),
        ({"packages": {"onnxruntime-gpu": "1"}}, "no numpy", "/py -m pip install numpy"),
        ({"throttled": 0x1}, "now: under-voltage", "a better power supply"),
        ({"throttled": 0x50000}, "since it started: under-voltage, throttled", "then restart it"),
        (
            {"governors": ["performance", "powersave"]},
            "the clock follows the load (powersave)",
            "echo performance | sudo",
        ),
        ({"turbo": True}, "turbo", "echo 0 | sudo tee"),
        ({"on_battery": True}, "battery", "plug it in"),
        ({"busy": [{"name": "gcc", "pid": 7, "percent": 90}]}, "gcc uses 90 % of a core", "stop it (process 7)"),
        ({"pressure": 50.0}, "tasks waited for a CPU 50 %", "top"),
        ({"disk_free_mb": 10.0}, "10 MB of disk left", "rm -r"),
        ({"memory_free_mb": 10.0}, "10 MB of memory left", "stop"),
        ({"clock_step_ns": 15_000_000}, "steps of 15000000 ns", "clocksource"),
        ({"virtual": True}, "a virtual machine", "measure where"),
    ],
)
def test_each_problem_is_named_with_what_mends_it(change: dict[str, Any], what: str, mend: str) -> None:
    ((found, how),) = advice.problems(GOOD | change)
    assert what in found
    assert mend in how


def test_what_works_lacks_no_package() -> None:
    assert advice.problems(GOOD | {"packages": {}}, works=True) == []


def test_a_wrong_date_and_a_noisy_device() -> None:
    assert [what for what, _ in advice.problems(GOOD, noise=0.1, skew_s=-3600.0)] == [
        "its date is -3600 s off",
        "the same model varies by 10.0% from run to run",
    ]


def test_the_health_of_a_recorded_board(tmp_path: Path) -> None:
    """A tree as of a Raspberry Pi 5 with Linux 6.6."""
    for name, text in {
        "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "ondemand\n",
        "sys/devices/system/cpu/cpu1/cpufreq/scaling_governor": "ondemand\n",
        "sys/devices/system/cpu/cpufreq/boost": "1\n",
        "sys/class/thermal/thermal_zone0/temp": "61250\n",
        "sys/class/power_supply/BAT0/status": "Discharging\n",
        "proc/meminfo": "MemTotal:        8255000 kB\nMemFree: 1 kB\nMemAvailable:    1000000 kB\n",
        "proc/pressure/cpu": "some avg10=12.50 avg60=0.00 avg300=0.00 total=123\n",
        "proc/cpuinfo": "processor\t: 0\nFeatures\t: fp asimd\n",
        "proc/12/stat": "12 (a b) c) S 1 " + " ".join("0" for _ in range(40)) + "\n",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    found = health.health(tmp_path)
    assert found["governors"] == ["ondemand"]
    assert (found["turbo"], found["on_battery"], found["virtual"]) == (True, True, False)
    assert (found["temperature_c"], found["pressure"], found["memory_free_mb"]) == (61.25, 12.5, 1024.0)
    assert found["busy"] == []
    assert health.health(tmp_path / "empty")["governors"] == []
    (tmp_path / "sys/class/power_supply/BAT0/scope").write_text("Device\n")  # a mouse's
    assert health.health(tmp_path)["on_battery"] is None


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be another user")
def test_two_users_share_one_lock() -> None:
    """In a folder as /tmp is: sticky, and everybody's."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        os.chmod(folder, 0o1777)
        full = Lock(Path("/dev/full"))  # to be held all the same, unsigned
        assert full.try_acquire()
        full.release()
        lock = Lock(Path(folder) / "lock", "ann@lab")
        assert lock.try_acquire()
        child = os.fork()
        if child == 0:  # nothing of pytest's must run here
            status = 9
            try:
                os.setuid(65534)
                other = Lock(Path(folder) / "lock")
                status = 1 if other.try_acquire() else 0 if "for ann@lab, since 20" in other.holder() else 2
            finally:
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        lock.release()


@pytest.mark.parametrize("host", ["-oProxyCommand=x", "", "a b"])
def test_a_host_that_ssh_would_take_for_something_else(host: str) -> None:
    with pytest.raises(ValueError, match="a host as ssh takes it"):
        Device(host=host)


def test_the_command_that_reaches_a_board() -> None:
    command = Device(host="ann@pi5", python="~/env/bin/python", config="/lab.ssh").command("~/x y", "a'b")
    assert command[:4] == ["ssh", "-T", "-F", "/lab.ssh"]
    assert "StrictHostKeyChecking=yes" in command
    assert "BatchMode=yes" in command
    assert "ControlMaster=no" in command  # not the connection that the user has open
    assert "ControlPath=none" in command
    assert command[-3:] == ["--", "ann@pi5", "~/'x y' 'a'\"'\"'b'"]
