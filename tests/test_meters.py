"""Meters on recorded trees: what each reads, and each way in which it is absent, forbidden or gone."""

from __future__ import annotations

import dataclasses
import sys
import textwrap
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_type_hints

import pytest

from devices import meters
from devices.meters import Sensor
from devices.meters.rpi_pmic import total_w
from profiles import registry
from profiles.errors import InputError, MeasurementError, UnavailableError

NAMES = registry.names("devices.meters")
ZONE = "sys/class/powercap/intel-rapl:"
BATTERY = "sys/class/power_supply/BAT0/"
JETSON = "sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon3/"
PMIC = """\
     3V7_WL_SW_A current(0)=0.09759750A
       1V8_SYS_A current(2)=0.17567550A
     3V7_WL_SW_V volt(8)=3.71994300V
       1V8_SYS_V volt(10)=1.80054800V
         EXT5V_V volt(24)=5.15206000V
          BATT_V volt(25)=0.00000000V
"""

Tree = Callable[[dict[str, Any]], Path]


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """Files below a root, from path and content; written again, they change."""

    def write(files: dict[str, Any]) -> Path:
        for name, content in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(f"{content}\n")
        return tmp_path

    return write


def opened(name: str, root: Path | None = None, **keys: Any) -> Sensor:
    return meters.create({"name": name, **keys} | ({"root": str(root)} if root else {})).open()


def value(sensor: Sensor) -> float:
    ((_, found),) = sensor.read()
    return found


@pytest.mark.parametrize("name", NAMES)
def test_every_meter_is_a_frozen_dataclass_of_its_keys_and_says_how_it_is_used(name: str) -> None:
    kind = meters.meter_class(name)
    assert dataclasses.is_dataclass(kind)
    assert kind.__dataclass_params__.frozen  # type: ignore[attr-defined]
    accepted = (str, int, float, Path, str | None, int | None, float | None, tuple[str, ...])
    assert all(hint in accepted for hint in get_type_hints(kind).values())
    text = str(registry.find("devices.meters", name).__doc__)
    assert f'meter = "{name}"' in text or f'meter = {{name = "{name}"' in text


@pytest.mark.parametrize("name", NAMES)
def test_every_meter_that_is_not_there_says_so_in_one_line(name: str, tmp_path: Path, tree: Tree) -> None:
    needed = {"command": {"command": ("no-such-meter",)}, "replay": {"trace": tmp_path / "none.csv"}}
    root = tmp_path if "root" in {field.name for field in dataclasses.fields(meters.meter_class(name))} else None
    with pytest.MonkeyPatch.context() as patch, pytest.raises((UnavailableError, InputError)) as caught:
        patch.setenv("PATH", str(tmp_path))
        patch.setitem(sys.modules, "pynvml", None)  # as if it were not installed
        opened(name, root, **needed.get(name, {}))
    assert len(str(caught.value).splitlines()) == 1


# RAPL


def rapl(**energies: int) -> dict[str, Any]:
    """Two packages, the cores within the first, memory beside it, and the platform around all."""
    names = {"0": "package-0", "0_0": "core", "0_1": "dram", "1": "package-1", "2": "psys"}
    files: dict[str, Any] = {}
    for key, name in names.items():
        zone = ZONE + key.replace("_", ":")
        files |= {f"{zone}/name": name, f"{zone}/max_energy_range_uj": 1_000_000_000}
        files[f"{zone}/energy_uj"] = energies.get(f"e{key}", 0)
    return files


def test_rapl_sums_packages_and_memory_and_nothing_that_they_hold(tree: Tree) -> None:
    sensor = opened("rapl", tree(rapl()))
    assert (sensor.label, sensor.quantity, value(sensor)) == ("rapl: package-0 + dram + package-1", "energy_j", 0.0)
    tree(rapl(e0=5_000_000, e0_0=4_000_000, e0_1=1_000_000, e1=2_000_000, e2=9_000_000))
    assert value(sensor) == 8.0
    assert opened("rapl", tree({}), domains=("psys",)).label == "rapl: psys"


