"""What every engine promises, over all names; and what is particular to ONNX Runtime."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from benchmarks import gpu_check
from devices import fallback, gpus, inputs, loading
from devices.engines import Engine, Loaded, format_of
from profiles import registry
from profiles.errors import InputError, MeasurementError, UnavailableError
from profiles.records import Target

CALIBRATION = Path(inputs.__file__).parent / "calibration.onnx"


# Each engine on its first provider and, on a machine with an NVIDIA GPU, on all of those that run there.
ON_GPUS = sorted({f"{one.engine}:{one.provider}" for one in gpu_check.targets() if one.provider != "cpu"})


@pytest.fixture(params=[*registry.names("devices.engines"), *(ON_GPUS if gpus.visible() else [])])
def engine(request: pytest.FixtureRequest) -> Engine:
    try:
        engine: Engine = registry.find("devices.engines", request.param.partition(":")[0])
    except UnavailableError as error:
        pytest.skip(str(error))
    return engine


@pytest.fixture
def target(engine: Engine, request: pytest.FixtureRequest) -> Target:
    name, _, provider = request.node.callspec.params["engine"].partition(":")
    provider = provider or getattr(engine, "PROVIDERS", ("cpu",))[0]
    target = Target(name="t", device="local", engine=name, provider=provider, transfers=provider == "cpu")
    try:
        engine.load(_calibration(engine), target)
    except UnavailableError as error:
        pytest.skip(str(error))
    except MeasurementError as error:  # the runtime has the provider, and the machine lacks what that loads
        if "libraries cannot be loaded" not in str(error):
            raise
        pytest.skip(str(error))
    return target


def _calibration(engine: Engine) -> Path:
    return CALIBRATION.with_suffix(format_of(engine))


def _fed(engine: Engine, target: Target, **how: bool) -> tuple[Loaded, inputs.Arrays]:
    model = engine.load(_calibration(engine), target, **how)
    feeds = inputs.random_inputs(model.inputs, inputs.shapes_of(model.inputs, target.batch, {}), seed=0)
    return model, feeds


@pytest.mark.parametrize("batch", [1, 3])
def test_an_engine_runs_a_model(engine: Engine, target: Target, batch: int) -> None:
    model, feeds = _fed(engine, dataclasses.replace(target, batch=batch))
    assert model.bind(feeds) > 0
    first = model.outputs()
    assert all(len(output) == batch and np.isfinite(output).all() for output in first.values())
    assert model.run() is None
    assert all(np.array_equal(output, first[name]) for name, output in model.outputs().items())


def test_the_model_that_primes_a_run_copies_one_number(engine: Engine, target: Target) -> None:
    (output,) = loading.empty(engine, dataclasses.replace(target, batch=2)).outputs().values()
    assert output.size == 2


@pytest.mark.parametrize(
    ("engine", "provider", "primed"),
    [
        ("onnxruntime", "cpu", True),
        ("onnxruntime", "openvino", True),
        ("onnxruntime", "cuda", False),
        ("torch", "cpu", False),
        ("null", "cpu", False),
    ],
)
def test_what_apps_call_from_c_is_primed_but_not_with_pauses(
    monkeypatch: pytest.MonkeyPatch, engine: str, provider: str, primed: bool
) -> None:
    loaded = []
    monkeypatch.setattr(loading, "empty", lambda engine, target: loaded.append(target) or types.SimpleNamespace(run=0))
    target = Target(name="t", device="local", engine=engine, provider=provider)
    loading.prime_of({"target": target.to_dict()})
    assert (loaded == [target]) is primed
    loading.prime_of({"target": target.to_dict(), "interval_ms": 5.0})
    assert (loaded == [target]) is primed


def test_outputs_are_copies(engine: Engine, target: Target) -> None:
    model, feeds = _fed(engine, target)
    model.bind(feeds)
    before = {name: output.copy() for name, output in model.outputs().items()}
    for output in model.outputs().values():
        output[...] = 7
    assert all(np.array_equal(output, before[name]) for name, output in model.outputs().items())


def test_a_kept_run_keeps_what_it_needs(engine: Engine, target: Target) -> None:
    model, feeds = _fed(engine, target)
    model.bind(feeds)
    run, expected = model.run, model.outputs()
    del model
    others = [np.zeros(shape) for shape in (100, 10_000, 100_000) for _ in range(5)]  # take what was freed
    for _ in range(3):
        run()
    assert len(others) == 15
    assert all(np.isfinite(output).all() for output in expected.values())


def test_bytes_are_as_good_as_a_path(engine: Engine, target: Target) -> None:
    model, feeds = _fed(engine, target)
    model.bind(feeds)
    other = engine.load(_calibration(engine).read_bytes(), target)
    other.bind(feeds)
    assert all(np.array_equal(output, other.outputs()[name]) for name, output in model.outputs().items())


def test_a_gpu_has_times_between_its_events(engine: Engine, target: Target) -> None:
    model, feeds = _fed(engine, target)
    model.bind(feeds)
    times_ms = model.device_ms(5) if hasattr(model, "device_ms") else None
    if target.provider.partition("-")[0] in ("cuda", "tensorrt"):
        assert times_ms is not None and len(times_ms) == 5 and min(times_ms) > 0
    else:
        assert times_ms is None
    model.run()
    assert all(np.isfinite(output).all() for output in model.outputs().values())


def test_a_traced_model_says_where_its_nodes_ran(engine: Engine, target: Target) -> None:
    model, feeds = _fed(engine, target, trace=True)
    model.bind(feeds)
    placement = model.placement()
    assert target.provider in placement.values()


def test_a_plain_model_gives_the_same_outputs(engine: Engine, target: Target) -> None:
    model, feeds = _fed(engine, target)
    plain, _ = _fed(engine, target, plain=True)
    model.bind(feeds)
    plain.bind(feeds)
    for name, output in model.outputs().items():
        np.testing.assert_allclose(output, plain.outputs()[name], rtol=1e-4, atol=1e-5)


def test_versions_name_the_package(engine: Engine, target: Target) -> None:
    versions = engine.versions()
    assert target.engine in versions
    assert all(isinstance(value, str) and value for value in versions.values())


def test_an_unknown_provider_is_refused(engine: Engine, target: Target) -> None:
    with pytest.raises((UnavailableError, InputError), match="warp"):
        engine.load(_calibration(engine), dataclasses.replace(target, provider="warp"))


# ONNX Runtime

Save = Callable[..., Path]
CPU = Target(name="t", device="local")


@pytest.fixture
def onnxruntime() -> Engine:
    engine: Engine = registry.find("devices.engines", "onnxruntime")
    return engine


@pytest.fixture
def save(tmp_path: Path) -> Save:
    """Saves a model of one node, Add of a weight unless told otherwise."""

    def save(op: str = "Add", dtype: int = TensorProto.FLOAT, dims: Any = ("batch", 4), **attributes: Any) -> Path:
        weight = numpy_helper.from_array(np.ones(4, dtype=helper.tensor_dtype_to_np_dtype(dtype)), "w")
        node = helper.make_node(op, ["x", "w"] if op in ("Add", "Mul") else ["x"], ["y"], **attributes)
        x, y = (helper.make_tensor_value_info(name, dtype, dims) for name in ("x", "y"))
        graph = helper.make_graph([node], "g", [x], [y], [weight])
        path = tmp_path / f"{op}.onnx"
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
        return path

    return save


@pytest.mark.parametrize(
    "dtype", [TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.INT64, TensorProto.INT32]
)
def test_types_of_inputs(onnxruntime: Engine, save: Save, dtype: int) -> None:
    model = onnxruntime.load(save(dtype=dtype), CPU)
    feeds = inputs.random_inputs(model.inputs, inputs.shapes_of(model.inputs, 2, {}), seed=0)
    model.bind(feeds)
    np.testing.assert_allclose(model.outputs()["y"], feeds["x"] + np.ones(4, dtype=feeds["x"].dtype))


def test_new_inputs_can_be_bound(onnxruntime: Engine, save: Save) -> None:
    model = onnxruntime.load(save(), CPU)
    for batch in (1, 5, 2):
        model.bind({"x": np.full((batch, 4), batch, dtype=np.float32)})
        model.run()
        assert np.array_equal(model.outputs()["y"], np.full((batch, 4), batch + 1.0))


def test_more_threads_share_one_pool_with_every_session(onnxruntime: Engine) -> None:
    """In a process of its own: once there is a shared pool, no session may ask for another."""
    import subprocess
    import sys

    program = (
        "import numpy as np\nfrom pathlib import Path\nfrom devices.engines import onnxruntime as engine\n"
        "from profiles.records import Target\nfeeds = {'input': np.ones((2, 3, 80, 80), np.float32)}\n"
        f"path = Path({str(CALIBRATION)!r})\n"
        "models = [engine.load(path, Target(name='t', device='d', threads=n)) for n in (2, 1, 2)]\n"
        "for model in models: model.bind(feeds); model.run()\n"
        "print(len({model.outputs()['output'].tobytes() for model in models}))\n"
    )
    root = str(CALIBRATION.parent.parent)
    ran = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=True)
    assert (ran.stdout.strip(), ran.stderr.strip()) == ("1", "")


def test_a_provider_that_is_there_and_runs_nothing_is_an_error(onnxruntime: Engine, save: Save) -> None:
    """The azure provider of the CPU wheel takes no ordinary node: everything falls back to the CPU."""
    import onnxruntime as ort

    if "AzureExecutionProvider" not in ort.get_available_providers():
        pytest.skip("this onnxruntime has no second provider")
    model = onnxruntime.load(save(), dataclasses.replace(CPU, provider="azure"), trace=True)
    model.bind({"x": np.ones((1, 4), np.float32)})
    with pytest.raises(MeasurementError, match="asked for the provider azure; all nodes ran on cpu"):
        fallback.judge(model.placement(), dataclasses.replace(CPU, provider="azure"))


def test_a_model_that_cannot_be_loaded(onnxruntime: Engine, save: Save, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot load it: .*NoSuchOp"):
        onnxruntime.load(save("NoSuchOp"), CPU)
    with pytest.raises(InputError, match="there is no such model file"):
        onnxruntime.load(tmp_path / "absent.onnx", CPU)


def test_a_model_that_cannot_be_run(onnxruntime: Engine, save: Save) -> None:
    model = onnxruntime.load(save(dims=("batch", "n")), CPU)
    with pytest.raises(MeasurementError, match="cannot run the model"):
        model.bind({"x": np.ones((2, 3), np.float32)})
