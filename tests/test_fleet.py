"""The fleet file, and what there is without one."""

from __future__ import annotations

from pathlib import Path

import pydantic
import pytest

from devices.fleet import load_fleet
from profiles import registry
from profiles.errors import InputError
from profiles.records import Target


def test_without_a_file_there_is_this_machine() -> None:
    fleet = load_fleet()
    assert fleet.target("local") == Target(name="local", device="local")
    assert fleet.device("local") is not None
    changed = fleet.target("local", {"threads": 2, "batch": None, "precision": None})
    assert changed == Target(name="local", device="local", threads=2)


def test_a_file(tmp_path: Path) -> None:
    path = tmp_path / "fleet.toml"
    path.write_text("""
        [devices.old]
        transport = "local"
        python = "/opt/py/bin/python"
        [targets.old-2]
        device = "old"
        threads = 2
    """)
    fleet = load_fleet(path, {"targets.old-2.batch": "4"})
    assert fleet.target("old-2") == Target(name="old-2", device="old", threads=2, batch=4)
    assert sorted(fleet.targets) == ["local", "old-2"]
    assert "/opt/py/bin/python" in str(fleet.device("old"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[devices.a]\ntransport = "pigeon"', "devices.a.transport: given 'pigeon'; accepted: {transports}"),
        ('[devices.a]\nhost = "x"', "devices.a.host: unknown key; accepted: python"),
        (
            '[devices.a]\npython = "~nosuchuser/py"',
            "devices.a.python: given '~nosuchuser/py'; accepted: a path; this machine has no user of that name",
        ),
        (
            '[devices.a]\ntransport = "ssh"\nhost = "x"\nconfig = "~nosuchuser/x"',
            "devices.a.config: given '~nosuchuser/x'; accepted: a path; this machine has no user of that name",
        ),
        ('[devices.a]\ntransport = "local"\nhost = "x"', "devices.a.host: unknown key; accepted: python"),
        ('[devices.a]\ntransport = "local"\npool = "local"', "devices.a.pool: given 'local'; accepted: {a_pool}"),
        ('[devices.a]\ntransport = "local"\npool = 3', "devices.a.pool: given 3; accepted: {a_pool}"),
        ("devices = 3", "devices: given 3; accepted: a table"),
        ('[targets.a]\nengine = "magic"', "targets.a.engine: given 'magic'; accepted: {engines}"),
        ('[targets.a]\ndevice = "pi5"', "targets.a.device: given 'pi5'; accepted: local"),
        ("[targets.a]\nthreads = 0", "targets.a.threads: given 0; accepted: greater than or equal to 1"),
        ('[targets.a]\nprecision = "int4"', "targets.a.precision: given 'int4'; accepted: 'fp32', 'fp16' or 'int8'"),
        (
            "[targets.a]\nthread = 1",
            "targets.a.thread: unknown key, did you mean threads?; "
            "accepted: device, engine, provider, precision, threads, batch, transfers, max_fallback, python, boards",
        ),
        ("[target.a]", "target: unknown key, did you mean targets?; accepted: devices, targets"),
    ],
)
def test_each_mistake_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "fleet.toml"
    path.write_text(text)
    known = {kind: ", ".join(registry.names(f"devices.{kind}")) for kind in ("engines", "transports")}
    known["a_pool"] = "a name that no other device has"
    with pytest.raises(InputError) as caught:
        load_fleet(path)
    assert str(caught.value) == f"{path}: {message.format(**known)}"


def test_a_path_in_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ann")
    path = tmp_path / "fleet.toml"
    path.write_text("""
        [devices.here]
        python = "~/py"
        [devices.phone]
        transport = "adb"
        runner = "~/runner"
        library = "lib.so"
        adb = "~/sdk/adb"
    """)
    fleet = load_fleet(path)
    assert vars(fleet.devices["here"]) == {"python": "/home/ann/py"}  # local is the default
    phone = vars(fleet.devices["phone"])
    assert (phone["runner"], phone["library"], phone["adb"]) == (
        Path("/home/ann/runner"),
        tmp_path / "lib.so",
        "/home/ann/sdk/adb",
    )


def test_a_pool(tmp_path: Path) -> None:
    path = tmp_path / "fleet.toml"
    boards = "".join(f'[devices.{name}]\ntransport = "null"\npool = "pi5"\n' for name in ("a", "b"))
    path.write_text(boards + '[targets.any]\ndevice = "pi5"\n[targets.slowest]\ndevice = "pi5"\nboards = "worst"\n')
    fleet = load_fleet(path)
    assert fleet.boards("pi5") == ("a", "b")
    assert fleet.boards("a") == ("a",)
    assert fleet.worst == {"slowest"}
    assert fleet.target("slowest", {"threads": 2}) == Target(name="slowest", device="pi5", threads=2)


def test_an_unknown_target_and_a_wrong_override() -> None:
    fleet = load_fleet()
    with pytest.raises(InputError, match="without a fleet file: no target named 'pi5'; there are: local"):
        fleet.target("pi5")
    with pytest.raises(InputError, match="target local: threads: given 0"):
        fleet.target("local", {"threads": 0})


@pytest.mark.parametrize("name", registry.names("devices.transports"))
def test_a_transport_names_its_keys_and_has_the_methods(name: str) -> None:
    device = registry.find("devices.transports", name).Device
    assert issubclass(device, pydantic.BaseModel)
    assert device.model_config["extra"] == "forbid"
    assert device.model_config["frozen"]
    assert all(callable(getattr(device, method)) for method in ("start", "explain"))
    assert isinstance(device.shares_files, bool)