def test_rapl_begins_again_at_its_range(tree: Tree) -> None:
    sensor = opened("rapl", tree(rapl(e0=999_000_000, e1=500_000_000)))
    tree(rapl(e0=2_000_000, e1=501_000_000))
    assert value(sensor) == pytest.approx(4.0)
    assert value(sensor) == pytest.approx(4.0)  # a stale read adds nothing


def test_rapl_that_only_root_may_read_says_how_to_go_on(monkeypatch: pytest.MonkeyPatch, tree: Tree) -> None:
    """Whoever runs the tests: root can read every file, so the refusal is made up."""
    root, read_text = tree(rapl()), Path.read_text

    def refuse(path: Path, *args: Any, **kwargs: Any) -> str:
        if path.name == "energy_uj":
            raise PermissionError(13, "Permission denied", str(path))
        return read_text(path, *args, **kwargs)

    monkeypatch.setattr(Path, "read_text", refuse)
    with pytest.raises(UnavailableError, match=r"energy_uj may not be read: only root may .*sudo chmod -R a\+r"):
        opened("rapl", root)


def test_a_counter_that_vanishes_is_a_failed_measurement(tree: Tree) -> None:
    root = tree(rapl())
    sensor = opened("rapl", root)
    (root / f"{ZONE}0/energy_uj").unlink()
    with pytest.raises(MeasurementError, match="energy_uj cannot be read: No such file"):
        sensor.read()


# hwmon, Jetson, battery


def test_hwmon_takes_the_one_chip_there_is_and_its_pace(tree: Tree) -> None:
    chip = "sys/class/hwmon/hwmon1/"
    root = tree({"sys/class/hwmon/hwmon0/name": "cpu_temp", f"{chip}name": "ina226", f"{chip}power1_input": 2_500_000})
    tree({f"{chip}update_interval": 20, f"{chip}power1_label": "VIN"})
    sensor = opened("hwmon", root)
    assert (sensor.label, sensor.quantity, sensor.period_s) == ("hwmon: ina226 VIN", "power_w", 0.02)
    assert value(sensor) == 2.5
    tree({f"{chip}power1_input": "N/A"})
    with pytest.raises(MeasurementError, match="holds 'N/A', which is not a whole number"):
        sensor.read()


def test_hwmons_average_is_as_slow_as_what_it_is_over(tree: Tree) -> None:
    chip = "sys/class/hwmon/hwmon1/"
    root = tree({f"{chip}name": "power_meter", f"{chip}power1_average": 150_000_000})
    assert opened("hwmon", root).period_s == 0.1
    tree({f"{chip}power1_average_interval": 300_000})
    assert opened("hwmon", root).period_s == 300.0


def test_hwmon_prefers_energy_and_asks_which_chip(tree: Tree) -> None:
    first, second = "sys/class/hwmon/hwmon1/", "sys/class/hwmon/hwmon2/"
    root = tree({f"{first}name": "ina226", f"{first}energy1_input": 7_000_000, f"{first}power1_input": 1})
    sensor = opened("hwmon", root)
    tree({f"{first}energy1_input": 9_000_000})
    assert (sensor.quantity, value(sensor)) == ("energy_j", 2.0)
    tree({f"{first}energy1_input": 8_000_000})
    with pytest.raises(MeasurementError, match="counter fell from 9000000 to 8000000"):
        sensor.read()
    tree({f"{second}name": "ina226", f"{second}power1_average": 3_000_000})
    with pytest.raises(UnavailableError, match=r"several chips .* chip may be: ina226 \(hwmon1\), ina226 \(hwmon2\)"):
        opened("hwmon", root)
    assert value(opened("hwmon", root, chip="hwmon2")) == 3.0
    with pytest.raises(UnavailableError, match="no chip ltc2947 with power1"):
        opened("hwmon", root, chip="ltc2947")


def jetson(*rails: str) -> dict[str, Any]:
    files: dict[str, Any] = {}
    for number, rail in enumerate(rails, start=1):
        files |= {f"{JETSON}in{number}_label": rail, f"{JETSON}in{number}_input": 5000}
        files |= {f"{JETSON}curr{number}_input": 100 * number}
    return files


