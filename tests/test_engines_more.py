"""What is particular to OpenVINO and torch; which file a target runs; nodes that fell back; an engine of one's own."""

from __future__ import annotations

import dataclasses
import importlib
import io
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from devices import fallback, inputs, measure
from devices.artifact import prepare
from devices.convert import RANDOM_CALIBRATION
from devices.engines import Engine
from devices.engines._ort_trace import operators_of
from devices.fleet import load_fleet
from devices.plan import Job, Plan
from devices.session import Session, connect
from profiles import registry
from profiles.errors import InputError, MeasurementError, UnavailableError
from profiles.records import Profile, Target

CALIBRATION = Path(inputs.__file__).parent / "calibration.onnx"
PROGRAM = CALIBRATION.with_suffix(".pt2")
CPU = Target(name="t", device="local")
TORCH = dataclasses.replace(CPU, engine="torch")
OPENVINO = dataclasses.replace(CPU, engine="openvino")
QUICK = Plan(processes=2, groups=2, block_ms=2.0, warm_up_ms=1.0)


def _engine(name: str) -> Engine:
    try:
        engine: Engine = registry.find("devices.engines", name)
    except UnavailableError as error:
        pytest.skip(str(error))
    return engine


def _answer(target: Target, model: Path) -> Any:
    loaded = _engine(target.engine).load(model, target)
    loaded.bind({"input": np.random.default_rng(0).standard_normal((2, 3, 80, 80)).astype(np.float32)})
    loaded.run()
    return next(iter(loaded.outputs().values()))


def test_torch_refuses_an_onnx_file_and_says_what_it_takes() -> None:
    with pytest.raises(InputError, match=r"torch cannot run an ONNX file; accepted: an exported program \(\.pt2\)"):
        _engine("torch").load(CALIBRATION, TORCH)
    with pytest.raises(InputError, match="not an exported program of torch"):
        _engine("torch").load(CALIBRATION.read_bytes(), TORCH)


def test_products_of_8_bits_do_not_saturate(tmp_path: Path) -> None:
    """64 x 255 x 127, of which two terms alone are more than 16 bits hold: the usual kernels of AVX2 clip there."""
    scale, zero = numpy_helper.from_array(np.float32(1), "scale"), numpy_helper.from_array(np.uint8(0), "zero")
    weights = numpy_helper.from_array(np.full((64, 8), 127, np.int8), "w")
    signed = numpy_helper.from_array(np.int8(0), "signed")
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["xq"]),
        helper.make_node("DequantizeLinear", ["xq", "scale", "zero"], ["xd"]),
        helper.make_node("DequantizeLinear", ["w", "scale", "signed"], ["wd"]),
        helper.make_node("MatMul", ["xd", "wd"], ["y"]),
    ]
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, d) for n, d in (("x", [1, 64]), ("y", [1, 8])))
    graph = helper.make_graph(nodes, "g", [x], [y], [scale, zero, weights, signed])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), tmp_path / "m.onnx")
    loaded = _engine("onnxruntime").load(tmp_path / "m.onnx", dataclasses.replace(CPU, precision="int8"))
    loaded.bind({"x": np.full((1, 64), 255, np.float32)})
    loaded.run()
    assert np.allclose(loaded.outputs()["y"], 64 * 255 * 127, rtol=1e-3)


def test_onnxruntime_refuses_a_program_and_says_what_it_takes() -> None:
    with pytest.raises(InputError, match="given an exported program of torch; accepted by ONNX Runtime: an ONNX file"):
        _engine("onnxruntime").load(PROGRAM, CPU)


@pytest.mark.parametrize("place", ["weights", "sample_inputs"])
def test_a_program_with_pickled_parts_is_refused_before_it_is_read(place: str) -> None:
    changed = io.BytesIO()
    with zipfile.ZipFile(PROGRAM) as archive, zipfile.ZipFile(changed, "w") as copy:
        for name in archive.namelist():
            data = archive.read(name)
            if place == "weights" and name.endswith("weights_config.json"):
                data = data.replace(b'"use_pickle": false', b'"use_pickle": true').replace(
                    b'"use_pickle":false', b'"use_pickle":true'
                )
            if place == "sample_inputs" and "/sample_inputs/" in name:
                data = b"cos\nsystem\n(S'touch /tmp/hwnas-was-here'\ntR."
            copy.writestr(name, data)
    with pytest.raises(InputError, match="is pickled and could execute anything"):
        _engine("torch").load(changed.getvalue(), TORCH)


