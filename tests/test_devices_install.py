"""What is sent to a new host, with an index of our own and this machine as the host."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from devices import install
from devices.transports.ssh import Device
from profiles.errors import UnavailableError

SSH = """#!/bin/sh
# Stands for ssh: runs the words after the host here, by a shell, in a home of its own.
while [ "$1" != -- ]; do shift; done
exec sh -c "$3"
"""
DIES = "import os, signal; os.kill(os.getpid(), signal.SIGILL)\n"


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Device:
    """A host behind a program named ssh; pip finds the wheels in ``tmp_path / "index"`` and nothing else."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "ssh").write_text(SSH)
    (tmp_path / "bin" / "ssh").chmod(0o755)
    (tmp_path / "index").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    monkeypatch.delenv("PYTHONPATH", raising=False)
    _wheel(tmp_path / "index", "numpy", "2.0", "")
    return Device(host="board", python=sys.executable)


def test_a_version_that_dies_gives_way_to_an_older_one(host: Device, tmp_path: Path) -> None:
    for version, code in (("1.2", DIES), ("1.1", "__version__ = '1.1'\n"), ("1.0", "")):
        _wheel(tmp_path / "index", "onnxruntime", version, code)
    told: list[str] = []
    assert install.install(host, told.append) == "1.1"
    assert "onnxruntime 1.2 dies there with signal 4; trying an older one" in told
    folder = tmp_path / "home/.local/share/hwnas"
    (packages,) = folder.glob("packages-*")
    assert "1.1" in (packages / "onnxruntime/__init__.py").read_text()


def test_a_version_that_cannot_be_imported_leaves_what_works(host: Device, tmp_path: Path) -> None:
    _wheel(tmp_path / "index", "onnxruntime", "1.0", "__version__ = '1.0'\n")
    install.install(host, lambda line: None)
    before = _installed(tmp_path)
    _wheel(tmp_path / "index", "onnxruntime", "2.0", "raise ImportError('libfoo.so is missing')\n")
    with pytest.raises(UnavailableError, match=r"onnxruntime 2\.0 cannot be imported"):
        install.install(host, lambda line: None)
    assert _installed(tmp_path) == before == "1.0"
    _wheel(tmp_path / "index", "onnxruntime", "3.0", "__version__ = '3.0'\n")
    install.install(host, lambda line: None)
    assert _installed(tmp_path) == "3.0"
    assert len(list((tmp_path / "home/.local/share/hwnas").glob("packages-*"))) == 1


def test_an_environment_of_another_python_is_made_anew(host: Device, tmp_path: Path) -> None:
    """As an upgrade of the system leaves it: bin/python is a newer one than it was made with."""
    _wheel(tmp_path / "index", "onnxruntime", "1.0", "__version__ = '1.0'\n")
    install.install(host, lambda line: None)
    folder = tmp_path / "home/.local/share/hwnas"
    (settings,) = folder.glob("pyvenv.cfg")
    settings.write_text(re.sub(r"(?m)^version = .*", "version = 3.9.2", settings.read_text()))
    (library,) = (folder / "lib").iterdir()
    library.rename(folder / "lib" / "python3.9")
    install.install(host, lambda line: None)
    assert _installed(tmp_path) == "1.0"
    assert [path.name for path in (folder / "lib").iterdir()] == [library.name]


def test_packages_are_told_apart_by_what_they_are_for(tmp_path: Path) -> None:
    (tmp_path / "numpy-2.0.dist-info").mkdir()
    probes: list[dict[str, object]] = [
        {"version": [3, 10], "machine": "x86_64"},
        {"version": [3, 12], "machine": "x86_64"},
        {"version": [3, 12], "machine": "aarch64"},
    ]
    assert len({install._digest(tmp_path, probe) for probe in probes}) == 3


def test_a_host_without_that_python_and_a_machine_without_pip(
    host: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = host.model_copy(update={"python": "python3.99"})
    with pytest.raises(UnavailableError) as caught:
        install.install(missing, lambda line: None)
    assert str(caught.value) == "there is no python3.99 on board; accepted: Python 3.10 or later, see --python"
    bare = tmp_path / "bin" / "bare"
    bare.write_text(f'#!/bin/sh\nshift 2\nexec {sys.executable} -I -S -m pip "$@"\n')
    bare.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(bare))
    with pytest.raises(UnavailableError, match=r"^this machine's Python has no pip: python -m ensurepip$"):
        install.install(host, lambda line: None)


def test_none_that_runs_and_none_for_this_machine(host: Device, tmp_path: Path) -> None:
    with pytest.raises(
        UnavailableError, match=r"no numpy and onnxruntime for Python 3\.\d+ on .*: Could not find a ver"
    ):
        install.install(host, lambda line: None)
    _wheel(tmp_path / "index", "onnxruntime", "1.0", "raise ImportError('libfoo.so is missing')\n")
    with pytest.raises(UnavailableError, match=r"onnxruntime 1\.0 cannot be imported: ImportError: libfoo"):
        install.install(host, lambda line: None)


@pytest.mark.parametrize(
    ("probe", "first", "count"),
    [
        ({"machine": "aarch64", "libc": ["glibc", "2.31"]}, "manylinux_2_31_aarch64", 31),
        ({"machine": "x86_64", "libc": ["", ""]}, "musllinux_1_2_x86_64", 2),
    ],
)
def test_the_wheels_that_a_c_library_can_load(probe: dict[str, object], first: str, count: int) -> None:
    tags = install._platforms(probe)
    assert tags[0] == first
    assert len(tags) == count


def _installed(tmp_path: Path) -> str:
    """The version of onnxruntime that the environment there imports."""
    python = tmp_path / "home/.local/share/hwnas/bin/python"
    words = [python, "-c", "import onnxruntime; print(onnxruntime.__version__)"]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()


def _wheel(index: Path, name: str, version: str, code: str) -> None:
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(index / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{name}/__init__.py", code)
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
