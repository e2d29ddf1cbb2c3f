"""The operations that an ONNX file performs, in the form in which ``nas.graph`` reads those of a torch module.

Kinds are ONNX's own names (``Conv 3x3``), so a file is only ever compared with files. What follows from constants alone
is no operation, since it is computed when the file is loaded. Only shapes are read, not weights.

Not covered: control flow, and operations whose result's shape the file does not tell (TracingError).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from devices import onnxfile
from nas.graph import Operation, TracingError, with_dead
from profiles.errors import InputError

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

_CONVOLUTIONS = ("Conv", "ConvTranspose")
_PRODUCTS = ("Gemm", "MatMul")
_POOLS = ("AveragePool", "MaxPool", "LpPool")

Shape = tuple[int, ...]
_NOTHING = (0,)  # stands for a shape that the file does not tell, and for that of a single number


def read(path: Path) -> list[Operation]:
    """In the file's order, at batch 1; the first ones are the inputs.

    Raises InputError where ``path`` is no ONNX file that can be read, TracingError as said above.
    """
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    onnxfile.external_files(path)
    try:
        model = onnx.load(path, load_external_data=False)
        with_batch_1(model)
        model = onnx.shape_inference.infer_shapes(model, data_prop=True)
    except (DecodeError, onnx.shape_inference.InferenceError, ValueError) as error:
        raise InputError(f"{path}: not an ONNX file that can be read: {error}".splitlines()[0]) from error
    return _operations(model)


def with_batch_1(model: ModelProto) -> None:
    """A free size is taken for 1, the batch's."""
    weights = {tensor.name for tensor in model.graph.initializer}
    for value in model.graph.input:
        for dim in value.type.tensor_type.shape.dim if value.name not in weights else ():
            if not dim.dim_value:
                dim.dim_value = 1
    del model.graph.value_info[:]  # written with the free size
    for value in model.graph.output:
        value.type.tensor_type.ClearField("shape")


def _operations(model: ModelProto) -> list[Operation]:
    graph = model.graph
    shapes = {value.name: _shape(value) for value in (*graph.input, *graph.value_info, *graph.output)}
    fixed: dict[str, Shape] = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    zeros = {tensor.name for tensor in graph.initializer if _is_zero(tensor)}
    made: dict[str, int] = {}  # the name of a result -> the operation that made it
    constant: set[int] = set()  # operations whose result does not depend on the input
    operations: list[Operation] = []
    for value in graph.input:
        if value.name not in fixed:
            made[value.name] = len(operations)
            operations.append(Operation.of("input", (), 0, 0, shapes[value.name] or _NOTHING))
    for node in graph.node:
        if any(attribute.HasField("g") or attribute.graphs for attribute in node.attribute):
            raise TracingError(f"{node.op_type} is control flow")
        inputs = [made[name] for name in node.input if name in made]
        if not inputs:
            for name in node.output:
                fixed[name] = shapes.get(name) or _constant_shape(node)
                if any(_is_zero(attribute.t) for attribute in node.attribute if attribute.name == "value"):
                    zeros.add(name)
            continue
        live = tuple(index for index in inputs if index not in constant)
        shape = shapes.get(node.output[0])
        kind, macs = _work(node, shapes, fixed, shape)
        weights = sum(math.prod(fixed[name]) for name in node.input if name in fixed)
        if node.op_type == "Mul" and any(name in zeros for name in node.input):
            kind = "zero"
        if not live or kind == "zero":
            constant.add(len(operations))
        made |= {name: len(operations) for name in node.output if name}
        operations.append(Operation.of(kind, live, macs, weights, shape or _NOTHING))
    outputs = {made[value.name] for value in graph.output if value.name in made}
    return with_dead(operations, outputs - constant)


def _work(
    node: NodeProto, shapes: Mapping[str, Shape | None], fixed: Mapping[str, Shape], shape: Shape | None
) -> tuple[str, int]:
    """(kind, multiply-accumulates)"""
    attributes: dict[str, Any] = {attribute.name: attribute for attribute in node.attribute}
    kind = node.op_type
    if kind in _POOLS:
        return f"{kind} {_sizes(attributes['kernel_shape'].ints)}", 0
    if kind not in _CONVOLUTIONS + _PRODUCTS:
        return kind, 0
    if shape is None:
        raise TracingError(f"the file does not tell the shape of what {node.op_type} {node.name} gives")
    known = [fixed.get(name) or shapes.get(name) for name in node.input]
    if any(each is None for each in known[:2]):
        raise TracingError(f"the file does not tell the shapes that {node.op_type} {node.name} takes")
    data, weight = (each or () for each in known[:2])
    if kind in _PRODUCTS:
        turned = "transB" in attributes and attributes["transB"].i
        return kind, math.prod(shape) * (weight[-1 if turned else -2] if len(weight) > 1 else math.prod(weight))
    grouped = "" if "group" not in attributes or attributes["group"].i == 1 else " grouped"
    each = shape if kind == "Conv" else data
    return f"{kind} {_sizes(weight[2:])}{grouped}", math.prod(each) * math.prod(weight[1:])


def _shape(value: Any) -> Shape | None:
    """``None``: the file does not tell."""
    kind = value.type.tensor_type
    if not kind.HasField("shape"):
        return None
    sizes = tuple(dim.dim_value for dim in kind.shape.dim)
    return sizes if all(sizes) else None


def _constant_shape(node: NodeProto) -> Shape:
    return next((tuple(attribute.t.dims) for attribute in node.attribute if attribute.name == "value"), ())


def _is_zero(tensor: Any) -> bool:
    """Whether it is the number 0."""
    from onnx.numpy_helper import to_array

    if math.prod(tensor.dims) != 1 or tensor.external_data:
        return False
    return not to_array(tensor).any()


def _sizes(sizes: Sequence[int]) -> str:
    return "x".join(map(str, sizes))
