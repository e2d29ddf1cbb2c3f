"""Costs predicted from a few measured networks: the models, the interval, what is too far, and the command."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from report_example import BASELINE, FINGERPRINT, STUDY, Example, profile_of, write_example
from test_hwnas_generator import pool
from test_measuring import check_schema

from benchmarks.predict import predict, run
from devices.fleet import load_fleet
from devices.onnxfile import digest
from nas.cost_models import Network
from nas.export import export_onnx
from nas.features import work
from nas.graph import Operation, TracingError, trace
from nas.measured import Known, Measured, read_known
from nas.onnx_graph import read
from nas.predict import COVERAGE, Predictor
from nas.spaces import build, find_space
from profiles.errors import InputError, MeasurementError
from profiles.records import Target, digest_of
from profiles.registry import names
from profiles.store import Store


def network(convolutions: int, pools: int = 0, dead: int = 0) -> Network:
    """Of so many operations, all of one size."""
    kinds = [("conv2d 3x3", 36, True)] * convolutions + [("pool", 0, True)] * pools + [("conv2d 3x3", 36, False)] * dead
    return Network.of([Operation(kind, (), macs, 0, 4, 4, live) for kind, macs, live in kinds])


def networks(n: int, seed: int = 0) -> tuple[list[Network], np.ndarray]:
    """With (n, 3) counts: convolutions, pools and dead convolutions, 1 to 6 each."""
    counts = np.random.default_rng(seed).integers(1, 7, (n, 3))
    return [network(*map(int, row)) for row in counts], counts


def test_a_cost_that_is_a_sum_is_found() -> None:
    known, counts = networks(14)
    predictor = Predictor(known, 1.0 + counts @ [0.5, 0.25, 0.5])
    (found,) = predictor.predict([network(3, 4, 2)])
    assert found.value == pytest.approx(1.0 + 0.5 * 3 + 0.25 * 4 + 0.5 * 2, rel=1e-6)
    assert found.low == pytest.approx(found.value, rel=1e-6) and found.high == pytest.approx(found.value, rel=1e-6)
    assert predictor.assessment.model == "counts of all operations"
    assert (predictor.assessment.measured, predictor.assessment.within_10_percent) == (14, 1.0)
    assert predictor.assessment.spearman == pytest.approx(1.0)
    assert predictor.assessment.median_error == pytest.approx(0.0, abs=1e-6)


def test_dead_operations_are_left_out_where_the_device_drops_them() -> None:
    known, counts = networks(14)
    predictor = Predictor(known, 1.0 + counts @ [0.5, 0.25, 0.0])
    assert predictor.assessment.model == "counts of live operations"
    few, many = predictor.predict([network(3, 4, 1), network(3, 4, 6)])
    assert few.value == many.value == pytest.approx(1.0 + 0.5 * 3 + 0.25 * 4, rel=1e-6)


def test_a_cost_that_is_no_sum_is_left_to_a_gaussian_process() -> None:
    """As memory is: the largest, not the sum."""
    known, counts = networks(40)
    values = np.exp(np.abs(counts[:, 0] - 3.5)) * np.exp(-0.8 * counts[:, 1])
    predictor = Predictor(known, values)
    assert predictor.assessment.model == "a Gaussian process"
    assert predictor.assessment.spearman is not None and predictor.assessment.spearman > 0.9


@pytest.mark.parametrize("n", [10, 19])
def test_the_interval_holds_what_it_says(n: int) -> None:
    """On noisy sums, over many draws of what is measured. With few networks an interval is wide, not wrong."""
    held = []
    for seed in range(25):
        rng = np.random.default_rng(seed)
        every, counts = networks(n + 20, seed)
        values = (1.0 + counts @ [0.5, 0.25, 0.5]) * np.exp(rng.normal(0, 0.1, n + 20))
        found = Predictor(every[:n], values[:n]).predict(every[n:])
        held += [
            one.low <= value <= one.high
            for one, value in zip(found, values[n:], strict=True)
            if one.low is not None and one.high is not None
        ]
    assert abs(np.mean(held) - COVERAGE) < 0.06


@settings(max_examples=15)
@given(st.floats(0.01, 1e4), st.integers(0, 1000))
def test_the_unit_does_not_matter(unit: float, seed: int) -> None:
    known, counts = networks(10, seed)
    values = (1.0 + counts @ [0.5, 0.25, 0.5]) * np.exp(np.random.default_rng(seed).normal(0, 0.1, 10))
    (one,), (other,) = (Predictor(known, v).predict(known[:1]) for v in (values, values * unit))
    for a, b in ((one.value, other.value), (one.low, other.low), (one.high, other.high)):
        assert a is not None and b == pytest.approx(a * unit, rel=1e-5)
    assert one.low is not None and one.value is not None and one.high is not None
    assert one.low <= one.value <= one.high


def test_far_from_what_was_measured_there_is_no_value() -> None:
    known, counts = networks(12)
    predictor = Predictor(known, 1.0 + counts @ [0.5, 0.25, 0.5])
    other = Network.of([Operation(kind, (), 0, 0, 4, 4) for kind in ("pool", "softmax")])
    huge, small, strange, near = predictor.predict([network(40), network(0, 1), other, network(6, 6, 6)])
    assert huge.value is None and "40 operations of conv2d 3x3, in the measured networks" in str(huge.reason)
    assert small.value is None and "in the measured networks" in str(small.reason)
    assert strange.value is None and strange.reason == "no measured network has softmax"
    assert near.value is not None and near.reason is None


def test_what_no_model_can_be_made_of() -> None:
    known, _ = networks(10)
    with pytest.raises(MeasurementError, match="9 measured networks; a prediction needs 10 or more"):
        Predictor(known[:9], [1.0] * 9)
    for bad in (0.0, float("nan"), float("inf")):
        with pytest.raises(InputError, match="above 0"):
            Predictor(known, [1.0] * 9 + [bad])
    assert Predictor(known, [2.0] * 10).assessment.spearman is None


# Files


def onnx_file(path: Path, nodes: Sequence[onnx.NodeProto], weights: dict[str, np.ndarray]) -> Path:
    """Of 1 x 8 x 8 inputs "x" to the output "y"."""
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 1, 8, 8])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)]
    tensors = [onnx.numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, "g", inputs, outputs, tensors)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), path)
    return path


def test_a_small_file_by_hand(tmp_path: Path) -> None:
    """A 3x3 convolution 1 -> 4, a branch that is multiplied by zero, one that reaches nothing, a sum."""
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["unused"]),
        helper.make_node("Mul", ["a", "zero"], ["nothing"]),
        helper.make_node("Conv", ["nothing", "v"], ["b"], group=4),
        helper.make_node("Identity", ["v"], ["folded"]),
        helper.make_node("Add", ["a", "b"], ["y"]),
    ]
    weights = {"w": np.ones((4, 1, 3, 3)), "v": np.ones((4, 1, 1, 1)), "zero": np.zeros(())}
    found = read(onnx_file(tmp_path / "g.onnx", nodes, weights))
    assert [(one.kind, one.inputs, one.macs, one.live) for one in found] == [
        ("input", (), 0, True),
        ("Conv 3x3", (0,), 4 * 64 * 9, True),
        ("Relu", (1,), 0, False),
        ("zero", (1,), 0, False),
        ("Conv 1x1 grouped", (), 4 * 64, False),
        ("Add", (1,), 0, True),
    ]
    assert [one.elements for one in found] == [64, 256, 256, 256, 256, 256]
    assert [one.weights for one in found] == [0, 36, 0, 1, 4, 0]


@pytest.mark.parametrize("name", names("nas.spaces"))
def test_a_file_costs_what_its_network_does(name: str, tmp_path: Path) -> None:
    shape = (1, 16, 16)
    module = build(find_space(name), pool(name).sample(1, 0)[0], shape, 10)
    export_onnx(module, tmp_path / "n.onnx", input_shape=shape)
    found, traced = read(tmp_path / "n.onnx"), trace(module, shape)
    assert sum(one.macs for one in found) == sum(one.macs for one in traced)
    assert any(one.live and one.macs for one in found)
    assert all(one.elements for one in found if one.macs)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"\x3a\x01\x00")
    with pytest.raises(InputError, match="not an ONNX file"):
        read(broken)
    branch = helper.make_graph([helper.make_node("Relu", ["x"], ["z"])], "b", [], [])
    node = helper.make_node("If", ["x"], ["y"], then_branch=branch, else_branch=branch)
    with pytest.raises(TracingError, match="If is control flow"):
        read(onnx_file(tmp_path / "g.onnx", [node], {}))


def test_work_adds_up() -> None:
    operation = Operation("conv2d 3x3", (), 2_000_000, 9, 500_000, 4)
    expected = {"count conv2d 3x3": 2.0, "macs conv2d 3x3": 4.0, "elements conv2d 3x3": 1.0}
    assert work([operation, operation]) == expected


# The command


def predicted(
    capsys: pytest.CaptureFixture[str], *given: Path, runs: Sequence[Path], **options: object
) -> dict[str, Any]:
    settings = {"target": "local", "metric": "latency_ms", "fleet": None, "store": None, "csv": None} | options
    run([str(one) for one in given], runs=runs, json=True, **settings)  # type: ignore[arg-type]
    return json.loads(capsys.readouterr().out)


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "digits"
    write_example(path)
    return path


def test_candidates_of_a_file(example: Path, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The trials' own table is one: what it holds beside the choices is left alone."""
    found = predicted(capsys, example / "trials.csv", runs=[example], csv=tmp_path / "out.csv")
    check_schema(found, root / "docs/schema/predict.json")
    assert found["metric"] == "latency_ms@local" and found["assessment"]["measured"] == 24
    assert found["assessment"]["spearman"] > 0.8
    values = [one["value"] for one in found["predictions"]]
    assert len(values) == 24 and all(values)
    assert found["predictions"][0]["candidate"] == "line 2"
    head, first, *_ = (tmp_path / "out.csv").read_text().splitlines()
    assert head.startswith("candidate,width,") and head.endswith("latency_ms@local,low,high,reason")
    assert first.startswith("line 2,64,") and str(values[0]) in first