def test_jetson_takes_the_rail_of_the_whole_board_and_never_adds_by_itself(tree: Tree) -> None:
    root = tree(jetson("VDD_IN", "VDD_CPU_GPU_CV", "VDD_SOC"))
    sensor = opened("jetson", root)
    assert (sensor.label, value(sensor)) == ("jetson: VDD_IN", 0.5)
    tree(jetson("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"))
    with pytest.raises(UnavailableError, match=r"no rail of the whole board .* some of: VDD_GPU_SOC, VDD_CPU_CV"):
        opened("jetson", root)
    assert value(opened("jetson", root, rails=("VDD_GPU_SOC", "VIN_SYS_5V0"))) == pytest.approx(2.0)
    with pytest.raises(UnavailableError, match="no rail VDD_IN; give rails"):
        opened("jetson", root, rails=("VDD_IN",))


def battery(status: str = "Discharging", **numbers: int) -> dict[str, Any]:
    files = {f"{BATTERY}type": "Battery", f"{BATTERY}status": status, "sys/class/power_supply/AC/type": "Mains"}
    return files | {BATTERY + name: number for name, number in numbers.items()}


def test_battery_only_while_discharging(tree: Tree) -> None:
    root = tree(battery(current_now=-1_500_000, voltage_now=12_000_000))
    sensor = opened("battery", root)
    assert value(sensor) == pytest.approx(18.0)  # some drivers count discharging as negative
    tree(battery(status="Charging"))
    with pytest.raises(MeasurementError, match="BAT0 is Charging; unplug the charger"):
        sensor.read()
    with pytest.raises(UnavailableError, match="BAT0 is Charging; unplug the charger"):
        opened("battery", root)
    assert value(opened("battery", tree(battery(power_now=7_250_000)))) == 7.25


# Programs


def program(folder: Path, text: str, name: str = "meter") -> str:
    path = folder / name
    path.write_text(f"#!{sys.executable}\n" + textwrap.dedent(text))
    path.chmod(0o755)
    return str(path)


def test_rpi_pmic_sums_the_rails_that_have_current_and_voltage(tmp_path: Path) -> None:
    assert total_w(PMIC) == pytest.approx(0.0975975 * 3.719943 + 0.1756755 * 1.800548)
    assert total_w("vcgencmd: whatever") is None
    sensor = opened("rpi_pmic", program=program(tmp_path, f"print({PMIC!r})"))
    assert value(sensor) == pytest.approx(0.67936, rel=1e-4)


@pytest.mark.parametrize(
    ("printed", "message"),
    [
        ('error=1 error_msg="Command not registered"', "only the Raspberry Pi 5 has them"),
        ("Can't open device file: /dev/vcio", "sudo usermod -aG video"),
    ],
)
def test_rpi_pmic_on_another_board_or_without_permission(tmp_path: Path, printed: str, message: str) -> None:
    with pytest.raises(UnavailableError, match=message):
        opened("rpi_pmic", program=program(tmp_path, f"print({printed!r})"))


def read_for(sensor: Sensor, count: int) -> list[tuple[float, float]]:
    found: list[tuple[float, float]] = []
    end = time.monotonic() + 30
    while len(found) < count and time.monotonic() < end:
        found += sensor.read()
        time.sleep(0.005)
    return found


def test_a_command_prints_readings_on_its_own_clock(tmp_path: Path) -> None:
    printing = """
        import time
        print("# warming up\\n\\ntime_s,power_w", flush=True)
        for k in range(100000):
            print(f"{1000 + k * 0.01:.2f},{2 + k}", flush=True)
            time.sleep(0.01)
    """
    sensor = opened("command", command=(program(tmp_path, printing),), period_s=0.01)
    try:
        found = read_for(sensor, 5)
        now_s = time.monotonic_ns() / 1e9
        assert found[:2] == [(1000.0, 2.0), (1000.01, 3.0)]
        assert now_s - 30 < found[0][0] + sensor.shift_s() <= now_s
    finally:
        sensor.close()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import sys; sys.exit('no such bus')", r"ended with status 1: no such bus"),
        ("print('3.1 W', flush=True); import time; time.sleep(60)", r"printed '3\.1 W'; accepted: lines such as"),
        ("print('0,nan', flush=True); import time; time.sleep(60)", r"printed '0,nan'; accepted: lines such as"),
        ("import os, time; os.write(1, b'1,1\\n0,1\\n'); time.sleep(60)", r"its time went back from 1.0 to 0.0"),
    ],
)
def test_a_command_that_does_not_work(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UnavailableError, match=message):
        opened("command", command=(program(tmp_path, text),))


