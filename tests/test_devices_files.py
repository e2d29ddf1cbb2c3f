"""ONNX files looked into, the agent as one file, and the calibration model's bytes."""

from __future__ import annotations

import ast
import hashlib
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import hypothesis
import numpy as np
import onnx
import pytest
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from devices import bundle, calibration, onnxfile
from profiles.errors import InputError, UnavailableError

DEVICES = Path(onnxfile.__file__).parent
CALIBRATION = DEVICES / "calibration.onnx"
SaveExternal = Callable[[str], Path]


@pytest.fixture
def external(tmp_path: Path) -> SaveExternal:
    """A model whose weight, in a subgraph's constant, is said to lie at the location given."""

    def save(location: str) -> Path:
        tensor = numpy_helper.from_array(np.ones(4, np.float32), "w")
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=location)
        tensor.external_data.add(key="length", value="16")
        inner = helper.make_graph(
            [helper.make_node("Constant", [], ["c"], value=tensor)],
            "inner",
            [],
            [helper.make_tensor_value_info("c", TensorProto.FLOAT, [4])],
        )
        node = helper.make_node("If", ["x"], ["y"], then_branch=inner, else_branch=inner)
        graph = helper.make_graph(
            [node],
            "outer",
            [helper.make_tensor_value_info("x", TensorProto.BOOL, [])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, [4])],
        )
        path = tmp_path / "models" / "m.onnx"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(helper.make_model(graph).SerializeToString())
        return path

    return save


def test_a_model_that_holds_its_own_weights() -> None:
    assert onnxfile.external_files(CALIBRATION) == []
    assert onnxfile.size_mb(CALIBRATION) == CALIBRATION.stat().st_size / 1e6
    assert onnxfile.digest(CALIBRATION) == hashlib.sha256(CALIBRATION.read_bytes()).hexdigest()


def test_external_weights_belong_to_the_model(external: SaveExternal) -> None:
    path = external("weights.bin")
    weights = path.parent / "weights.bin"
    weights.write_bytes(b"1" * 16)
    assert onnxfile.external_files(path) == [weights]
    before, size = onnxfile.digest(path), onnxfile.size_mb(path)
    assert size == (path.stat().st_size + 16) / 1e6
    weights.write_bytes(b"2" * 16)
    assert onnxfile.digest(path) != before


@pytest.mark.parametrize("location", ["../secret.bin", "/etc/passwd", "link.bin"])
def test_weights_outside_the_folder_are_refused(external: SaveExternal, location: str) -> None:
    path = external(location)
    (path.parent.parent / "secret.bin").write_bytes(b"1" * 16)
    (path.parent / "link.bin").symlink_to("../secret.bin")
    with pytest.raises(InputError, match=f"its weights lie in '{location}'; accepted: files in its own folder"):
        onnxfile.external_files(path)


def test_a_link_to_a_model_finds_its_weights(external: SaveExternal, tmp_path: Path) -> None:
    """Beside itself, as in the cache of Hugging Face, or beside its file."""
    path = external("w.bin")
    (path.parent / "d1").write_bytes(b"1" * 16)
    (tmp_path / "snapshot").mkdir()
    (tmp_path / "snapshot" / "m.onnx").symlink_to("../models/m.onnx")
    (tmp_path / "snapshot" / "w.bin").symlink_to("../models/d1")
    assert onnxfile.external_files(tmp_path / "snapshot" / "m.onnx") == [tmp_path / "snapshot" / "w.bin"]
    (tmp_path / "snapshot" / "w.bin").unlink()
    with pytest.raises(InputError, match=r"there is no 'w\.bin' beside it"):
        onnxfile.external_files(tmp_path / "snapshot" / "m.onnx")
    (path.parent / "d1").rename(path.parent / "w.bin")
    assert onnxfile.external_files(tmp_path / "snapshot" / "m.onnx") == [path.parent / "w.bin"]
    (tmp_path / "snapshot" / "w.bin").write_bytes(b"2" * 16)  # of another model: its file's own are meant
    assert onnxfile.external_files(tmp_path / "snapshot" / "m.onnx") == [path.parent / "w.bin"]
    (path.parent / "w.bin").unlink()
    (tmp_path / "snapshot" / "w.bin").unlink()
    (tmp_path / "secret").write_bytes(b"1" * 16)
    (tmp_path / "snapshot" / "w.bin").symlink_to("../secret")
    with pytest.raises(InputError, match=r"its weights lie in 'w\.bin'; accepted: files in its own folder"):
        onnxfile.external_files(tmp_path / "snapshot" / "m.onnx")


def test_missing_weights(external: SaveExternal) -> None:
    with pytest.raises(InputError, match=r"its weights are missing: there is no 'weights\.bin' beside it"):
        onnxfile.external_files(external("weights.bin"))


