"""What goes wrong ends in one clear line, exit code 2 or 3, and no number: each fault through the installed command."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

HWNAS = Path(sys.executable).parent / "hwnas"
WEIGHT = np.random.default_rng(0).standard_normal((4, 4)).astype(np.float32)


def model(path: Path, *nodes: Any, dims: tuple[Any, ...] = ("batch", 4)) -> str:
    """y = x @ w unless told otherwise."""
    nodes = nodes or (helper.make_node("MatMul", ["x", "w"], ["y"]),)
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, dims)
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph(list(nodes), "g", [x], [y], [numpy_helper.from_array(WEIGHT, "w")])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return str(path)


def external(path: Path, location: str) -> str:
    proto = onnx.load(model(path))
    tensor = proto.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    path.write_bytes(proto.SerializeToString())
    return str(path)


def raw(path: Path, data: bytes) -> str:
    path.write_bytes(data)
    return str(path)


def npz(path: Path, **arrays: Any) -> str:
    np.savez(path, **arrays)
    return str(path)


def fleet(folder: Path, device: str = "", target: str = "") -> list[str]:
    path = folder / "fleet.toml"
    path.write_text(f'[devices.d]\ntransport = "local"\n{device}\n[targets.t]\ndevice = "d"\n{target}\n')
    return ["--fleet", str(path), "--target", "t"]


def python(folder: Path, script: str) -> str:
    """A device whose Python is a shell script."""
    path = folder / "python.sh"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return f'python = "{path}"'


def backwards(folder: Path) -> str:
    """A device whose clock jumps back by a second with every reading."""
    (folder / "sitecustomize.py").write_text(
        "import itertools, time\nticks = itertools.count(10**15, -10**9)\ntime.perf_counter_ns = lambda: next(ticks)\n"
    )
    return python(folder, f'PYTHONPATH="{folder}" exec "{sys.executable}" "$@"')


def nan() -> tuple[Any, ...]:
    square = helper.make_node("Mul", ["x", "x"], ["s"])
    return square, helper.make_node("Neg", ["s"], ["n"]), helper.make_node("Sqrt", ["n"], ["y"])


def infinite() -> tuple[Any, ...]:
    return helper.make_node("Sub", ["x", "x"], ["zero"]), helper.make_node("Div", ["x", "zero"], ["y"])


Fault = tuple[int, str, Callable[[Path], list[str]]]

FAULTS: dict[str, Fault] = {
    # Files
    "no file": (2, "there is no such model file", lambda d: ["profile", str(d / "absent.onnx")]),
    "a mistyped name": (2, "nor is it a reference model: ", lambda d: ["profile", "resnet8", "resnet"]),
    "empty file": (2, "it is empty", lambda d: ["profile", raw(d / "m.onnx", b"")]),
    "truncated": (
        2,
        "not an ONNX file, or cut short",
        lambda d: ["profile", raw(d / "n.onnx", Path(model(d / "m.onnx")).read_bytes()[:-9])],
    ),
    "text": (2, "not an ONNX file, or cut short", lambda d: ["profile", raw(d / "m.onnx", b"<html>404</html>\n")]),
    "absurd header": (
        2,
        "not an ONNX file, or cut short",
        lambda d: ["profile", raw(d / "m.onnx", b"\x3a" + b"\xff" * 8 + b"\x7f" + b"x" * 40)],
    ),
    "weights missing": (2, "its weights are missing", lambda d: ["profile", external(d / "m.onnx", "w.bin")]),
    "weights outside": (
        2,
        "accepted: files in its own folder",
        lambda d: ["profile", external(d / "m.onnx", "../../etc/passwd")],
    ),
    "unknown operator": (
        2,
        "cannot load it",
        lambda d: ["profile", model(d / "m.onnx", helper.make_node("Nothing", ["x"], ["y"]))],
    ),
    "a folder": (2, "given a folder; accepted: a model file", lambda d: ["compare", str(d), str(d)]),
    "a file with a colon": (2, "x:y.onnx: there is no such model file", lambda d: ["profile", str(d / "x:y.onnx")]),
    # Outputs
    "NaN": (3, "are NaN or infinite", lambda d: ["profile", model(d / "m.onnx", *nan())]),
    "infinity": (
        3,
        "are NaN or infinite",
        lambda d: ["compare", model(d / "m.onnx"), model(d / "n.onnx", *infinite()), "--budget", "1s"],
    ),
    # Options
    "no such target": (2, "no target named 'pi5'", lambda d: ["profile", model(d / "m.onnx"), "--target", "pi5"]),
    "within nothing": (2, "--within: given '0%'", lambda d: ["profile", model(d / "m.onnx"), "--within", "0%"]),
    "no unit": (2, "--budget: given '30'", lambda d: ["profile", model(d / "m.onnx"), "--budget", "30"]),
    "malformed shape": (2, "--shape: given 'x=1,4'", lambda d: ["profile", model(d / "m.onnx"), "--shape", "x=1,4"]),
    "wrong shape": (2, "accepted: a shape that fits", lambda d: ["profile", model(d / "m.onnx"), "--shape", "x=1x5"]),
    "open shape": (
        2,
        "[batch, n]; give sizes, such as --shape x=1x128",
        lambda d: ["profile", model(d / "m.onnx", dims=("batch", "n"))],
    ),
    "no batch": (2, "the batch, above 0", lambda d: ["profile", model(d / "m.onnx"), "--shape", "x=0x4"]),
    "two batches": (
        2,
        "given 8 of --shape and 2 of --batch",
        lambda d: ["profile", model(d / "m.onnx"), "--shape", "x=8x4", "--batch", "2"],
    ),
    "the batch of a file": (
        2,
        "batch: given 8; accepted: 1, to which the model fixes it",
        lambda d: [
            *("profile", model(d / "m.onnx", dims=(1, 4)), "--batch", "8"),
            *("--inputs", npz(d / "x.npz", x=np.ones((8, 4), np.float32))),
        ],
    ),
    "a shape of none": (
        2,
        "--shape z: none of the models has such an input",
        lambda d: ["compare", model(d / "m.onnx"), model(d / "n.onnx"), "--shape", "z=1x4"],
    ),
    "a short time": (2, "--timeout: given '1ms'", lambda d: ["profile", model(d / "m.onnx"), "--timeout", "1ms"]),
    "no interval": (2, "--interval-ms: given nan", lambda d: ["profile", model(d / "m.onnx"), "--interval-ms", "nan"]),
    "no inputs": (2, "there is no such file", lambda d: ["profile", model(d / "m.onnx"), "--inputs", str(d / "x.npz")]),
    "other inputs": (
        2,
        "accepted: float32",
        lambda d: ["profile", model(d / "m.onnx"), "--inputs", npz(d / "x.npz", x=np.ones((1, 4)))],
    ),
    "pickled inputs": (
        2,
        "not a readable .npz file",
        lambda d: ["profile", model(d / "m.onnx"), "--inputs", npz(d / "x.npz", x=np.array([{}], dtype=object))],
    ),
    "sweep": (2, "--sweep: given 'cores=2'", lambda d: ["profile", model(d / "m.onnx"), "--sweep", "cores=2"]),
    "no callers": (2, "--callers: given 0", lambda d: ["profile", model(d / "m.onnx"), "--callers", "0"]),
    "one to compare": (2, "given one MODEL", lambda d: ["compare", model(d / "m.onnx")]),
    "fail on what": (
        2,
        "accepted: regressed, improved, same, undecided",
        lambda d: ["compare", *[model(d / "m.onnx")] * 2, "--fail-on", "slow"],
    ),
    "no module": (2, "cannot import nowhere", lambda d: ["profile", "nowhere:net", "--shape", "input=1x4"]),
    "no shape": (2, "give the shape of its one input", lambda d: ["profile", "torch.nn:ReLU"]),
    # Devices
    "no provider": (
        3,
        "provider warp is not in this onnxruntime",
        lambda d: ["profile", model(d / "m.onnx"), *fleet(d, target='provider = "warp"')],
    ),
    "no such engine": (
        2,
        "targets.t.engine",
        lambda d: ["profile", model(d / "m.onnx"), *fleet(d, target='engine = "magic"')],
    ),
    "no Python": (
        3,
        "the agent cannot be started",
        lambda d: ["profile", model(d / "m.onnx"), *fleet(d, device='python = "/nowhere/python"')],
    ),
    "no CUDA in this onnxruntime": (
        3,
        "gpu: provider cuda is not in this onnxruntime",
        lambda d: ["compare", model(d / "m.onnx"), *two(d, 'provider = "cuda"')],
    ),
    "no TensorRT in this onnxruntime": (
        3,
        "pip install onnxruntime-gpu in place of onnxruntime",
        lambda d: ["compare", model(d / "m.onnx"), *two(d, 'provider = "tensorrt"')],
    ),
    "no CUDA device": (
        3,
        "finds no CUDA device here; with an NVIDIA GPU and its driver: pip install",
        lambda d: ["compare", "dscnn", *two(d, 'engine = "torch"\nprovider = "cuda"')],
    ),
    "no Torch-TensorRT": (
        3,
        "engine torch_tensorrt needs the package torch_tensorrt: pip install torch_tensorrt",
        lambda d: ["compare", "dscnn", *two(d, 'engine = "torch_tensorrt"\nprovider = "tensorrt"', without(d))],
    ),
    "no OpenVINO": (
        3,
        "engine openvino needs the package openvino: pip install openvino",
        lambda d: ["compare", model(d / "m.onnx"), *two(d, 'engine = "openvino"', without(d))],
    ),
    "child killed": (
        3,
        "was killed by SIGKILL",
        lambda d: [
            "profile",
            model(d / "m.onnx"),
            *fleet(d, python(d, f'export PYTHONPATH="{d}"; exec "{sys.executable}" "$@"') + killer(d)),
        ],
    ),
    "child hung": (
        3,
        "did not end within 0.5 s and was killed",
        lambda d: [
            "profile",
            model(d / "m.onnx"),
            *fleet(d, target='engine = "null"\nprovider = "9999999ms"'),
            "--timeout",
            "500ms",
        ],
    ),
    "only noise": (
        3,
        "the connection ended",
        lambda d: ["profile", model(d / "m.onnx"), *fleet(d, python(d, 'echo \'{"id": 1, "done"\'; echo hello'))],
    ),
    "clock jump": (
        3,
        "the clock of this machine went backwards",
        lambda d: ["compare", *[model(d / "m.onnx")] * 2, *fleet(d, backwards(d))],
    ),
    "store in a file's place": (
        2,
        "m.onnx/s.db: there is no folder",
        lambda d: ["profile", model(d / "m.onnx"), "--store", str(d / "m.onnx" / "s.db")],
    ),
    "store unknown": (2, "--store: given warp://x", lambda d: ["profile", model(d / "m.onnx"), "--store", "warp://x"]),
    "import of something else": (
        2,
        "line 2: not a profile",
        lambda d: ["store", "import", raw(d / "x.csv", b"a,b\n1,2\n")],
    ),
}


def two(folder: Path, target: str, device: str = "") -> list[str]:
    """The base is a target that cannot run here; the other is never reached."""
    found = fleet(folder, device)
    text = f'[targets.gpu]\ndevice = "d"\n{target}\n'
    (folder / "fleet.toml").write_text((folder / "fleet.toml").read_text() + text)
    return [*found, "--target", "gpu", "--base", "gpu"]


def without(folder: Path) -> str:
    """A device whose Python has neither OpenVINO nor Torch-TensorRT."""
    hidden = "import sys\nsys.modules.update(dict.fromkeys(['openvino', 'torch_tensorrt']))\n"
    (folder / "sitecustomize.py").write_text(hidden)
    return python(folder, f'PYTHONPATH="{folder}" exec "{sys.executable}" "$@"')


def killer(folder: Path) -> str:
    """Every worker of the device ends as if the kernel had run out of memory."""
    (folder / "sitecustomize.py").write_text(
        "import os, sys\nif 'worker' in sys.orig_argv:\n    os.kill(os.getpid(), 9)\n"
    )
    return ""


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_one_line_an_exit_code_and_no_number(name: str, tmp_path: Path) -> None:
    code, message, arguments = FAULTS[name]
    done = run(arguments(tmp_path), tmp_path)
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    (line,) = [each for each in done.stderr.splitlines() if "first use here" not in each]
    assert line.startswith("hwnas: ")
    assert message in line


def test_no_disk_for_the_agent(tmp_path: Path) -> None:
    done = run(["profile", model(tmp_path / "m.onnx")], tmp_path, XDG_CACHE_HOME="/dev/null/x")
    assert (done.returncode, done.stdout) == (3, "")
    assert "the agent cannot be written" in done.stderr


def test_noise_on_stdout_does_no_harm(tmp_path: Path) -> None:
    noisy = python(tmp_path, f'echo "Welcome"; exec "{sys.executable}" "$@"')
    models = [model(tmp_path / f"{name}.onnx") for name in "ab"]
    done = run(["compare", *models, *fleet(tmp_path, noisy), "--budget", "1s", "--json"], tmp_path)
    assert done.returncode == 0, done.stderr
    assert '"verdict"' in done.stdout


def run(arguments: list[str], folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """In a folder, with a lock of its own, so that tests run side by side."""
    own = {"HWNAS_LOCK": str(folder / "lock"), "PYTHONPATH": os.environ.get("PYTHONPATH", "")} | environment
    return subprocess.run(
        [str(HWNAS), *arguments], cwd=folder, capture_output=True, text=True, env=os.environ | own, timeout=100
    )
