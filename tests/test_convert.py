"""fp16 and int8 files: right enough, the same each time, and honest about what they were calibrated with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from devices import inputs
from devices.convert import RANDOM_CALIBRATION, Converted, convert, precision_of
from devices.parity import agreement, judge
from nas import models
from profiles import registry
from profiles.errors import InputError, MeasurementError
from profiles.records import Target

CALIBRATION = Path(inputs.__file__).parent / "calibration.onnx"
CPU = Target(name="t", device="local")


def _outputs(path: Path, feeds: inputs.Arrays) -> inputs.Arrays:
    model = registry.find("devices.engines", "onnxruntime").load(path, CPU)
    model.bind(feeds)
    return dict(model.outputs())


def _images(count: int, seed: int = 7) -> inputs.Arrays:
    return {"input": np.random.default_rng(seed).standard_normal((count, 3, 80, 80)).astype(np.float32)}


@pytest.mark.parametrize(("precision", "share"), [("fp16", 0.55), ("int8", 0.6)])
def test_a_converted_model_is_smaller_and_answers_alike(precision: str, share: float, tmp_path: Path) -> None:
    found = convert(CALIBRATION, precision, folder=tmp_path)
    assert found.model.stat().st_size < share * CALIBRATION.stat().st_size
    feeds = _images(1)
    judge(agreement(_outputs(found.model, feeds), _outputs(CALIBRATION, feeds)), precision)
    session = registry.find("devices.engines", "onnxruntime").load(found.model, CPU)
    assert [tensor.dtype for tensor in session.inputs] == ["float32"]


def test_int8_is_qdq_per_channel_with_the_weights_in_int8(tmp_path: Path) -> None:
    graph = onnx.load(convert(CALIBRATION, "int8", folder=tmp_path).model).graph
    assert {"QuantizeLinear", "DequantizeLinear", "Conv"} <= {node.op_type for node in graph.node}
    sizes = {one.name: list(one.dims) for one in graph.initializer}
    (scale,) = [dims for name, dims in sizes.items() if name.startswith("stem.weight") and name.endswith("scale")]
    assert scale == [24]
    (weight,) = [one for one in graph.initializer if one.name == "stem.weight_quantized"]
    assert weight.data_type == onnx.TensorProto.INT8


@pytest.mark.parametrize("name", models.names())
@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_every_reference_model_can_be_converted(
    name: str, precision: str, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    model = models.onnx_file(name, tmp_path_factory.getbasetemp() / "models")
    found = convert(model, precision, folder=tmp_path)
    _, shape = models.build(name)
    feeds = {"input": np.random.default_rng(99).standard_normal((1, *shape)).astype(np.float32)}
    judge(agreement(_outputs(found.model, feeds), _outputs(model, feeds)), precision)


def test_the_same_bytes_each_time_and_another_file_for_other_data(tmp_path: Path) -> None:
    first, second = (convert(CALIBRATION, "int8", calibration=_images(3), folder=tmp_path / name) for name in "ab")
    assert first.model.name == second.model.name
    assert first.model.read_bytes() == second.model.read_bytes()
    assert first.flags == ()
    other = convert(CALIBRATION, "int8", calibration=_images(3, seed=8), folder=tmp_path / "a")
    assert other.model.name != first.model.name
    first.model.write_bytes(b"kept")
    assert convert(CALIBRATION, "int8", calibration=_images(3), folder=tmp_path / "a").model.read_bytes() == b"kept"


def test_without_data_the_record_says_random(tmp_path: Path) -> None:
    assert convert(CALIBRATION, "int8", folder=tmp_path).flags == (RANDOM_CALIBRATION,)
    assert convert(CALIBRATION, "fp16", folder=tmp_path).flags == ()
    assert convert(CALIBRATION, "fp32", folder=tmp_path).model == CALIBRATION


def test_data_from_a_file(tmp_path: Path) -> None:
    np.savez(tmp_path / "images.npz", **_images(3))
    from_file = convert(CALIBRATION, "int8", calibration=tmp_path / "images.npz", folder=tmp_path)
    assert from_file == convert(CALIBRATION, "int8", calibration=_images(3), folder=tmp_path)


def test_a_quantised_model_is_not_quantised_again(tmp_path: Path) -> None:
    once = convert(CALIBRATION, "int8", calibration=_images(1), folder=tmp_path)
    twice = convert(once.model, "int8", calibration=_images(1), folder=tmp_path)
    assert twice == Converted(model=once.model)
    # Nothing is calibrated, so nothing is random; and its weights stay where they are.
    apart = tmp_path / "apart.onnx"
    onnx.save(onnx.load(once.model), apart, save_as_external_data=True, location="apart.data", size_threshold=0)
    assert convert(apart, "int8") == Converted(model=apart)


def test_the_precision_of_a_file(tmp_path: Path) -> None:
    assert precision_of(CALIBRATION) == "fp32"
    for precision in ("fp16", "int8"):
        assert precision_of(convert(CALIBRATION, precision, folder=tmp_path).model) == precision


def test_symmetric_activations_are_another_file(tmp_path: Path) -> None:
    found = {}
    for symmetric in (False, True):
        model = convert(CALIBRATION, "int8", calibration=_images(2), symmetric=symmetric, folder=tmp_path).model
        zeros = [one for one in onnx.load(model).graph.initializer if one.name.endswith("zero_point")]
        found[symmetric] = {onnx.TensorProto.DataType.Name(one.data_type) for one in zeros}
    assert "UINT8" in found[False] and found[True] <= {"INT8", "INT32"}


@pytest.mark.parametrize(
    ("calibration", "words"),
    [
        ({"x": np.ones((1, 3, 80, 80), np.float32)}, "calibration: no array named 'input'; it has: x"),
        ({"input": np.ones((1, 3, 8, 8), np.float32)}, r"input: given float32\[1, 3, 8, 8\]; accepted: float32\[sampl"),
        ({"input": np.ones((0, 3, 80, 80), np.float32)}, "no samples to calibrate with; accepted: at least 1"),
    ],
)
def test_calibration_that_does_not_fit(calibration: inputs.Arrays, words: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=words):
        convert(CALIBRATION, "int8", calibration=calibration, folder=tmp_path)


def test_axes_that_are_initialisers_and_inputs_that_are_numbers(tmp_path: Path) -> None:
    """Both are in most files: constants that were folded, and a threshold or a switch."""
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])
    scale = helper.make_tensor_value_info("scale", TensorProto.FLOAT, [])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    weight = np.random.default_rng(0).standard_normal((4, 4)).astype(np.float32)
    constants = [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(np.array([1]), "axes")]
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["m"]),
        helper.make_node("Unsqueeze", ["m", "axes"], ["u"]),
        helper.make_node("Mul", ["u", "scale"], ["y"]),
    ]
    graph = helper.make_graph(nodes, "g", [x, scale], [y], constants)
    path = tmp_path / "m.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    samples = {"x": np.random.default_rng(1).standard_normal((8, 4)).astype(np.float32), "scale": np.float32(0.5)}
    np.savez(tmp_path / "x.npz", **samples)
    found = convert(path, "int8", calibration=tmp_path / "x.npz", folder=tmp_path)
    feeds = {name: np.asarray(array) for name, array in samples.items()}
    judge(agreement(_outputs(found.model, feeds), _outputs(path, feeds)), "int8")


def test_files_of_an_older_opset_are_brought_to_one_that_quantises_per_channel(tmp_path: Path) -> None:
    weight = numpy_helper.from_array(np.random.default_rng(0).standard_normal((8, 3, 3, 3)).astype(np.float32), "w")
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph([helper.make_node("Conv", ["x", "w"], ["y"])], "g", [x], [y], [weight])
    path = tmp_path / "m.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=6), path)
    feeds = {"x": np.random.default_rng(1).standard_normal((1, 3, 8, 8)).astype(np.float32)}
    found = convert(path, "int8", folder=tmp_path)
    judge(agreement(_outputs(found.model, feeds), _outputs(path, feeds)), "int8")


def test_what_cannot_be_converted(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="precision: given 'int4'; accepted: fp32, fp16, int8"):
        convert(CALIBRATION, "int4", folder=tmp_path)
    with pytest.raises(InputError, match="there is no such model file"):
        convert(tmp_path / "absent.onnx", "int8", folder=tmp_path)
    broken = {"input": np.full((1, 3, 80, 80), np.nan, np.float32)}
    with pytest.raises(MeasurementError, match="the conversion to int8 failed"):
        convert(CALIBRATION, "int8", calibration=broken, folder=tmp_path)
    assert list(tmp_path.iterdir()) == []