def test_a_command_that_ends_too_soon_is_a_failed_measurement(tmp_path: Path) -> None:
    sensor = opened("command", command=(program(tmp_path, "print('0,1', flush=True)"),))
    try:
        with pytest.raises(MeasurementError, match="ended with status 0"):
            read_for(sensor, 2)
    finally:
        sensor.close()


# Replay

TRACE = "# where it is from\ntime_s,power_w,running\n0,2,0\n0.1,2.2,0\n0.2,6,1\n0.3,7,1\n0.4,8,1\n"


def test_replay_plays_each_state_from_its_beginning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "t.csv").write_text(TRACE)
    now = [100.0]
    monkeypatch.setattr("devices.meters.replay.now_ns", lambda: now[0] * 1e9)
    sensor = opened("replay", trace=tmp_path / "t.csv")
    assert (sensor.flags, sensor.label, sensor.period_s) == (("replayed",), "replay: t.csv", pytest.approx(0.1))

    def later(seconds: float) -> float:
        now[0] += seconds
        return value(sensor)

    assert [later(0.05), later(0.1), later(0.1)] == [2.0, 2.2, 2.0]  # over again after 0.2 s
    sensor.running(True)
    assert [later(0.05), later(0.1), later(0.1), later(0.1)] == [6.0, 7.0, 8.0, 6.0]
    sensor.running(False)
    assert later(0.1) == 2.2  # idle goes on where it was: 0.25 s, then 0.35 s


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0,2\n", "line 1: given '0,2'; accepted: time_s,power_w,running, such as"),
        ("0,2,0\n0,2,0\n", "line 2: given '0,2,0'; accepted: .*times ascending"),
        ("0,2,0.5\n", "line 1: given '0,2,0.5'"),
        ("0,2,0\n1,2,0\n2,3,1\n", "holds no two readings in a row with running 1"),
    ],
)
def test_a_trace_that_cannot_be_replayed(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        opened("replay", trace=tmp_path / "t.csv")


# NVML


class _NotSupported(Exception):
    """As NVMLError, which makes the class that belongs to a code."""


def nvml(energy: bool, instant: bool, usage: bool, capability: int = 9) -> types.ModuleType:
    """The part of pynvml that the meter uses, of a GPU that supports what is asked for."""
    module = types.ModuleType("pynvml")

    def supported(yes: bool, found: Any) -> Any:
        def call(*_: Any) -> Any:
            if not yes:
                raise _NotSupported("Not Supported")
            return found() if callable(found) else found

        return call

    power = types.SimpleNamespace(nvmlReturn=0 if instant else 3, value=types.SimpleNamespace(uiVal=71_000))
    module.__dict__.update(
        NVMLError=_NotSupported,
        NVMLError_NotSupported=_NotSupported,
        NVMLError_InvalidArgument=_NotSupported,
        NVMLError_FunctionNotFound=_NotSupported,
        NVML_SUCCESS=0,
        NVML_FI_DEV_POWER_INSTANT=186,
        nvmlInit=lambda: None,
        nvmlShutdown=lambda: None,
        nvmlDeviceGetCount=lambda: 1,
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetHandleByUUID=lambda uuid: 7,
        nvmlDeviceGetIndex=lambda handle: handle,
        nvmlDeviceGetName=lambda handle: "Tegra",
        nvmlDeviceGetCudaComputeCapability=lambda handle: (capability, 0),
        nvmlDeviceGetTotalEnergyConsumption=supported(energy, lambda: int(time.monotonic() / 0.02) * 1000),
        nvmlDeviceGetFieldValues=lambda handle, fields: [power],
        nvmlDeviceGetPowerUsage=supported(usage, 70_000),
    )
    return module


@pytest.mark.parametrize(
    ("supports", "quantity", "found", "period_s"),
    [
        ((True, True, True, 9), "energy_j", 0.0, 0.02),
        ((False, True, True, 9), "power_w", 71.0, 0.1),
        ((False, False, True, 9), "power_w", 70.0, 1.0),  # an average over 1 s
        ((False, False, True, 6), "power_w", 70.0, 0.1),
    ],
)
def test_nvml_takes_the_best_that_a_read_shows_to_be_supported(
    monkeypatch: pytest.MonkeyPatch, supports: Any, quantity: str, found: float, period_s: float
) -> None:
    module = nvml(*supports)
    monkeypatch.setitem(sys.modules, "pynvml", module)
    sensor = opened("nvml")
    assert sensor.quantity == quantity
    if quantity == "energy_j":
        assert sensor.pace_s > 0 and sensor.period_s >= period_s  # a busy machine sees a step late
    else:
        assert (value(sensor), sensor.pace_s, sensor.period_s) == (found, 0.0, period_s)


def test_nvml_leaves_a_counter_that_stands_still(monkeypatch: pytest.MonkeyPatch) -> None:
    module = nvml(energy=True, instant=True, usage=True)
    module.__dict__["nvmlDeviceGetTotalEnergyConsumption"] = lambda _: 12_000
    monkeypatch.setattr("devices.meters.nvml._WATCHED_S", 0.1)
    monkeypatch.setitem(sys.modules, "pynvml", module)
    assert (opened("nvml").quantity, opened("nvml").pace_s) == ("power_w", 0.0)


def test_nvml_counts_at_the_pace_that_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    module = nvml(energy=True, instant=True, usage=True)
    monkeypatch.setitem(sys.modules, "pynvml", module)
    assert opened("nvml").pace_s > 0.019  # at worst: how late a busy machine sees a step is no matter of the meter
    given = opened("nvml", period_s=0.5)
    assert (given.pace_s, given.period_s) == (0.5, 0.1)


def test_nvml_reads_the_gpu_that_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", nvml(energy=True, instant=True, usage=True))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert opened("nvml").label == "nvml: GPU 0 Tegra"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,1")
    assert opened("nvml").label == "nvml: GPU 2 Tegra"
    assert opened("nvml", gpu=1).label == "nvml: GPU 1 Tegra"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-8f2c")
    assert opened("nvml").label == "nvml: GPU 7 Tegra"