def test_providers_with_a_thread_pool_of_their_own_are_told_the_threads() -> None:
    settings = _engine("onnxruntime")._settings  # type: ignore[attr-defined]
    two = dataclasses.replace(CPU, threads=2)
    assert settings(dataclasses.replace(two, provider="openvino")) == {"num_of_threads": "2"}
    assert settings(dataclasses.replace(two, provider="xnnpack")) == {"intra_op_num_threads": "2"}
    assert settings(two) == {}


def test_torch_in_another_precision_and_compiled() -> None:
    expected = _answer(TORCH, PROGRAM)
    np.testing.assert_allclose(expected, _answer(CPU, CALIBRATION), atol=1e-4)
    half = _answer(dataclasses.replace(TORCH, precision="fp16"), PROGRAM)
    assert half.dtype == np.float32
    assert 0 < np.abs(half - expected).max() < 1e-2 * np.abs(expected).max()
    with pytest.raises(InputError, match=r"engine torch: precision: given 'int8'; accepted: fp32, fp16 \(int8 files"):
        _engine("torch").load(PROGRAM, dataclasses.replace(TORCH, precision="int8"))


@pytest.mark.parametrize(
    ("node", "kind"),
    [
        (helper.make_node("Cast", ["x"], ["y"], to=TensorProto.STRING), r"tensor\(string\)"),
        (helper.make_node("Cast", ["x"], ["y"], to=TensorProto.BFLOAT16), r"tensor\(bfloat16\)"),
        (helper.make_node("SequenceConstruct", ["x"], ["y"]), r"seq\(tensor\(float\)\)"),
    ],
)
def test_onnxruntime_takes_no_outputs_that_are_not_numbers(tmp_path: Path, node: onnx.NodeProto, kind: str) -> None:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    y = onnx.ValueInfoProto(name="y")
    graph = helper.make_graph([node], "g", [x], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(onnx.shape_inference.infer_shapes(model), path := tmp_path / "m.onnx")
    with pytest.raises(InputError, match=f"output y of the model: given {kind}; accepted: tensors of integers"):
        _engine("onnxruntime").load(path, CPU)


def test_the_body_of_a_loop_counts_as_often_as_it_runs_and_the_loop_without_it() -> None:
    def event(name: str, ts: int, dur: int) -> dict[str, Any]:
        about = {"op_name": name.title(), "provider": "CPUExecutionProvider"}
        return {"name": f"{name}_kernel_time", "ts": ts, "dur": dur, "args": about}

    events: list[dict[str, Any]] = []
    for run, slower in enumerate((50, 0, 0)):  # the first run is left out
        at = 1000 * run
        events += [{"name": "model_run", "ts": at, "dur": 200, "args": {}}, event("first", at, 10 + slower)]
        events += [event("inner", at + 101, 20), event("inner", at + 121, 30)]  # a trace holds them before the loop
        events += [event("loop", at + 100, 60), event("last", at + 160, 5)]
    assert operators_of(events) == [
        ("first", "First", "cpu", 10e3),
        ("loop", "Loop", "cpu", 10e3),
        ("inner", "Inner", "cpu", 50e3),
        ("last", "Last", "cpu", 5e3),
    ]


def test_torch_compiled_answers_alike() -> None:
    compiled = _answer(dataclasses.replace(TORCH, provider="cpu-compile"), PROGRAM)
    np.testing.assert_allclose(compiled, _answer(TORCH, PROGRAM), atol=1e-4)


def test_openvino_says_which_precision_it_would_run() -> None:
    fp16 = dataclasses.replace(OPENVINO, precision="fp16")
    try:
        found = _answer(fp16, CALIBRATION)
    except MeasurementError as error:
        assert "asked for fp16; OpenVINO computes in" in str(error)  # a CPU without fp16 arithmetic
    else:
        np.testing.assert_allclose(found, _answer(CPU, CALIBRATION), atol=1e-2)
    with pytest.raises(UnavailableError, match=r"provider gpu: OpenVINO .* finds no such device here; it finds: cpu"):
        _engine("openvino").load(CALIBRATION, dataclasses.replace(OPENVINO, provider="gpu"))


def test_openvino_compiles_for_the_bound_shape_once() -> None:
    loaded: Any = _engine("openvino").load(CALIBRATION, OPENVINO)
    assert loaded.inputs[0].dims[0] == "dim0"  # open
    for batch in (1, 3):
        x = np.random.default_rng(0).standard_normal((batch, 3, 80, 80)).astype(np.float32)
        loaded.bind({"input": x})
        first, compiled = loaded.build_ns, loaded._compiled
        assert first > 0 and compiled.inputs[0].partial_shape.is_static
        loaded.bind({"input": x[::-1]})
        assert loaded._compiled is compiled
        assert next(iter(loaded.outputs().values())).shape[0] == batch


def test_importing_openvino_starts_no_process_that_reports_it() -> None:
    _engine("openvino")
    assert sys.modules["openvino_telemetry"] is None


# Modules of torch that are not one float to one float


def _program(path: Path, forward: Any, *examples: Any, **how: Any) -> Path:
    torch = pytest.importorskip("torch")
    module = type("Model", (torch.nn.Module,), {"forward": forward})()
    torch.export.save(torch.export.export(module, examples, **how), path)
    return path


def test_a_module_may_return_a_dict_or_what_is_nested(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")

    def forward(self: Any, x: Any) -> Any:
        return {"b": x + 1, "a": (x * 2, [x * 3])}

    loaded = _engine("torch").load(_program(tmp_path / "d.pt2", forward, torch.ones(1, 2)), TORCH)
    loaded.bind({"x": np.array([[1, 2]], np.float32)})
    found = {name: array.tolist() for name, array in loaded.outputs().items()}
    assert found == {"output0": [[2, 3]], "output1": [[2, 4]], "output2": [[3, 6]]}


@pytest.fixture
def tensorrt(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The engine on the CPU, with a compiler that notes what it is given and may fail."""
    torch = pytest.importorskip("torch")
    made: list[Any] = []

    def compile_(program: Any, *, arg_inputs: list[Any], **_: Any) -> Any:
        made.append([(tuple(one.shape), one.dtype) for one in arg_inputs])
        return program.module()

    fake = SimpleNamespace(__version__="0", dynamo=SimpleNamespace(compile=compile_))
    monkeypatch.setitem(sys.modules, "torch_tensorrt", fake)  # type: ignore[arg-type]
    monkeypatch.delitem(sys.modules, "devices.engines.torch_tensorrt", raising=False)
    engine = importlib.import_module("devices.engines.torch_tensorrt")
    monkeypatch.setattr(engine.programs, "cuda", lambda target: torch.device("cpu"))
    yield SimpleNamespace(load=engine.load, made=made)
    sys.modules.pop("devices.engines.torch_tensorrt", None)


class _Replays:
    """As a session of ONNX Runtime with a CUDA graph, which there is none of without a GPU: of each run, its graph."""

    def __init__(self, inputs: list[Any]) -> None:
        self.runs: list[str | None] = []
        self.broken = False
        self._inputs = inputs

    def io_binding(self) -> Any:
        result = SimpleNamespace(numpy=lambda: np.ones(1, np.float32))
        names = [f"{what}_{which}" for what in ("clear_binding", "bind_ortvalue") for which in ("inputs", "outputs")]
        names += ["bind_ortvalue_input", "bind_ortvalue_output", "bind_output"]
        return SimpleNamespace(**dict.fromkeys(names, lambda *_: None), get_outputs=lambda: [result])

    def get_inputs(self) -> list[Any]:
        return self._inputs

    def get_outputs(self) -> list[Any]:
        return [SimpleNamespace(name="y", type="tensor(float)")]

    def run_with_iobinding(self, _: Any, options: Any = None) -> None:
        if self.broken:
            raise RuntimeError("out of memory")
        self.runs.append(None if options is None else options.get_run_config_entry("gpu_graph_id"))


def test_a_graph_is_captured_for_the_shapes_that_are_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    import onnxruntime as ort

    from devices.engines._ort_graph import Captured

    brought: list[float] = []
    there = SimpleNamespace(update_inplace=lambda array: brought.append(float(array.ravel()[0])))
    monkeypatch.setattr(ort.OrtValue, "ortvalue_from_numpy", staticmethod(lambda *_: there))
    monkeypatch.setattr("devices.engines._ort_graph.outputs_of", lambda binding: binding.get_outputs())
    session = _Replays([SimpleNamespace(name="x", type="tensor(float)", shape=["n"])])
    model = Captured(session, None, False, None)  # type: ignore[arg-type]
    one, two = np.full(1, 1.0, np.float32), np.full(2, 2.0, np.float32)
    session.broken = True
    with pytest.raises(MeasurementError, match="cannot run the model: out of memory"):
        model.bind({"x": one})
    session.broken = False
    model.bind({"x": one})
    assert session.runs == ["-1", "1"]  # the graph of the bind that failed is not asked for again
    model.bind({"x": 5 * one})
    assert (session.runs, brought) == (["-1", "1", "1"], [5.0])
    model.bind({"x": two})
    model.run()
    assert session.runs == ["-1", "1", "1", "-1", "2", "2"]
    assert model.outputs()["y"].tolist() == [1.0]
    assert model.device_ms(3) is None


TENSORRT = dataclasses.replace(CPU, engine="torch_tensorrt", provider="tensorrt")


def test_an_engine_of_tensorrt_is_built_for_what_is_bound(tensorrt: Any, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")

    def forward(self: Any, ids: Any, scale: Any) -> Any:
        return torch.nn.functional.one_hot(ids, 5) * scale

    free = torch.export.Dim("length", min=2)
    path = _program(
        tmp_path / "ids.pt2",
        forward,
        torch.ones(1, 4, dtype=torch.int64),
        torch.ones(1),
        dynamic_shapes=({1: free}, {}),
    )
    loaded = tensorrt.load(path, TENSORRT)
    assert tensorrt.made == [] and loaded.build_ns is None
    feeds = {"ids": np.array([[1, 2, 3]]), "scale": np.array([2.0], np.float32)}
    loaded.bind(feeds)
    loaded.bind(feeds)
    assert tensorrt.made == [[((1, 3), torch.int64), ((1,), torch.float32)]]
    assert loaded.build_ns > 0
    assert loaded.outputs()["output"].argmax(-1).tolist() == [[1, 2, 3]]


def test_a_model_that_tensorrt_cannot_take_is_one_line(tensorrt: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")

    def fail(*_: Any) -> None:
        raise RuntimeError("no such\noperator")

    loaded = tensorrt.load(PROGRAM, TENSORRT)
    monkeypatch.setattr(torch.export, "export", fail)
    with pytest.raises(MeasurementError, match=r"^Torch-TensorRT 0 cannot compile the model: no such operator$"):
        loaded.bind({"input": np.ones((1, 3, 80, 80), np.float32)})


# Which file a target runs


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HWNAS_LOCK", str(tmp_path_factory.mktemp("lock") / "lock"))
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        with connect(load_fleet().device("local"), "local") as session:
            yield session


JOB = Job(model=CALIBRATION, program=PROGRAM, name="calibration")


def _profile(session: Session, target: Target) -> Profile:
    _engine(target.engine)
    plan = dataclasses.replace(QUICK, memory=target.engine != "torch")  # whose import takes seconds
    return measure.profile(session, prepare(session, JOB, target), target, plan=plan)


def test_int8_is_measured_and_says_so(session: Session) -> None:
    found = _profile(session, dataclasses.replace(CPU, precision="int8"))
    assert found.target.precision == "int8"
    assert RANDOM_CALIBRATION in found.flags
    assert (found.model_size_mb or 1) < 0.6 * CALIBRATION.stat().st_size / 1e6
    assert found.output_error is not None and 1e-4 < found.output_error < 0.5  # against the fp32 file
    assert Profile.from_dict(found.to_dict()) == found


@pytest.mark.parametrize("target", [OPENVINO, TORCH], ids=["openvino", "torch"])
def test_other_engines_are_compared_with_onnxruntime(session: Session, target: Target) -> None:
    found = _profile(session, target)
    assert found.node_providers.keys() == {"cpu"}
    assert found.fallback_percent == 0.0
    assert found.output_error is not None and 0 < found.output_error < 1e-4  # another engine's rounding
    assert found.missing["device_latency_ms"] == f"engine {target.engine} on cpu has no timing by device events"
    assert target.engine in found.versions


def test_a_target_without_the_file_that_it_takes(session: Session, tmp_path: Path) -> None:
    _engine("torch")
    with pytest.raises(
        InputError, match=r"engine torch cannot run an ONNX file; accepted: an exported program of torch"
    ):
        prepare(session, Job(model=CALIBRATION, name="c"), TORCH)
    with pytest.raises(InputError, match="engine onnxruntime cannot run a torch program; accepted: an ONNX file"):
        prepare(session, Job(model=PROGRAM, name="c"), CPU)
    assert prepare(session, Job(model=PROGRAM, name="c"), TORCH).model == PROGRAM
    assert prepare(session, Job(model=CALIBRATION, name="c"), CPU) == Job(model=CALIBRATION, name="c")


# Nodes that fell back


def test_what_fell_back_is_recorded() -> None:
    nodes = {"a": "cuda", "b": "cpu", "c": "cuda", "d": "cuda"}
    target = dataclasses.replace(CPU, provider="cuda", max_fallback=25.0)
    assert fallback.judge(nodes, target) == {
        "node_providers": {"cuda": 3, "cpu": 1},
        "fallen_back": {"b": "cpu"},
        "fallback_percent": 25.0,
    }


@pytest.mark.parametrize(
    ("nodes", "limit", "words"),
    [
        (
            {"a": "cuda", "b": "cpu"},
            0.0,
            r"1 of 2 nodes \(50.0 %\) ran on cpu: b; accepted: up to 0 % \(max_fallback\)",
        ),
        ({"a": "cuda", **dict.fromkeys("bcdef", "cpu")}, 50.0, r"5 of 6 nodes .* ran on cpu: b, c, d, \.\.\.; "),
        ({"a": "cpu", "b": "cpu"}, 100.0, "asked for the provider cuda; all nodes ran on cpu"),
    ],
)
def test_too_much_fallback_is_no_number(nodes: dict[str, str], limit: float, words: str) -> None:
    with pytest.raises(MeasurementError, match=words):
        fallback.judge(nodes, dataclasses.replace(CPU, provider="cuda", max_fallback=limit))


# An engine of one's own

ENGINE = '''
"""ONNX's reference implementation: slow, and right."""

import time

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator

from devices.inputs import Input
from profiles.errors import UnavailableError


def versions():
    return {"reference": onnx.__version__}


def load(model, target, *, plain=False, trace=False):
    if target.provider != "cpu":
        raise UnavailableError(f"provider {target.provider}: there is cpu")
    return Loaded(onnx.load_from_string(model) if isinstance(model, bytes) else onnx.load(model))


def dims_of(one):
    return tuple(dim.dim_param or dim.dim_value for dim in one.type.tensor_type.shape.dim)


class Loaded:
    def __init__(self, model):
        self._evaluator = ReferenceEvaluator(model)
        self._names = [output.name for output in model.graph.output]
        self.inputs = [
            Input(name=one.name, dtype="float32", dims=dims_of(one))
            for one in model.graph.input
        ]

    def bind(self, feeds):
        self._feeds = feeds
        start = time.perf_counter_ns()
        self.run()
        return time.perf_counter_ns() - start

    def run(self):
        self._results = self._evaluator.run(None, self._feeds)

    def outputs(self):
        return {name: np.array(result) for name, result in zip(self._names, self._results)}

    def placement(self):
        return {"graph": "cpu"}
'''


def test_a_new_engine_file_passes_the_contract_tests_as_they_are(tmp_path: Path, root: Path) -> None:
    (tmp_path / "engines").mkdir()
    (tmp_path / "engines" / "reference.py").write_text(ENGINE)
    plugin = f"import devices.engines\ndevices.engines.__path__.append({str(tmp_path / 'engines')!r})\n"
    (tmp_path / "one_more_engine.py").write_text(plugin)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(root)])}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "one_more_engine", "-p", "no:cacheprovider"]
    ran = subprocess.run(
        [*command, "tests/test_engines.py", "-k", "reference"],
        cwd=root,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "11 passed" in ran.stdout