@pytest.mark.parametrize(
    "data", [b"", b"\0" * 100, b"PK\3\4 not a model", b"\x3a\xff\xff\xff\xff\xff\xff\xff\xff\x7f", b"\xff" * 64]
)
def test_what_is_no_model(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(data)
    with pytest.raises(InputError, match="not an ONNX file"):
        onnxfile.external_files(path)


@hypothesis.given(st.integers(1, CALIBRATION.stat().st_size - 1))
@hypothesis.settings(max_examples=30, suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture])
def test_a_model_cut_short_is_noticed_unless_only_its_last_fields_are_missing(tmp_path: Path, length: int) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(CALIBRATION.read_bytes()[:length])
    opset = len(b"\x42\x04\x0a\x00\x10\x0d")  # the field after the graph, as the file ends
    if length < CALIBRATION.stat().st_size - opset:
        with pytest.raises(InputError, match="not an ONNX file, or cut short"):
            onnxfile.external_files(path)


def test_absurd_nesting_ends_in_one_error(tmp_path: Path) -> None:
    def field(number: int, payload: bytes) -> bytes:
        size, length = len(payload), b""
        while size > 127:
            length += bytes([size & 127 | 128])
            size >>= 7
        return bytes([number << 3 | 2]) + length + bytes([size]) + payload

    graph = b""
    for _ in range(200):
        graph = field(1, field(5, field(6, graph)))
    path = tmp_path / "m.onnx"
    path.write_bytes(field(7, graph))
    with pytest.raises(InputError, match="nested too deep"):
        onnxfile.external_files(path)


def test_the_calibration_model_is_what_its_module_builds() -> None:
    assert calibration.build() == CALIBRATION.read_bytes()
    assert calibration.build_empty() == (DEVICES / "empty.onnx").read_bytes()
    onnx.checker.check_model(onnx.load(CALIBRATION), full_check=True)


def test_the_calibration_model_never_changes() -> None:
    """Every calibrated latency ever stored is relative to these bytes."""
    assert bundle.calibration_digest() == "36dc7a6a5275cb0fa75cc9cd117d7efc6cb05a40d557575b491c557150b17df4"


# The agent as one file


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "hwnas"


def test_the_agent_is_built_once_and_mended(cache: Path) -> None:
    path = bundle.build_agent()
    assert path.parent == cache
    assert path.name == f"agent-{hashlib.sha256(path.read_bytes()).hexdigest()[:16]}.pyz"
    before = path.stat().st_ino
    assert bundle.build_agent() == path
    assert path.stat().st_ino == before
    path.write_bytes(b"half a file")
    assert bundle.build_agent().read_bytes() == bundle.agent_bytes()
    (cache / "agent-0.pyz").write_bytes(b"of an older version")
    os.utime(cache / "agent-0.pyz", (0, 0))
    os.utime(path, (0, 0))
    assert bundle.build_agent() == path
    assert [file.name for file in cache.iterdir()] == [path.name]


def test_the_agent_unpacks_itself_for_its_workers_and_mends_what_was_cut_off(cache: Path) -> None:
    path = bundle.build_agent()
    folder = path.with_suffix("")

    def start() -> bytes:
        return subprocess.run([sys.executable, path], stdin=subprocess.DEVNULL, capture_output=True, check=True).stdout

    assert start() == b"\n"
    with zipfile.ZipFile(path) as archive:
        whole = {name: archive.read(name) for name in archive.namelist()}
    assert {name: (folder / name).read_bytes() for name in whole} == whole
    (folder / "devices" / "worker.py").write_bytes(b"")
    (folder / "devices" / "agent.py").write_bytes(b"")
    (folder / "devices" / "blocks.py").unlink()
    assert start() == b"\n"
    assert {name: (folder / name).read_bytes() for name in whole} == whole
    assert sorted(cache.iterdir()) == [folder, path]


def test_a_cache_folder_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(UnavailableError, match=r"the agent cannot be written: .*; set XDG_CACHE_HOME"):
        bundle.build_agent()


def test_the_bundle_imports_nothing_but_the_standard_library_and_numpy(cache: Path) -> None:
    """Run from the bundle alone, outside the checkout, with every other package refused."""
    path = bundle.build_agent()
    with zipfile.ZipFile(path) as archive:
        modules = [name.removesuffix(".py").replace("/", ".") for name in archive.namelist() if name.endswith(".py")]
    modules = [name.removesuffix(".__init__") for name in modules if name != "__main__"]
    # An engine imports its own package, when a target asks for it.
    engines = {"devices.engines", "devices.engines.null"}
    modules = [name for name in modules if not name.startswith("devices.engines") or name in engines]
    assert {"devices.passes", "devices.engines.null", "profiles.records"} <= set(modules)
    program = (
        "import sys, importlib\n"
        f"sys.path[:] = [{str(path)!r}] + [p for p in sys.path if p]\n"
        "class Refuse:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] not in {*sys.stdlib_module_names, 'numpy', 'devices', 'profiles'}:\n"
        "            raise ImportError('refused: ' + name)\n"
        "sys.meta_path.insert(0, Refuse())\n"
        f"for name in {modules!r}: importlib.import_module(name)\n"
        "print(importlib.import_module('devices.passes').__file__)\n"
    )
    ran = subprocess.run([sys.executable, "-c", program], cwd=cache, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.startswith(str(path))


def test_the_bundle_is_python_3_10() -> None:
    with zipfile.ZipFile(bundle.build_agent()) as archive:
        for name in archive.namelist():
            if name.endswith(".py"):
                ast.parse(archive.read(name), name, feature_version=(3, 10))
