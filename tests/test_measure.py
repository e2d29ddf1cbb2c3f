"""Profiles end to end on this machine: what is measured, and everything for which there must be no number."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from devices import bundle, measure, memory_pass
from devices.assemble import settle
from devices.fleet import load_fleet
from devices.plan import Job, Plan
from devices.session import Session, connect
from profiles import statistics
from profiles.errors import HwnasError, InputError, MeasurementError, ParityError, UnavailableError
from profiles.records import Block, Profile, Target

CALIBRATION = Path(bundle.__file__).parent / "calibration.onnx"
LOCAL = Target(name="local", device="local")
NULL = Target(name="null", device="local", engine="null", provider="200us")
QUICK = Plan(processes=2, groups=2, block_ms=2.0, warm_up_ms=1.0)
NAMES = ["model", "calibration"]


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HWNAS_LOCK", str(tmp_path_factory.mktemp("lock") / "lock"))
        with connect(load_fleet().device("local"), "local") as session:
            yield session


Save = Callable[..., Path]


@pytest.fixture
def save(tmp_path: Path) -> Save:
    """A model of nodes from x (batch, 4) to y, with a weight w (4, width)."""

    def save(*nodes: Any, width: int = 4, name: str = "m") -> Path:
        weight = numpy_helper.from_array(np.random.default_rng(0).standard_normal((4, width)).astype(np.float32), "w")
        x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])
        y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
        graph = helper.make_graph(list(nodes), "g", [x], [y], [weight])
        path = tmp_path / f"{name}.onnx"
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
        return path

    return save


MATMUL = helper.make_node("MatMul", ["x", "w"], ["y"])


def test_a_profile_says_all_it_promises(session: Session) -> None:
    passes: list[tuple[str, int]] = []
    found = measure.profile(
        session,
        Job(model=CALIBRATION, name="calibration"),
        LOCAL,
        reference_ms=2.0,
        plan=QUICK,
        on_event=lambda kind, data: passes.append((data["pass"], data["number"])),
    )
    assert passes[0] == ("parity", 0)
    assert sorted(passes[1:-1]) == [("latency", 0), ("latency", 1)]
    assert passes[-1] == ("memory", 0)
    assert (found.provider, found.node_providers) == ("cpu", {"cpu": 11})
    assert found.output_error is not None
    assert found.output_error < 1e-5
    assert found.latency_ms_calibrated > 0
    assert found.latency_ms_sem > 0
    assert found.calibration.reference_ms == 2.0
    assert found.samples == sum(len(b.latencies_ns) for b in found.blocks if b.arm == "model" and not b.disturbed) or (
        "disturbed" in found.flags
    )
    assert found.latency_ms.p50 is not None
    assert found.throughput_per_s == pytest.approx(1e3 / found.latency_ms.p50)
    assert found.load_ms is not None
    assert found.first_run_ms is not None
    assert found.load_ms > found.first_run_ms > 0
    assert found.peak_memory_mb is not None
    assert found.peak_memory_mb > 0.2
    assert found.model_size_mb == CALIBRATION.stat().st_size / 1e6
    assert found.missing["energy_mj"] == "no meter"
    assert {"python", "numpy", "onnxruntime", "agent"} <= set(found.versions)
    assert Profile.from_dict(found.to_dict()) == found


def test_blocks_come_in_groups_forth_and_back_from_fresh_processes(session: Session) -> None:
    found = measure.profile(session, Job(model=CALIBRATION, name="c"), NULL, plan=QUICK)
    groups: dict[tuple[int, int], list[str]] = {}
    for block in found.blocks:
        groups.setdefault((block.process, block.group), []).append(block.arm)
    assert {process for process, _ in groups} == {0, 1}
    assert all(order in ([*NAMES, *NAMES[::-1]], [*NAMES[::-1], *NAMES]) for order in groups.values())
    assert all(time_ns >= 200_000 for block in found.blocks for time_ns in block.latencies_ns)


def test_memory_grows_with_the_weights(session: Session, save: Save) -> None:
    found = [
        measure.profile(session, Job(model=save(MATMUL, width=width, name=str(width)), name="m"), LOCAL, plan=QUICK)
        for width in (4, 2_000_000)
    ]
    small, large = (profile.peak_memory_mb or 0.0 for profile in found)
    assert large - small >= 32.0  # 4 x 2,000,000 floats, and 8 MB of outputs


def test_memory_is_without_inputs_random_or_of_a_file(session: Session, save: Save, tmp_path: Path) -> None:
    reduce = helper.make_node("ReduceSum", ["x"], ["y"], keepdims=0)
    model, samples = save(reduce), tmp_path / "x.npz"
    np.savez(samples, x=np.ones((8_000_000, 4), np.float32))  # 128 MB, of which one sample is run
    ten_mb, random_mb = (dataclasses.replace(LOCAL, batch=batch) for batch in (600_000, 8_000_000))
    for target, file in ((LOCAL, samples), (ten_mb, None), (random_mb, None)):
        job = Job(model=model, name="m", inputs=file)
        answer = session.request(
            "memory",
            target=dataclasses.asdict(target),
            model=session.put(model),
            seed=0,
            deadline_s=60.0,
            **measure.feeding(session, job),
        )
        assert answer["peak_memory_mb"] < 8.0


def test_outputs_of_a_random_node_are_called_that(session: Session, save: Save) -> None:
    noise = [
        helper.make_node("Constant", [], ["ratio"], value_float=0.5),
        helper.make_node("Constant", [], ["one"], value_int=1),
        helper.make_node("Cast", ["one"], ["training"], to=TensorProto.BOOL),
        helper.make_node("Dropout", ["x", "ratio", "training"], ["y"]),
    ]
    with pytest.raises(
        ParityError, match=r"output is wrong: .*; its outputs differ from run to run, as those of random"
    ):
        measure.check(session, Job(model=save(*noise), name="m"), LOCAL)


def test_outputs_count_once_as_memory(session: Session, tmp_path: Path) -> None:
    """40 MB of them: what a process needs that runs the model into one buffer."""
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1000])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 10_000_000])
    repeats = numpy_helper.from_array(np.array([1, 10_000]), "repeats")
    graph = helper.make_graph([helper.make_node("Tile", ["x", "repeats"], ["y"])], "g", [x], [y], [repeats])
    path = tmp_path / "m.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    answer = session.request("memory", target=LOCAL.to_dict(), model=str(path), shapes={}, inputs=None)
    assert 40 <= answer["peak_memory_mb"] < 60


@pytest.mark.parametrize("provider", ["cuda", "cuda-graph", "tensorrt", "gpu", "npu", "qnn"])
def test_no_memory_of_an_accelerator(provider: str) -> None:
    found = memory_pass.take({"target": dataclasses.asdict(dataclasses.replace(LOCAL, provider=provider))})
    assert found["peak_memory_mb"] is None
    assert found["reason"].endswith(f"takes on {provider}: the device's own is not read")


def test_a_batch_and_more_threads(session: Session) -> None:
    target = dataclasses.replace(LOCAL, batch=4, threads=2)
    found = measure.profile(session, Job(model=CALIBRATION, name="c"), target, plan=QUICK)
    assert found.latency_ms.p50 is not None
    assert found.throughput_per_s == pytest.approx(4e3 / found.latency_ms.p50)


def test_several_models_in_one_go(session: Session, save: Save, tmp_path: Path) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"\0")
    order: list[tuple[str, str]] = []
    jobs = [Job(model=path, name=name) for name, path in (("a", CALIBRATION), ("b", broken), ("c", save(MATMUL)))]
    found = measure.profile_all(
        session,
        jobs,
        LOCAL,
        plan=dataclasses.replace(QUICK, processes=4, memory=False),
        on_event=lambda kind, data: order.append((data["model"], data["pass"])),
    )
    first, second, third = found
    assert isinstance(first, Profile)
    assert isinstance(second, InputError)
    assert isinstance(third, Profile)
    assert (first.model, third.model) == ("a", "c")
    assert [model for model, name in order if name == "parity"] == ["a", "b", "c"]
    mixed = [model for model, name in order if name == "latency"]
    assert sorted(mixed) == ["a"] * 4 + ["c"] * 4
    assert mixed not in (sorted(mixed), sorted(mixed, reverse=True))
    assert first.peak_memory_mb is None
    assert first.missing["peak_memory_mb"] == "the memory pass was not asked for"


def test_the_reference_of_export_is_what_counts(session: Session, save: Save, tmp_path: Path) -> None:
    model = save(MATMUL)
    weight = numpy_helper.to_array(onnx.load(model).graph.initializer[0])
    x = np.random.default_rng(1).standard_normal((3, 4)).astype(np.float32)
    right, wrong = tmp_path / "right.npz", tmp_path / "wrong.npz"
    measure.write_reference(right, {"x": x}, {"y": x @ weight})
    measure.write_reference(wrong, {"x": x}, {"y": x @ weight * 1.01})
    assert (
        measure.profile(session, Job(model=model, name="m", reference=right), LOCAL, plan=QUICK).output_error
        is not None
    )
    with pytest.raises(
        ParityError, match=r"^m: output is wrong: relative error 0\.0099 to the reference; accepted for fp32"
    ):
        measure.profile(session, Job(model=model, name="m", reference=wrong), LOCAL, plan=QUICK)
    with pytest.raises(InputError, match="no array named 'inputs/x'"):
        np.savez(wrong, x=x)
        measure.profile(session, Job(model=model, name="m", reference=wrong), LOCAL, plan=QUICK)


def _nan() -> tuple[Any, ...]:
    square = helper.make_node("Mul", ["x", "x"], ["s"])
    return square, helper.make_node("Neg", ["s"], ["n"]), helper.make_node("Sqrt", ["n"], ["y"])


@pytest.mark.parametrize(
    ("nodes", "target", "kind", "message"),
    [
        (_nan(), {}, ParityError, "m: 4 of 4 values of the reference of output y are NaN or infinite"),
        (
            (MATMUL,),
            {"provider": "cuda"},
            UnavailableError,
            "provider cuda is not in this onnxruntime .*; it has: .*cpu",
        ),
        ((MATMUL,), {"engine": "magic"}, InputError, "no engine named 'magic'"),
        ((helper.make_node("Nothing", ["x"], ["y"]),), {}, InputError, r"m\.onnx: ONNX Runtime .* cannot load it"),
        ((helper.make_node("Reshape", ["x", "x"], ["y"]),), {}, InputError, r"m\.onnx: ONNX Runtime .* cannot load it"),
    ],
)
def test_no_number(session: Session, save: Save, nodes: Any, target: Any, kind: type[HwnasError], message: str) -> None:
    with pytest.raises(kind, match=message):
        measure.profile(session, Job(model=save(*nodes), name="m"), dataclasses.replace(LOCAL, **target), plan=QUICK)


def test_no_number_from_a_provider_that_runs_nothing(session: Session, save: Save) -> None:
    import onnxruntime as ort

    if "AzureExecutionProvider" not in ort.get_available_providers():
        pytest.skip("this onnxruntime has no second provider")
    with pytest.raises(MeasurementError, match="m: asked for the provider azure; all nodes ran on cpu"):
        measure.profile(
            session, Job(model=save(MATMUL), name="m"), dataclasses.replace(LOCAL, provider="azure"), plan=QUICK
        )


def test_no_number_from_a_file_that_is_no_model(session: Session, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    with pytest.raises(InputError, match="there is no such model file"):
        measure.profile(session, Job(model=path, name="m"), LOCAL, plan=QUICK)
    path.write_bytes(CALIBRATION.read_bytes()[:30_000])
    with pytest.raises(InputError, match="not an ONNX file, or cut short"):
        measure.profile(session, Job(model=path, name="m"), LOCAL, plan=QUICK)


def test_no_number_past_the_deadline(session: Session) -> None:
    forever = dataclasses.replace(NULL, provider="9999999ms")
    with pytest.raises(MeasurementError, match=r"c: parity did not end within 0\.5 s"):
        measure.profile(
            session, Job(model=CALIBRATION, name="c"), forever, plan=dataclasses.replace(QUICK, deadline_s=0.5)
        )


def test_a_pace_that_a_model_cannot_keep_is_flagged(session: Session, save: Save) -> None:
    job, quick = Job(model=save(MATMUL), name="m"), dataclasses.replace(QUICK, memory=False)
    for interval_ms, flagged in ((0.05, True), (40.0, False)):  # a run takes 0.2 ms
        found = measure.profile(session, job, NULL, plan=dataclasses.replace(quick, interval_ms=interval_ms))
        assert ("interval_missed" in found.flags) is flagged


def test_a_model_whose_memory_cannot_be_measured_keeps_its_latency(
    session: Session, save: Save, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = session.request

    def request(operation: str, **parameters: Any) -> Any:
        if operation == "memory":
            raise MeasurementError("the process of memory was killed by SIGKILL")
        return ask(operation, **parameters)

    monkeypatch.setattr(session, "request", request)
    found = measure.profile(session, Job(model=save(MATMUL), name="m"), LOCAL, plan=QUICK)
    assert found.latency_ms.p50 is not None and found.peak_memory_mb is None
    assert found.missing["peak_memory_mb"] == "the process of memory was killed by SIGKILL"


def test_a_plan_that_cannot_give_an_error_bar() -> None:
    with pytest.raises(InputError, match="processes: given 1; accepted: from 2"):
        Plan(processes=1)
    with pytest.raises(InputError, match="block_ms: given nan"):
        Plan(block_ms=float("nan"))


def test_calibration_times(session: Session) -> None:
    found = measure.calibrate(session, NULL, times=3)
    assert len(found) == 3
    assert all(time_ms >= 0.2 for time_ms in found)


def test_outputs_of_a_whole_data_set(session: Session, save: Save, tmp_path: Path) -> None:
    model = save(MATMUL)
    weight = numpy_helper.to_array(onnx.load(model).graph.initializer[0])
    x = np.random.default_rng(1).standard_normal((10, 4)).astype(np.float32)
    inputs, outputs = tmp_path / "x.npy", tmp_path / "y.npy"
    np.save(inputs, x)
    for batch in (1, 4, 16):
        measure.compute_outputs(session, model, dataclasses.replace(LOCAL, batch=batch), inputs, outputs)
        np.testing.assert_allclose(np.load(outputs), x @ weight, rtol=1e-5, atol=1e-6)
    np.save(inputs, x.astype(np.float64))
    with pytest.raises(InputError, match=r"x: given float64\[1, 4\]; accepted: float32\[batch, 4\]"):
        measure.compute_outputs(session, model, LOCAL, inputs, outputs)
    inputs.write_bytes(b"junk")
    with pytest.raises(InputError, match=r"not a readable \.npy file"):
        measure.compute_outputs(session, model, LOCAL, inputs, outputs)
    np.save(inputs, np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match=r"not a readable \.npy file"):
        measure.compute_outputs(session, model, LOCAL, inputs, outputs)


# What is done with disturbed blocks


def _blocks(disturbed: set[tuple[int, int]]) -> tuple[Block, ...]:
    return tuple(
        Block(process=process, group=group, arm=arm, latencies_ns=(100,), disturbed=(process, group) in disturbed)
        for process in range(2)
        for group in range(4)
        for arm in ("model", "calibration", "calibration", "model")
    )


def test_disturbed_blocks_are_left_out_where_enough_others_are_there() -> None:
    flags, used = settle(_blocks({(0, 1), (1, 3)}), processes=2, groups=4)
    assert flags == ()
    assert len(used) == 6 * 4


@pytest.mark.parametrize("disturbed", [{(0, 0), (0, 1), (0, 2)}, {(p, g) for p in range(2) for g in range(4)}])
def test_a_run_that_stays_disturbed_says_so_and_uses_everything(disturbed: set[tuple[int, int]]) -> None:
    flags, used = settle(_blocks(disturbed), processes=2, groups=4)
    assert flags == ("disturbed",)
    assert len(used) == 8 * 4
    assert not any(block.disturbed for block in used)


def test_the_default_plan_gives_a_90th_percentile_also_of_a_model_whose_blocks_are_one_run() -> None:
    assert Plan().processes * Plan().groups * 2 >= statistics.minimum_count(90)
    assert Plan(hurried=False).enough_ms is None
    assert Plan(groups=10, block_ms=4.0).enough_ms == 320.0
