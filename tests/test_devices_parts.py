"""The parts of the agent that are plain functions: inputs, parity, disturbance, fingerprint, blocks, protocol."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from devices import blocks, disturbance, fingerprint, inputs, parity, protocol
from devices.disturbance import Reading
from devices.inputs import Input
from devices.plan import Job
from profiles.errors import InputError, ParityError

IMAGE = Input(name="x", dtype="float32", dims=("batch", 3, 8, 8))
TEXT = Input(name="ids", dtype="int64", dims=("batch", "length"))
FIXED = Input(name="x", dtype="float32", dims=(1, 4))
VIDEO = Input(name="v", dtype="float32", dims=("b", 3, "h", "w"))
OPEN = "the model leaves dimensions open: "

# Inputs


def test_an_open_first_dimension_is_the_batch() -> None:
    assert inputs.shapes_of([IMAGE], 4, {}) == {"x": (4, 3, 8, 8)}
    assert inputs.shapes_of([IMAGE, TEXT], 4, {"ids": [1, 7]}) == {"x": (4, 3, 8, 8), "ids": (4, 7)}
    assert inputs.shapes_of([IMAGE, TEXT], 4, {"ids": [4, 7]}) == {"x": (4, 3, 8, 8), "ids": (4, 7)}
    assert inputs.shapes_of([FIXED], 1, {}) == {"x": (1, 4)}
    eight = Input(name="x", dtype="float32", dims=(8, 4))
    assert inputs.shapes_of([eight], 8, {"x": [1, 4]}) == inputs.shapes_of([eight], 1, {}) == {"x": (8, 4)}


@pytest.mark.parametrize(
    ("tensors", "batch", "shapes", "message"),
    [
        ([TEXT, IMAGE], 1, {}, f"{OPEN}ids [batch, length]; give sizes, such as --shape ids=1x128"),
        ([VIDEO, TEXT], 1, {"ids": [1, 7]}, f"{OPEN}v [b, 3, h, w]; give sizes, such as --shape v=1x3x224x224"),
        ([TEXT, VIDEO], 1, {}, f"{OPEN}ids [batch, length], v [b, 3, h, w]; give sizes, such as --shape ids=1x128 --s"),
        ([Input(name="x", dtype="float32", dims=(0, 4))], 1, {}, "input x [0, 4]: accepted: a first dimension above 0"),
        ([TEXT], 4, {"ids": [2, 7]}, "--shape ids=2x7: given a batch of 4; accepted: of 1 or 4 here"),
        ([FIXED], 8, {"x": [1, 4]}, "batch: given 8; accepted: 1, to which the model fixes it"),
        ([FIXED], 8, {}, "batch: given 8; accepted: 1, to which the model fixes it"),
        ([FIXED], 1, {"y": [1]}, "--shape y: the model has no such input; it has: x"),
        ([FIXED], 1, {"x": [2, 4]}, "--shape x=2x4: accepted: a shape that fits [1, 4]"),
        ([IMAGE], 1, {"x": [1, 3, 8]}, "--shape x=1x3x8: accepted: a shape that fits [batch, 3, 8, 8]"),
        ([IMAGE], 1, {"x": [0, 3, 8, 8]}, "--shape x=0x3x8x8: accepted: a shape that fits [batch, 3, 8, 8]"),
    ],
)
def test_shapes_that_do_not_fit(tensors: list[Input], batch: int, shapes: dict[str, list[int]], message: str) -> None:
    with pytest.raises(InputError) as caught:
        inputs.shapes_of(tensors, batch, shapes)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize("dtype", ["int64", "int32", "uint32"])
def test_wide_integers_are_an_index_of_any_table(dtype: str) -> None:
    tensor = Input(name="token_type_ids", dtype=dtype, dims=(1, 9))
    assert np.array_equal(inputs.random_inputs([tensor], {tensor.name: (1, 9)}, 3)[tensor.name], np.ones((1, 9), dtype))


@pytest.mark.parametrize("dtype", ["float32", "float16", "float64", "uint8", "int8"])
def test_random_inputs_are_of_their_type_reproducible_and_not_zero(dtype: str) -> None:
    tensor = Input(name="x", dtype=dtype, dims=("n", 100))
    first, again, other = (inputs.random_inputs([tensor], {"x": (2, 100)}, seed)["x"] for seed in (1, 1, 2))
    assert (first.dtype, first.shape) == (np.dtype(dtype), (2, 100))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert np.count_nonzero(first) == 200


def test_random_inputs_are_the_same_in_pieces() -> None:
    shapes = {"x": (3, 9999), "m": (50_001,)}  # of which neither fills its last piece
    tensors = [Input(name=name, dtype=dtype, dims=shapes[name]) for name, dtype in (("x", "float32"), ("m", "bool"))]
    found = inputs.random_inputs(tensors, shapes, 5)
    generator = np.random.default_rng(5)
    assert np.array_equal(found["x"], generator.standard_normal((3, 9999)).astype(np.float32))
    assert np.array_equal(found["m"], generator.integers(0, 2, size=50_001).astype(bool))


def test_there_are_no_random_texts() -> None:
    with pytest.raises(InputError, match=r"of the type tensor\(string\): no random values for it; give --inputs"):
        inputs.random_inputs([Input(name="x", dtype="tensor(string)", dims=(1,))], {"x": (1,)}, 0)


def test_inputs_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "i.npz"
    np.savez(path, x=np.ones((5, 3, 8, 8), np.float32), unused=np.ones(1))
    assert inputs.read_npz(path, [IMAGE])["x"].shape == (5, 3, 8, 8)
    assert [len(inputs.read_npz(path, [IMAGE], batch)["x"]) for batch in (1, 4)] == [1, 4]  # the others calibrate
    np.savez(tmp_path / "j.npz", x=np.ones((5, 3, 8, 8), np.float32), boxes=np.ones((9, 4), np.float32))
    boxes, tokens = (
        Input(name=name, dtype="float32", dims=dims) for name, dims in (("boxes", ("n", 4)), ("t", ("s",)))
    )
    assert [len(one) for one in inputs.read_npz(tmp_path / "j.npz", [IMAGE, boxes], 1).values()] == [5, 9]  # no batch
    np.savez(tmp_path / "k.npz", t=np.ones(7, np.float32))
    assert len(inputs.read_npz(tmp_path / "k.npz", [tokens], 1)["t"]) == 7
    assert inputs.shapes_of([IMAGE, tokens], 8, {"t": [100]}) == {"x": (8, 3, 8, 8), "t": (100,)}
    texts, sizes, other = (
        Input(name=name, dtype="int64", dims=dims) for name, dims in (("x", ("n", 4)), ("l", ("n",)), ("o", ("m",)))
    )
    np.savez(tmp_path / "l.npz", x=np.ones((9, 4), np.int64), l=np.ones(9, np.int64), o=np.ones(7, np.int64))
    cut = inputs.read_npz(tmp_path / "l.npz", [texts, sizes, other], 2)
    assert {name: len(array) for name, array in cut.items()} == {"x": 2, "l": 2, "o": 7}
    three = Input(name="x", dtype="float32", dims=(3, 3, 8, 8))
    with pytest.raises(InputError, match="batch: given 4; accepted: 3, to which the model fixes it"):
        inputs.read_npz(path, [three], 4)
    with pytest.raises(InputError, match="batch: given 4; accepted: 1, since no input"):
        inputs.shapes_of([], 4, {})
    assert len(inputs.read_npz(path, [three], 1)["x"]) == 3
    with pytest.raises(InputError, match=r"i\.npz: x: given 5 samples; accepted: from 8, the batch"):
        inputs.read_npz(path, [IMAGE], 8)
    with pytest.raises(InputError, match=r"j\.npz: given 5 of x, 9 of boxes; accepted with a batch of 2: as many"):
        inputs.read_npz(tmp_path / "j.npz", [IMAGE, boxes], 2)
    assert len(inputs.read_npz(tmp_path / "j.npz", [IMAGE, boxes], 5)["boxes"]) == 9  # just the batch, and its boxes
    with pytest.raises(InputError, match="no array named 'ids'; it has: unused, x"):
        inputs.read_npz(path, [TEXT])
    with pytest.raises(InputError, match=r"x: given float32\[5, 3, 8, 8\]; accepted: float32\[1, 4\]"):
        inputs.read_npz(path, [FIXED])


def test_an_empty_cache_is_a_shape_and_an_empty_batch_is_none() -> None:
    cache = Input(name="past", dtype="float32", dims=("batch", "past", 64))
    assert inputs.shapes_of([cache], 2, {"past": [1, 0, 64]}) == {"past": (2, 0, 64)}
    with pytest.raises(InputError, match="--shape past=0x1x64: accepted: a shape that fits"):
        inputs.shapes_of([cache], 1, {"past": [0, 1, 64]})


def test_one_array_is_no_file_of_inputs(tmp_path: Path) -> None:
    np.save(tmp_path / "i.npy", np.ones((1, 4), np.float32))
    with pytest.raises(InputError, match=r"i\.npy: given one array without a name; accepted: an \.npz file"):
        inputs.read_npz(tmp_path / "i.npy", [FIXED])
    with pytest.raises(InputError, match=r"given inputs in i\.npz and the shape x=1x4; accepted: one of them"):
        Job(model=tmp_path / "m.onnx", name="m", shapes={"x": (1, 4)}, inputs=Path("i.npz"))


def test_a_pickle_is_no_input(tmp_path: Path) -> None:
    path = tmp_path / "i.npz"
    np.savez(path, x=np.array([{"a": 1}], dtype=object))
    with pytest.raises(InputError, match=r"not a readable \.npz file of plain arrays"):
        inputs.read_npz(path, [FIXED])
    path.write_bytes(b"PK\3\4")
    with pytest.raises(InputError, match=r"not a readable \.npz file of plain arrays"):
        inputs.read_npz(path, [FIXED])


def test_a_damaged_file_of_inputs(tmp_path: Path) -> None:
    path = tmp_path / "i.npz"
    np.savez_compressed(path, x=np.arange(4000, dtype=np.float32))
    whole = path.read_bytes()
    data, entry = whole.index(b"x.npy") + 30, whole.index(b"PK\1\2")
    for place, value in (
        (data, b"\xff" * 40),  # what is compressed
        (entry + 10, b"\x63"),  # the method
        (entry + 8, b"\1"),  # encrypted
    ):
        path.write_bytes(whole[:place] + value + whole[place + len(value) :])
        with pytest.raises(InputError, match=r"i\.npz: not a readable \.npz file of plain arrays"):
            inputs.read_npz(path, [FIXED])


# Parity


def test_agreement_is_relative_to_the_largest_value_of_each_output() -> None:
    found = parity.agreement(
        {"a": np.array([1.0, 4.0]), "b": np.array([100.0, 1.0])},
        {"a": np.array([1.0, 5.0]), "b": np.array([100.0, 2.0])},
    )
    assert found.error == found.float_error == pytest.approx(0.2)  # 1 of 5, not 1 of 100
    assert found.distance == pytest.approx(1 / np.sqrt(26))
    assert found.equal == 1.0  # there are no integers


def test_outputs_are_matched_in_order_where_names_differ() -> None:
    assert parity.agreement({"out": np.ones(3)}, {"result": np.ones(3)}).error == 0
    assert parity.agreement({"out": np.zeros(3)}, {"out": np.zeros(3)}).distance == 0
    assert parity.agreement({"out": np.full(3, 1e-9)}, {"out": np.zeros(3)}).distance == np.inf
    assert parity.agreement({"out": np.ones((0, 3))}, {"out": np.ones((0, 3))}) == parity.Agreement()


@pytest.mark.parametrize(
    ("output", "reference", "message"),
    [
        ([1.0, np.nan], [1.0, 2.0], "1 of 2 values of output y are NaN or infinite"),
        ([np.inf, np.inf], [1.0, 2.0], "2 of 2 values of output y are NaN or infinite"),
        ([1.0, 2.0], [1.0, np.nan], "1 of 2 values of the reference of output y are NaN or infinite"),
        ([np.inf, -np.inf], [np.inf, -np.inf], "2 of 2 values of the reference of output y are NaN or infinite"),
        ([np.inf, 1.0], [-np.inf, 1.0], "1 of 2 values of the reference of output y are NaN or infinite"),
        ([1.0], [1.0, 2.0], r"output y has the shape \[1\] and its reference \[2\]"),
    ],
)
def test_outputs_that_cannot_be_right(output: list[float], reference: list[float], message: str) -> None:
    with pytest.raises(ParityError, match=message):
        parity.agreement({"y": np.array(output)}, {"y": np.array(reference)})
    with pytest.raises(ParityError, match="has 1 outputs and its reference 2"):
        parity.agreement({"y": np.ones(1)}, {"y": np.ones(1), "z": np.ones(1)})


def test_scores_that_are_masked_in_both_are_equal() -> None:
    masked = np.array([-np.inf, 4.0])
    assert parity.agreement({"y": masked + np.array([0.0, 1.0])}, {"y": masked}).error == 0.25


def test_an_error_too_large_to_be_squared_is_one() -> None:
    found = parity.agreement({"y": np.full(2, 1e200)}, {"y": np.full(2, -1e200)})
    with pytest.raises(ParityError, match="output is wrong"):
        parity.judge(found, "int8")


IDS = [list(range(20))]


@pytest.mark.parametrize(
    ("precision", "output", "reference", "message"),
    [
        ("fp32", [1.0, 10.0009], [1.0, 10.0], None),
        ("fp32", [1.0, 10.0011], [1.0, 10.0], r"relative error 0\.00011 to the reference; .* fp32: up to 0\.0001"),
        ("fp16", [1.0, 10.09], [1.0, 10.0], None),
        ("fp16", [1.0, 10.11], [1.0, 10.0], r"relative error 0\.011 to the reference; .* fp16: up to 0\.01"),
        ("int8", [3.0, 4.6], [3.0, 4.0], None),  # 0.6 of 5
        ("int8", [3.0, 4.8], [3.0, 4.0], r"relative L2 error 0\.16 to the reference; .* int8: up to 0\.14"),
        ("int8", [0.9], [0.1], "relative L2 error 8 "),  # the direction is right
        ("int8", [30.0, 40.0], [3.0, 4.0], "relative L2 error 9 "),
        ("int8", [[7]], [[3]], "0 % of the integers are those of the reference; accepted for int8: from 90 %"),
        ("int8", [[3]], [[3]], None),
        ("fp32", [30000], [29999], "0 % of the integers .* fp32: from 100 %"),  # ids, however near
        ("fp32", IDS, IDS, None),
        ("fp32", IDS, [[*range(19), 0]], "95 % of the integers .* fp32: from 100 %"),
        ("fp16", IDS, [[*range(19), 0]], None),
        ("int8", IDS, [[*range(18), 0, 0]], None),
        ("int8", IDS, [[*range(17), 0, 0, 0]], "85 % of the integers .* int8: from 90 %"),
        ("int8", [True, False], [True, True], "50 % of the integers"),
    ],
)
def test_what_counts_as_right(precision: str, output: Any, reference: Any, message: str | None) -> None:
    found = parity.agreement({"y": np.array(output)}, {"y": np.array(reference)})
    if message is None:
        parity.judge(found, precision)
    else:
        with pytest.raises(ParityError, match=f"^output is wrong: {message}"):
            parity.judge(found, precision)


def test_every_output_must_be_right_by_its_own_kind() -> None:
    scores, ids = np.array([1.0, 2.0]), np.array([1, 0])
    right = parity.agreement({"scores": scores, "ids": ids}, {"scores": scores, "ids": ids})
    assert right == parity.Agreement()
    wrong = parity.agreement({"scores": scores, "ids": ids}, {"scores": scores, "ids": ids[::-1]})
    assert wrong == parity.Agreement(error=1.0, equal=0.0)  # the record's error is over all outputs
    # Quantised values, each off by one, are values and no ids.
    values = np.array([100, 100], np.uint8)
    found = parity.agreement({"y": values}, {"y": values + np.uint8(1)})
    assert (found.equal, found.distance) == (1.0, pytest.approx(1 / 101))
    parity.judge(found, "int8")


# Disturbance


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A recorded machine."""
    for name, text in {
        "proc/pressure/cpu": "some avg10=1.00 avg60=0.10 avg300=0.00 total=5000\nfull avg10=0.00 total=7\n",
        "proc/stat": "cpu  100 0 50 9000 1 0 2 33 0 0\ncpu0 1 2 3\n",
        "proc/thread-self/schedstat": "36456663 5637195 23\n",
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def test_a_recorded_tree_is_read(tree: Path, tmp_path: Path) -> None:
    found = disturbance.Sources(tree).read()
    assert (found.pressure_us, found.steal_ticks, found.waited_ns) == (5000, 33, 5637195)
    assert found.switches is not None
    (tree / "proc/pressure/cpu").write_text("")
    (tree / "proc/stat").write_text("cpu 1")
    (tree / "proc/thread-self/schedstat").unlink()
    found = disturbance.Sources(tree).read()
    assert (found.pressure_us, found.steal_ticks, found.waited_ns) == (None, None, None)


def _reading(time_ms: float = 0.0, **counters: int | None) -> Reading:
    zero: dict[str, int | None] = {"pressure_us": 0, "steal_ticks": 0, "waited_ns": 0, "switches": 0}
    return Reading(time_ns=round(time_ms * 1e6), **(zero | counters))


@pytest.mark.parametrize(
    ("after", "reasons"),
    [
        (_reading(50), []),
        (_reading(50, pressure_us=7_000, waited_ns=1_000_000, switches=9), []),
        (_reading(50, pressure_us=8_000), ["pressure"]),
        (_reading(50, steal_ticks=1), ["steal"]),
        (_reading(50, waited_ns=2_000_000), ["waited"]),
        (_reading(50, switches=11), ["switched"]),
        (_reading(1, switches=1), []),
        (_reading(50, pressure_us=50_000, waited_ns=25_000_000), ["pressure", "waited"]),
        (_reading(50, pressure_us=None, steal_ticks=None, waited_ns=None, switches=None), []),
        (_reading(0, pressure_us=50_000), []),
    ],
)
def test_what_counts_as_disturbed(after: Reading, reasons: list[str]) -> None:
    assert disturbance.reasons(_reading(), after) == reasons


# Fingerprint


def test_a_recorded_board(tmp_path: Path) -> None:
    for name, text in {
        "proc/cpuinfo": "processor : 0\n" + 4 * "CPU implementer : 0x41\nCPU part : 0xd0b\n\n",
        "proc/meminfo": "MemTotal:        8055016 kB\nMemFree: 1 kB\n",
        "proc/device-tree/model": "Raspberry Pi 5 Model B Rev 1.0\0",
        "proc/sys/kernel/osrelease": "6.6.31+rpt-rpi-2712\n",
        "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "ondemand\n",
        "proc/driver/nvidia/version": "NVRM version: NVIDIA UNIX x86_64 Kernel Module  570.86.15  Tue Jan 21 2025\n",
        "proc/driver/nvidia/gpus/0000:01:00.0/information": "Model: \t\t NVIDIA T4\nIRQ:   \t\t 33\n",
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    found = fingerprint.fingerprint({"onnxruntime": "1.2"}, tmp_path)
    assert found["cpu"] == "Arm 0x41/0xd0b"
    assert found["board"] == "Raspberry Pi 5 Model B Rev 1.0"
    assert (found["kernel"], found["governor"], found["memory_gb"]) == ("6.6.31+rpt-rpi-2712", "ondemand", 8)
    assert (found["gpu"], found["gpu_driver"]) == ("NVIDIA T4", "570.86.15")
    assert found["versions"]["onnxruntime"] == "1.2"
    assert json.loads(json.dumps(found)) == found


def test_a_machine_that_says_nothing(tmp_path: Path) -> None:
    found = fingerprint.fingerprint({}, tmp_path)
    assert (found["cpu"], found["board"], found["governor"], found["memory_gb"]) == (None, None, None, None)
    assert found["kernel"]


def test_the_fingerprint_of_this_machine_is_steady() -> None:
    assert fingerprint.fingerprint({}) == fingerprint.fingerprint({})


# Blocks


def _steal_in(disturbed: set[int]) -> Callable[[], Reading]:
    """A machine that is disturbed in the blocks named, counted over all groups of four."""

    def readings() -> Iterator[Reading]:
        time_ms, steal = 0.0, 0
        for block in itertools.count():
            yield _reading(time_ms, steal_ticks=steal)
            time_ms += 50
            steal += 100 if block in disturbed else 0
            yield _reading(time_ms, steal_ticks=steal)

    found = readings()
    return lambda: next(found)


def _measure(
    names: str,
    log: list[str],
    *,
    groups: int = 3,
    seed: int = 0,
    block_ms: float = 0.01,
    reading: Callable[[], Reading] | None = None,
    enough_ms: float | None = None,
) -> list[blocks.TimedBlock]:
    def arm(name: str) -> blocks.Arm:
        reads = reading or (lambda: _reading())
        return blocks.arm(lambda: log.append(name), block_ms=block_ms, warm_up_ms=0.0, reading=reads)

    arms = {name: arm(name) for name in names}
    return blocks.measure(arms, groups=groups, max_groups=2 * groups, seed=seed, enough_ms=enough_ms)


@pytest.mark.parametrize("names", ["A", "AB", "ABC"])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_group_goes_forth_and_back(names: str, seed: int) -> None:
    found = _measure(names, [], seed=seed)
    for group in range(3):
        order = [block.arm for block in found if block.group == group]
        assert order == order[::-1]
        assert sorted(order[: len(names)]) == list(names)
    assert len(found) == 3 * 2 * len(names)
    assert not any(block.reasons for block in found)


def test_which_arm_comes_first_changes() -> None:
    first = {next(block.arm for block in _measure("AB", [], seed=seed)) for seed in range(20)}
    assert first == {"A", "B"}


def test_the_first_run_of_a_block_is_dropped() -> None:
    log: list[str] = []
    found = _measure("AB", log, groups=1)
    warm_up = 3 * 2
    assert len(log) == warm_up + sum(len(block.latencies_ns) + 1 for block in found)


def test_a_call_that_is_not_timed_comes_before_each_that_is() -> None:
    log: list[str] = []
    arm = blocks.arm(
        lambda: log.append("run"), block_ms=1.0, warm_up_ms=0.0, reading=_reading, prime=lambda: log.append("prime")
    )
    log.clear()
    latencies_ns, *_ = arm.time(3)
    assert log == ["run", *["prime", "run"] * 3]
    assert len(latencies_ns) == 3


def test_runs_with_pauses_are_not_primed() -> None:
    log: list[str] = []
    arm = blocks.arm(
        lambda: log.append("run"),
        block_ms=1.0,
        warm_up_ms=0.0,
        interval_ms=0.1,
        reading=_reading,
        prime=lambda: log.append("prime"),
    )
    log.clear()
    arm.time(3)
    assert log == ["run"] * 4


def test_a_block_is_filled_but_never_endless() -> None:
    for block in _measure("A", [], groups=1, block_ms=1000.0):
        assert len(block.latencies_ns) == blocks.MAX_RUNS
    for block in _measure("A", [], groups=1, block_ms=1e-9):
        assert len(block.latencies_ns) == 1


def _disturbed(found: list[blocks.TimedBlock]) -> list[int]:
    return [number for number, block in enumerate(found) if block.reasons]


@pytest.mark.parametrize(("disturbed", "groups"), [(set(), 2), ({0}, 3), ({0, 4}, 4), (set(range(99)), 4)])
def test_after_enough_time_two_quiet_groups_will_do(disturbed: set[int], groups: int) -> None:
    found = _measure("AB", [], groups=10, enough_ms=0.0, reading=_steal_in(disturbed))
    assert len(found) == 4 * groups


def test_a_disturbed_group_is_kept_and_replaced() -> None:
    found = _measure("AB", [], reading=_steal_in({1}))
    assert [block.group for block in found] == [0] * 4 + [1] * 4 + [2] * 4 + [3] * 4
    assert _disturbed(found) == [1]
    assert found[1].reasons == ("steal",)


def test_replacing_ends() -> None:
    found = _measure("AB", [], reading=_steal_in(set(range(100))))
    assert len(found) == 6 * 4
    assert _disturbed(found) == list(range(24))


# Protocol


@hypothesis.given(st.lists(st.binary(max_size=20).filter(lambda line: b"\n" not in line)), st.integers(1, 7))
def test_lines_out_of_pieces(lines: list[bytes], size: int) -> None:
    data = b"".join(line + b"\n" for line in lines) + b"rest"
    reader = protocol.Lines()
    found = [line for start in range(0, len(data), size) for line in reader.feed(data[start : start + size])]
    assert found == lines


@pytest.mark.parametrize(
    "line", [b"", b"Welcome to Debian", b'{"name": 1}', b'{"id":1', b'{"id":', b"[1]", b'\xff{"id":1}', b'x{"id":1}']
)
def test_other_lines_are_not_ours(line: bytes) -> None:
    assert protocol.parse(line) is None


def test_final_records_are_known_by_their_start() -> None:
    assert protocol.is_final(b'{"id":12,"done":true,"blocks":[')
    assert protocol.is_final(b'{"id":12,"error":{"kind":"InputError"')
    assert not protocol.is_final(b'{"id":12,"event":"started"}')
    assert protocol.failure(3, ValueError("two\nlines")) == {
        "id": 3,
        "error": {"kind": "MeasurementError", "message": "ValueError: two lines"},
    }
