"""The operations that a network performs, read from the network itself: no data, no weights, no help of its author.

``trace`` runs ``forward`` on a tensor that has a shape but no contents and writes down each function of torch that is
called. The output shape of a call is computed once (on torch's meta device) and remembered, which makes the trace of
one more network of a family cheap. An operation whose result does not depend on the input (``x * 0`` and all that
follows from it alone) is constant; one whose result reaches the output on no path is dead.

Not covered: branches that depend on data (TracingError); what a custom C++ operator costs.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

_CONVOLUTIONS = {"conv1d", "conv2d", "conv3d"}
_TRANSPOSED = {"conv_transpose1d", "conv_transpose2d", "conv_transpose3d"}
_PRODUCTS = {"matmul", "bmm", "mm", "__matmul__", "__rmatmul__"}
_TIMES = {"mul", "mul_", "__mul__", "__rmul__", "__imul__", "multiply"}
_ZEROS = {"zeros_like", "new_zeros", "zero_"}
# Products with weights: each row of the result takes every element of the matrices once.
_WEIGHTED = {"linear", "matmul", "rmatmul", "mm", "bmm", "addmm", "addbmm", "baddbmm", "einsum", "tensordot"}
_WEIGHTED |= {"lstm", "gru", "rnn_tanh", "rnn_relu", "lstm_cell", "gru_cell", "rnn_tanh_cell", "rnn_relu_cell"}
_WEIGHTED |= {"bilinear", "multi_head_attention_forward"}
_ALIASES = {"dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "contiguous", "detach", "clone", "to"}


class TracingError(Exception):
    """The network cannot be run without data."""


@dataclass(frozen=True, slots=True)
class Operation:
    """``inputs``: indices of the operations whose results it takes; those of constants are left out.

    ``macs``: multiply-accumulates at batch 1; ``elements``: of its result; ``positions``: elements per channel, 0 where
    the result is no picture. ``live``: depends on the input and reaches the output.
    """

    kind: str
    inputs: tuple[int, ...]
    macs: int
    weights: int
    elements: int
    positions: int
    live: bool = True

    @classmethod
    def of(cls, kind: str, inputs: tuple[int, ...], macs: int, weights: int, shape: tuple[int, ...]) -> Operation:
        """``shape``: of its result."""
        positions = math.prod(shape[2:]) if len(shape) > 2 else 0
        return cls(kind, inputs, macs, weights, math.prod(shape), positions)


def trace(module: nn.Module, input_shape: Sequence[int]) -> list[Operation]:
    """In the order of execution, in evaluation mode, one input of ``input_shape``; the first is the input itself.

    Raises TracingError.
    """
    module.eval()
    recorder = _Recorder()
    token = _RECORDER.set(recorder)
    try:
        with torch.no_grad():
            output = module(recorder.new((1, *input_shape), torch.float32, "input", (), 0, 0))
    except Exception as error:
        raise TracingError(f"{type(error).__name__}: {error}".splitlines()[0][:200]) from error
    finally:
        _RECORDER.reset(token)
    outputs = [tensor.node for tensor in _tensors(output) if isinstance(tensor, _Shaped)]
    return with_dead(recorder.operations, [node for node in outputs if not recorder.constant[node]])


def with_dead(operations: Sequence[Operation], outputs: Iterable[int]) -> list[Operation]:
    """Marked are those on no path to ``outputs``, the indices of what the network gives that is no constant."""
    reached = set(outputs)
    for node in range(len(operations) - 1, -1, -1):
        if node in reached:
            reached.update(operations[node].inputs)
    return [one if node in reached else replace(one, live=False) for node, one in enumerate(operations)]


class _Recorder:
    def __init__(self) -> None:
        self.operations: list[Operation] = []
        self.constant: list[bool] = []

    def new(
        self, shape: tuple[int, ...], dtype: torch.dtype, kind: str, inputs: Sequence[int], macs: int, weights: int
    ) -> _Shaped:
        tensor = torch.empty(shape, dtype=dtype, device="meta").as_subclass(_Shaped)
        live = tuple(node for node in inputs if not self.constant[node])
        tensor.node = len(self.operations)
        self.constant.append((not live and kind != "input") or kind == "zero")
        self.operations.append(Operation.of(kind, live, macs, weights, shape))
        return tensor


_RECORDER: ContextVar[_Recorder] = ContextVar("recorder")
_REMEMBERED: dict[Any, Any] = {}  # a call's signature -> what ``_outcome`` found
_REMEMBERED_AT_MOST = 200_000


class _Shaped(torch.Tensor):
    """A tensor of the meta device that knows which operation made it."""

    node: int

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = func.__name__
        if name == "__get__":  # shape, dtype, device, ...; T and the like are rare and count as views
            with torch._C.DisableTorchFunctionSubclass():
                result = func(*args, **kwargs)
            if not isinstance(result, torch.Tensor):
                return result
        if name == "__set__":
            return None
        tensors = list(_tensors((args, kwargs)))
        inputs = [tensor.node for tensor in tensors if isinstance(tensor, _Shaped)]
        outcome = _outcome(func, args, kwargs)
        if not isinstance(outcome, _Results):
            return outcome
        recorder = _RECORDER.get()
        first = tensors[0]
        if name in _ALIASES and isinstance(first, _Shaped) and outcome.shapes == [tuple(first.size())]:
            return first
        kind, macs, weights = _work(name, args, kwargs, tensors, outcome.shapes)
        if name in _ZEROS or (name in _TIMES and any(isinstance(a, (int, float)) and a == 0 for a in args)):
            kind = "zero"
        made = [
            recorder.new(shape, dtype, kind if place == 0 else "part", inputs, macs if place == 0 else 0, weights)
            for place, (shape, dtype) in enumerate(zip(outcome.shapes, outcome.dtypes, strict=True))
        ]
        in_place = kwargs.get("inplace") or (name.endswith("_") and not name.endswith("__")) or name.startswith("__i")
        if in_place and isinstance(first, _Shaped) and len(made) == 1:
            first.node = made[0].node
            return first
        return outcome.rebuild(made)


@dataclass(frozen=True, slots=True)
class _Results:
    shapes: list[tuple[int, ...]]
    dtypes: list[torch.dtype]
    whole: Any  # what the call returns, with a _Place for each tensor

    def rebuild(self, tensors: list[Any], part: Any = None) -> Any:
        part = self.whole if part is None else part
        if isinstance(part, _Place):
            return tensors[part.index]
        if type(part) in (tuple, list):
            return type(part)(inner if inner is None else self.rebuild(tensors, inner) for inner in part)
        return part


@dataclass(frozen=True, slots=True)
class _Place:
    index: int


def _outcome(func: Any, args: Any, kwargs: Any) -> Any:
    """What the call returns: ``_Results`` in place of tensors, anything else as it is."""
    try:
        with torch._C.DisableTorchFunctionSubclass():
            key = (func, _signature(args), _signature(tuple(kwargs.items())))
        known = _REMEMBERED.get(key)
    except TypeError:  # something unhashable among the arguments: compute it each time
        key, known = None, None
    if known is not None:
        return known
    with torch._C.DisableTorchFunctionSubclass():
        result = func(*_without_contents(args), **_without_contents(kwargs))
    tensors = list(_tensors(result))
    if tensors:
        whole = _with_places(result, iter(range(len(tensors))))
        result = _Results([tuple(one.shape) for one in tensors], [one.dtype for one in tensors], whole)
    if key is not None and result is not None and len(_REMEMBERED) < _REMEMBERED_AT_MOST:
        _REMEMBERED[key] = result
    return result


def _with_places(value: Any, places: Iterator[int]) -> Any:
    if isinstance(value, torch.Tensor):
        return _Place(next(places))
    if isinstance(value, (tuple, list)):  # named tuples become plain ones
        return (list if isinstance(value, list) else tuple)(_with_places(part, places) for part in value)
    return value


def _signature(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return (*value.shape, value.dtype)
    if isinstance(value, (tuple, list)):
        return (type(value), *map(_signature, value))
    return (type(value), value)


def _without_contents(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return torch.empty(tuple(value.shape), dtype=value.dtype, device="meta")
    if isinstance(value, (tuple, list)):
        parts = [_without_contents(part) for part in value]
        return type(value)(parts) if type(value) in (tuple, list) else type(value)(*parts)
    if isinstance(value, dict):
        return {name: _without_contents(part) for name, part in value.items()}
    return value


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, dict):
        for part in value.values():
            yield from _tensors(part)
    elif isinstance(value, (tuple, list)):
        for part in value:
            yield from _tensors(part)


def _work(name: str, args: Any, kwargs: Any, tensors: list[Any], shapes: list[tuple[int, ...]]) -> tuple[str, int, int]:
    """(kind, multiply-accumulates, weights) of one call."""
    with torch._C.DisableTorchFunctionSubclass():
        given = [tuple(tensor.shape) for tensor in tensors]
        fixed = [tuple(tensor.shape) for tensor in tensors if not isinstance(tensor, _Shaped)]
    weights = sum(map(math.prod, fixed))
    out = shapes[0]
    if name in _CONVOLUTIONS or name in _TRANSPOSED:
        filters = given[1]
        groups = given[0][1] // filters[1 if name in _CONVOLUTIONS else 0] if name in _CONVOLUTIONS else 1
        size = "x".join(map(str, filters[2:]))
        per = math.prod(filters[1:])
        macs = math.prod(out if name in _CONVOLUTIONS else given[0]) * per
        return f"{name} {size}" + ("" if groups == 1 else " grouped"), macs, weights
    if name in _PRODUCTS and len(fixed) == 0 and len(given) > 1:
        return name.strip("_"), math.prod(out) * given[0][-1], 0
    if name == "scaled_dot_product_attention":
        return name, 2 * math.prod(given[0]) * given[1][-2], 0
    kind = name.strip("_")
    if "pool" in name and "adaptive" not in name:
        kind += f" {kwargs.get('kernel_size', args[1] if len(args) > 1 else '')}"
    if kind not in _WEIGHTED:
        return kind, 0, weights
    matrices = sum(math.prod(shape) for shape in fixed if len(shape) > 1)
    return kind, math.prod(out[:-1]) * matrices if out else 0, weights