def test_a_row_without_choices_is_no_network(example: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As trials.csv has a baseline that is an ONNX file."""
    head, *rows = (example / "trials.csv").read_text().splitlines()
    cells = dict.fromkeys(head.split(","), "") | {"trial": "0", "digest": "ab", "latency_ms@local": "0.2"}
    (tmp_path / "t.csv").write_text("\n".join([head, ",".join(cells.values()), rows[0]]))
    found, other = predicted(capsys, tmp_path / "t.csv", runs=[example])["predictions"]
    assert found == {
        "candidate": "line 2", "choices": None, "value": None, "low": None, "high": None,
        "reason": "no choices: no network of the space",
    }  # fmt: skip
    assert other["value"] > 0


def test_a_table_says_how_good_it_is(example: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = {"target": "local", "metric": "latency_ms", "fleet": None, "store": None, "csv": None}
    run([str(example / "trials.csv")], runs=[example], json=False, **settings)  # type: ignore[arg-type]
    out, err = capsys.readouterr()
    assert out.splitlines()[0].split("\t") == ["candidate", "latency_ms@local", "90 % from", "to", "why not"]
    assert "latency_ms@local from 24 measured networks by" in err and "within 10 %, median error" in err


def test_a_new_target_is_learnt_from_profiles_in_a_store(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The run's own files were profiled on it; another file of the space is predicted, and one that is not is not."""
    example = Example(tmp_path / "run")
    example.start()
    store = Store(tmp_path / "hwnas.db")
    random = np.random.default_rng(0)
    for index in range(12):
        example.propose(index)
        file = example.folder.trial(index).untrained
        module = build(find_space("convnet"), example.journal.trials[index].choices, (1, 8, 8), 10)
        export_onnx(module, file, input_shape=(1, 8, 8))
        macs = sum(one.macs for one in read(file))
        if index < 11:
            example.measure(index)
            target = Target(name="pi5", device="pi5")
            store.add_profile(profile_of("n", 1.0 + macs / 1e6, random, digest=digest(file), target=target))
    example.end()
    example.close()
    store.close()
    last = example.folder.trial(11).untrained
    odd = onnx_file(tmp_path / "odd.onnx", [helper.make_node("Softplus", ["x"], ["y"])], {})
    settings = {"target": "pi5", "store": str(tmp_path / "hwnas.db"), "fleet": fleet_of(tmp_path)}
    found = predicted(capsys, last, odd, runs=[tmp_path / "run"], **settings)
    one, other = found["predictions"]
    assert found["assessment"]["measured"] == 11
    assert one["low"] <= one["value"] <= one["high"]
    assert other["value"] is None and "Softplus" in other["reason"]
    with pytest.raises(MeasurementError, match=r"no value of latency_ms@pi5 for any candidate: .*Softplus"):
        predicted(capsys, odd, runs=[tmp_path / "run"], **settings)
    with pytest.raises(MeasurementError, match=r"figure of latency_ms@pi5; .* count where --fleet names the target"):
        predicted(capsys, odd, runs=[tmp_path / "run"], **settings | {"fleet": None})


def test_measured_networks_that_cannot_be_read_are_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of twelve, each of so many operations of 0.5 ms; one file is gone, another one has control flow."""
    files = []
    for n in range(1, 13):
        nodes = [helper.make_node("Relu", [f"{i}" if i else "x"], [f"{i + 1}" if i + 1 < n else "y"]) for i in range(n)]
        files.append(onnx_file(tmp_path / f"{n}.onnx", nodes, {}))
    measured = [Measured(choices={}, file=file, value=1 + 0.5 * n) for n, file in enumerate(files, start=1)]
    known = Known(
        space=find_space("convnet"), input_shape=(1, 8, 8), outputs=10, searched_precision=False, measured=measured
    )
    files[2].unlink()
    branch = helper.make_graph([helper.make_node("Relu", ["x"], ["z"])], "b", [], [])
    onnx_file(files[3], [helper.make_node("If", ["x"], ["y"], then_branch=branch, else_branch=branch)], {})
    found = predict(known, [str(files[4])], "latency_ms@local")
    assert found.assessment.measured == 10
    assert found.rows[0][1].value == pytest.approx(1 + 0.5 * 5, rel=1e-3)
    told = f"2 of 12 measured networks left out; the first: {files[2]}: there is no such model file\n"
    assert capsys.readouterr().err == told


def fleet_of(folder: Path) -> Path:
    """With the target pi5, of one thread."""
    path = folder / "fleet.toml"
    path.write_text('[devices.pi5]\ntransport = "ssh"\nhost = "pi5"\n[targets.pi5]\ndevice = "pi5"\n')
    return path


def proposed(path: Path, study: str = STUDY, **overrides: object) -> tuple[Path, str]:
    """A search that has exported one network and measured nothing, and the digest of the file."""
    example = Example(path, study)
    example.start(**overrides)
    example.propose(0)
    example.close()
    nodes = [helper.make_node("Relu", ["x"], ["y"])]
    return path, digest(onnx_file(example.folder.trial(0).untrained, nodes, {}))


def test_profiles_of_other_settings_or_of_another_machine_do_not_count(tmp_path: Path) -> None:
    path, file = proposed(tmp_path / "run")
    random = np.random.default_rng(0)
    with Store(tmp_path / "hwnas.db") as store:

        def add(value: float, time: str = "2026-01-01T00:00:00Z", name: str = "local", **settings: Any) -> None:
            device = FINGERPRINT | {"cpu": settings.pop("cpu", FINGERPRINT["cpu"])}
            target = Target(name=name, device=name, **settings)
            store.add_profile(profile_of("n", value, random, digest=file, target=target, device=device, time=time))

        add(4.0, threads=4)
        add(5.0, batch=8)
        add(7.0, cpu="Another CPU")
        with pytest.raises(MeasurementError, match=r"of a store those count that are of its settings in .*run"):
            read_known([path], "latency_ms", "local", store)
        add(1.0)
        add(3.0)
        assert [one.value for one in read_known([path], "latency_ms", "local", store).measured] == [2.0]
        # A target that no run has: as the fleet file says, and the device that was profiled last.
        fleet = load_fleet(fleet_of(tmp_path))
        add(8.0, "2026-02-01T00:00:00Z", "pi5")
        add(9.0, "2026-01-01T00:00:00Z", "pi5", cpu="Another CPU")
        add(2.0, "2026-03-01T00:00:00Z", "pi5", threads=2, cpu="Another CPU")
        assert [one.value for one in read_known([path], "latency_ms", "pi5", store, fleet).measured] == [8.0]


def test_a_profile_of_the_exported_file_is_none_of_its_int8_twin(tmp_path: Path) -> None:
    """Both have that file, and the twin runs a converted one."""
    quantise = STUDY + '[quantise]\nprecisions = ["fp32", "int8"]\n'
    example = Example(tmp_path / "run", quantise)
    example.start()
    nodes = [helper.make_node("Relu", ["x"], ["y"])]
    for index, precision in enumerate(("fp32", "int8")):
        choices = BASELINE | {"precision": precision}
        example.journal.append(
            "proposed", index, choices=choices, digest=digest_of(choices), source="sobol", seconds=1.0
        )
        example.folder.trial(index).path.mkdir(parents=True)
        file = digest(onnx_file(example.folder.trial(index).untrained, nodes, {}))
    example.close()
    with Store(tmp_path / "hwnas.db") as store:
        store.add_profile(profile_of("n", 2.0, np.random.default_rng(0), digest=file))
        (only,) = read_known([tmp_path / "run"], "latency_ms", "local", store).measured
    assert (only.choices["precision"], only.value) == ("fp32", 2.0)


def test_runs_on_unlike_machines_are_not_pooled(tmp_path: Path) -> None:
    one, _ = proposed(tmp_path / "one")
    other, _ = proposed(tmp_path / "other", threads=4, fingerprint=FINGERPRINT | {"cpu": "Another CPU"})
    told = (
        "other: given local with threads = 4, cpu = Another CPU; accepted: with threads = 1, "
        "cpu = Example CPU at 2.5 GHz, as in .*one"
    )
    with pytest.raises(InputError, match=told):
        read_known([one, other], "latency_ms", "local")
    (tmp_path / "fleet.toml").write_text("[targets.local]\nthreads = 2\n")
    with pytest.raises(InputError, match=r"fleet.toml: given local with threads = 2; accepted: with threads = 1, as"):
        read_known([one], "latency_ms", "local", fleet=load_fleet(tmp_path / "fleet.toml"))


def test_bad_input_is_named(example: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = tmp_path / "c.csv"
    table.write_text("width,kernel\n32,3\n")
    with pytest.raises(InputError, match=r"c.csv: column stem_stride: given 0 of that name"):
        predicted(capsys, table, runs=[example])
    with pytest.raises(InputError, match="one CSV file, or ONNX files"):
        predicted(capsys, table, table, runs=[example])
    with pytest.raises(InputError, match="given no run"):
        predicted(capsys, table, runs=[])
    with pytest.raises(InputError, match="metric: given 'speed'; accepted: latency_ms, "):
        predicted(capsys, table, runs=[example], metric="speed")
    with pytest.raises(MeasurementError, match=r"has a figure of latency_ms@pi5; there are: .*latency_ms@local"):
        predicted(capsys, table, runs=[example], target="pi5")
    with pytest.raises(InputError, match="there is no such store"):
        predicted(capsys, table, runs=[example], store=str(tmp_path / "none.db"))
    other = Example(tmp_path / "other", STUDY.replace('"convnet"', '"mlp"'))
    other.start()
    other.close()
    given_and_accepted = "given mlp for inputs of 1 x 8 x 8 and 10 outputs; accepted: convnet for"
    with pytest.raises(InputError, match=given_and_accepted):
        predicted(capsys, table, runs=[example, tmp_path / "other"])
