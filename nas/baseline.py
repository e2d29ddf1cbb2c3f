"""The incumbent as an ONNX file: what ships today, measured and scored beside the networks of the search.

    [baseline]
    onnx = "model.onnx"      # relative to the study file; or choices = {...}, a network of the space, which is trained

It is trial 0: measured as every candidate is (its outputs against its own on one CPU thread without optimisations,
since there is no torch module to compare with), scored on the validation set, and never trained. It feeds on the arrays
of the data set as they are: preprocessing of another kind has to be part of the file.

Not covered: several inputs, inputs other than float32, accuracies over other seeds.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from devices import onnxfile
from nas.data import Dataset
from nas.generators import Objective
from nas.study import STATIC_METRICS, Study
from profiles import files
from profiles.errors import InputError
from profiles.records import Target

if TYPE_CHECKING:
    from onnx import GraphProto, TypeProto

_WEIGHTS = ("FLOAT", "FLOAT16", "BFLOAT16", "DOUBLE", "INT8", "UINT8")
_WEIGHED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
_SAME_SHAPE = ("DequantizeLinear", "QuantizeLinear", "Cast", "Identity")
# Products with weights whose cost is not told by their shapes here: then the whole is not known.
_NOT_COUNTED = ("QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger", "QGemm", "MatMulNBits")


def check_file(path: Path, study: Study, data: Dataset, targets: Iterable[Target]) -> None:
    """Raises InputError unless the file takes the data's inputs, gives its outputs and has all metrics of the study."""
    import onnx

    if not path.is_file():
        raise InputError(f"baseline.onnx: given {path}; accepted: an ONNX file; there is none")
    onnxfile.external_files(path)
    try:
        graph = onnx.load(path, load_external_data=False).graph
    except Exception as error:  # protobuf's errors share no base with onnx's
        raise InputError(f"baseline.onnx: {path}: not an ONNX file: {error}") from None
    weights = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in weights]
    wanted = ("n", *data.input_shape)
    batches = {target.batch for target in targets}
    given = [_told(value.type) for value in inputs]
    if len(inputs) != 1 or _element(inputs[0].type) != "FLOAT" or not _fits(_dims(inputs[0].type), wanted, batches):
        raise InputError(
            f"baseline.onnx: {path}: given the inputs {' and '.join(given) or 'none'};"
            f" accepted: one, FLOAT[{', '.join(map(str, wanted))}], as the data has them"
        )
    output = _dims(graph.output[0].type) if graph.output else ()
    if not output_fits(output, data):
        raise InputError(
            f"baseline.onnx: {path}: given the first output {_told(graph.output[0].type) if graph.output else 'none'};"
            f" accepted: [n, {data.outputs}], as the data asks for"
        )
    scores: tuple[str, ...] = ("val_accuracy",) if data.task == "classification" else ("val_rmse", "val_r2")
    if study.data.name == "shape":
        scores = ()  # noise: how good an answer to it is says nothing
    for one in (*study.objective, *study.constraint):
        if one.target is None and one.metric not in (*STATIC_METRICS, *scores):
            beside = "an ONNX baseline" if scores else "an ONNX baseline and data that are only a shape"
            accepted = f"with {beside}, {', '.join((*scores, *STATIC_METRICS))} or a metric of a target"
            raise InputError.of(study.name, "metric", one.metric, accepted)


def output_fits(shape: tuple[Any, ...], data: Dataset) -> bool:
    """Whether a first output of this shape, unknown sizes being texts, can be scored on ``data``."""
    if data.task == "regression" and data.outputs == 1 and len(shape) == 1:
        return True
    return len(shape) == 2 and (isinstance(shape[1], str) or shape[1] == data.outputs)


def place(source: Path, path: Path) -> None:
    """Copy the file into the run folder, where it stays what it is; weights that lie beside it are taken in."""
    import onnx

    if onnxfile.external_files(source):
        files.write_bytes(path, onnx.load(source).SerializeToString())
    else:
        files.write_bytes(path, source.read_bytes())