def test_nvml_on_a_jetson_supports_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    module = nvml(energy=False, instant=False, usage=False)
    monkeypatch.setitem(sys.modules, "pynvml", module)
    with pytest.raises(UnavailableError, match="reports neither energy nor power; on a Jetson take the meter jetson"):
        opened("nvml")


# Meters of others


def test_a_meter_of_ones_own_in_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lab_meter.py").write_text(
        textwrap.dedent("""
            from dataclasses import dataclass
            from devices.meters import Sensor

            @dataclass(frozen=True)
            class Lab:
                watts: float
                def open(self):
                    read = lambda: [(0.0, self.watts)]
                    return Sensor(label="lab", quantity="power_w", period_s=0.1, read=read)
        """)
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert value(opened("lab_meter:Lab", watts=3.5)) == 3.5
    with pytest.raises(InputError, match=r"given <class .*Sensor.*; accepted: a dataclass with a method open"):
        opened("lab_meter:Sensor")
    with pytest.raises(InputError, match="has no object 'Other'"):
        opened("lab_meter:Other")


def test_a_module_of_a_package_is_an_object_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "a_lab"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "tower.py").write_text("height = 3")
    (package / "broken.py").write_text("import no_such_library")
    monkeypatch.syspath_prepend(tmp_path)
    assert registry.find("nas.spaces", "a_lab:tower").height == 3
    for name, words in (
        ("broken", "No module named 'no_such_library'"),
        ("gone", "has no object 'gone'"),
        ("gone.inner", "has no object 'gone.inner'"),
    ):
        with pytest.raises(InputError, match=words):
            registry.find("nas.spaces", f"a_lab:{name}")