def count(path: Path) -> dict[str, float]:
    """``params``, ``macs`` of one sample and ``model_size_mb``; ``macs`` is absent where shapes do not tell.

    Parameters are the elements of weights, scalars left out; so a folded BatchNorm is counted as the biases it became.
    """
    import onnx

    from nas.onnx_graph import with_batch_1  # which imports torch

    model = onnx.load(path)
    if any(isinstance(size, str) for value in model.graph.input for size in _dims(value.type)):
        with_batch_1(model)
    graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    kinds = {onnx.TensorProto.DataType.Value(name) for name in _WEIGHTS}
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    constants = [(node.output[0], one) for node in graph.node if node.op_type == "Constant" for one in node.attribute]
    tensors |= {name: one.t for name, one in constants if one.name == "value"}
    params = sum(math.prod(tensor.dims) for tensor in tensors.values() if tensor.dims and tensor.data_type in kinds)
    weights: dict[str, tuple[int, ...] | None] = {name: None for name, _ in constants}
    weights |= {name: tuple(tensor.dims) for name, tensor in tensors.items()}
    for node in graph.node:  # in the order in which they run
        if node.input and all(name in weights for name in node.input if name):
            same = node.op_type in _SAME_SHAPE
            weights |= dict.fromkeys(node.output, weights[node.input[0]] if same else None)
    counted: dict[str, float] = {"params": params, "model_size_mb": onnxfile.size_mb(path)}
    macs = _macs(graph, weights)
    return counted if macs is None else counted | {"macs": macs}


def against(
    before: Mapping[str, float], after: Mapping[str, float], objectives: Iterable[Objective]
) -> dict[str, float]:
    """How much better ``after`` is, as columns: "val_accuracy_points_better", "latency_ms@local_times_better".

    Points (of 100) for accuracies; else a ratio that is above 1 where ``after`` is better. Absent where not measured.
    """
    better: dict[str, float] = {}
    for objective in objectives:
        name = objective.name
        old, new = before.get(name), after.get(name)
        if old is None or new is None:
            continue
        if "accuracy" in name:
            better[f"{name}_points_better"] = 100 * (new - old) * (1 if objective.goal == "max" else -1)
        elif old > 0 and new > 0:
            better[f"{name}_times_better"] = new / old if objective.goal == "max" else old / new
    return better


def _macs(graph: GraphProto, weights: Mapping[str, tuple[int, ...] | None]) -> int | None:
    """``weights``: shapes of what is no activation, ``None`` where one is not known."""
    values = (*graph.input, *graph.value_info, *graph.output)
    shapes = {value.name: _dims(value.type) for value in values}
    batch = next(shapes[value.name][0] for value in graph.input if value.name not in weights)
    macs = 0
    for node in graph.node:
        if node.op_type in _NOT_COUNTED:
            return None
        if node.op_type not in _WEIGHED:
            continue
        weight = weights.get(node.input[1])
        if node.input[1] not in weights and node.op_type == "MatMul":
            continue  # of two activations, as in attention: not counted for candidates either
        shape = shapes.get(node.input[0] if node.op_type == "ConvTranspose" else node.output[0], ())
        if weight is None or len(weight) < 2 or not shape or not all(isinstance(size, int) for size in shape):
            return None
        macs += math.prod(shape) * _each(node, weight)
    return macs // batch  # which the first axis of a shape may hold together with windows or tokens


def _each(node: Any, weight: tuple[int, ...]) -> int:
    """Multiply-accumulates for one element of the output (of the input, for a transposed convolution)."""
    if node.op_type in ("Conv", "ConvTranspose"):
        return math.prod(weight[1:])
    transposed = any(attribute.name == "transB" and attribute.i for attribute in node.attribute)
    return weight[-1 if transposed else -2]


def _fits(dims: tuple[Any, ...], wanted: tuple[Any, ...], batches: Iterable[int]) -> bool:
    if len(dims) != len(wanted) or dims[1:] != wanted[1:]:
        return False
    return isinstance(dims[0], str) or all(batch == dims[0] for batch in batches)


def _dims(kind: TypeProto) -> tuple[Any, ...]:
    """Sizes, a text where the file leaves one open."""
    return tuple(dim.dim_value or dim.dim_param or "?" for dim in kind.tensor_type.shape.dim)


def _element(kind: TypeProto) -> str:
    from onnx import TensorProto

    return str(TensorProto.DataType.Name(kind.tensor_type.elem_type))


def _told(kind: TypeProto) -> str:
    return f"{_element(kind)}[{', '.join(map(str, _dims(kind)))}]"
