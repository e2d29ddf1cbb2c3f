"""From a torch module to the ONNX file that is measured and shipped, and back: weights, reference output, size."""

from __future__ import annotations

import io
import logging
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from profiles import files
from profiles.errors import TrialError

INPUT, OUTPUT, BATCH = "input", "output", "batch"
OPSET = 17


def export_onnx(module: nn.Module, path: Path, *, input_shape: tuple[int, ...]) -> None:
    """Write ``module`` to ``path``, whole or not at all, weights inside.

    One input "input" (batch, *input_shape) and one output "output" (batch, ...), float32, the batch axis free.
    Exported in evaluation mode: BatchNorm is folded into the convolution before it, dropout is gone. The module's own
    mode is restored. Raises TrialError where the module does not accept the shape or cannot be expressed in ONNX.

    The tracing exporter is used on purpose: 0.1 s for a network against 2 s of the newer one, which matters once per
    candidate. Not covered: control flow that depends on the data.
    """
    example = torch.zeros(1, *input_shape)
    buffer = io.BytesIO()
    with _evaluating(module), _quiet(), torch.no_grad():
        _answer(module, torch.zeros(2, *input_shape))
        try:
            torch.onnx.export(
                module,
                (example,),
                buffer,  # type: ignore[arg-type]  # it takes files, as its documentation says
                input_names=[INPUT],
                output_names=[OUTPUT],
                dynamic_axes={INPUT: {0: BATCH}, OUTPUT: {0: BATCH}},
                opset_version=OPSET,
                do_constant_folding=True,
                dynamo=False,
            )
        except Exception as error:
            raise TrialError(f"export to ONNX failed: {_first_line(error)}") from error
    files.write_bytes(path, buffer.getvalue())


def export_program(module: nn.Module, path: Path, *, input_shape: tuple[int, ...]) -> None:
    """Write ``module`` to ``path`` as torch's exported program (.pt2), which the torch engines run.

    Input and its name, output, mode and errors as in ``export_onnx``. BatchNorm stays a layer of its own: compilers
    fold it.
    """
    buffer = io.BytesIO()
    example = torch.zeros(2, *input_shape)  # with 1 the batch axis would become a constant
    with _evaluating(module), _quiet(), torch.no_grad():
        _answer(module, example)
        try:
            shapes = ({0: torch.export.Dim(BATCH, min=1)},)
            program = torch.export.export(_Named(module), (example,), dynamic_shapes=shapes)
            program.example_inputs = None  # a second copy of the example, and the one thing in the file that is pickled
            for node in program.graph.nodes:
                node.meta.pop("stack_trace", None)  # paths of this machine
            torch.export.save(program, buffer)
        except Exception as error:
            raise TrialError(f"export to a torch program failed: {_first_line(error)}") from error
    files.write_bytes(path, buffer.getvalue())


def load_weights(module: nn.Module, path: Path) -> None:
    """Load a state_dict, as the training script wrote it. Nothing in the file is executed.

    Raises TrialError where the file is missing or unreadable, or where a tensor is missing, left over or of another
    shape: it names the first such tensor.
    """
    try:
        with _quiet():
            state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise TrialError(f"{path.name}: the training wrote no weights") from None
    except Exception as error:
        raise TrialError(f"{path.name}: not a file of tensors: {_first_line(error)}") from error
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise TrialError(f"{path.name}: given {type(state).__name__}; accepted: a state_dict, names with tensors")
    expected = module.state_dict()
    for name, tensor in expected.items():
        if name not in state:
            raise TrialError(f"{path.name}: {name}: missing; the network has it with shape {tuple(tensor.shape)}")
        if state[name].shape != tensor.shape:
            given, wanted = tuple(state[name].shape), tuple(tensor.shape)
            raise TrialError(f"{path.name}: {name}: given shape {given}; accepted: {wanted}")
    for name in state:
        if name not in expected:
            raise TrialError(f"{path.name}: {name}: the network has no such tensor")
    module.load_state_dict(state)


def reference_output(module: nn.Module, x: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """What torch answers to ``x`` (n, *input_shape) in evaluation mode: the truth of the parity check.

    Raises TrialError where the module fails, or answers with something else than one tensor, batch first.
    """
    with _evaluating(module), torch.no_grad():
        output = _answer(module, torch.from_numpy(x))
    try:
        return output.numpy()
    except TypeError as error:  # bfloat16, or a sparse tensor
        raise TrialError(f"the network's output: given {output.dtype}; accepted: float32") from error


def count(module: nn.Module, input_shape: tuple[int, ...]) -> tuple[int, int]:
    """(parameters, multiply-accumulates of one inference at batch 1).

    Counted are convolutions and linear layers, as the field does, and of torch's own attention its four projections;
    biases, BatchNorm (folded at export), activations, pooling, additions and attention's own products are not, nor are
    the projections of a subclass with a ``forward`` of its own. Parameters are all of ``module.parameters()``.
    Raises TrialError as ``reference_output`` does.
    """
    macs = 0

    def add(layer: Any, _: Any, output: torch.Tensor) -> None:
        nonlocal macs
        macs += output.numel() * math.prod(layer.weight.shape[1:])

    def add_transposed(layer: Any, inputs: tuple[torch.Tensor], _: Any) -> None:
        nonlocal macs
        macs += inputs[0].numel() * math.prod(layer.weight.shape[1:])

    def add_projections(layer: Any, inputs: tuple[Any, ...], named: dict[str, Any], _: Any) -> None:
        """No hook of the linear layer inside is ever called. The output is of the query's shape."""
        nonlocal macs
        given = dict(zip(("query", "key", "value"), inputs, strict=False)) | named
        macs += layer.embed_dim * (2 * given["query"].numel() + given["key"].numel() + given["value"].numel())

    hooks = []
    for layer in module.modules():
        if isinstance(layer, (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)):
            hooks.append(layer.register_forward_hook(add_transposed))
        elif type(layer).forward is nn.MultiheadAttention.forward:  # of a subclass the inputs mean what it likes
            hooks.append(layer.register_forward_hook(add_projections, with_kwargs=True))
        elif isinstance(layer, (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)):
            hooks.append(layer.register_forward_hook(add))
    try:
        with _evaluating(module), torch.no_grad():
            _answer(module, torch.zeros(1, *input_shape))
    finally:
        for hook in hooks:
            hook.remove()
    return sum(parameter.numel() for parameter in module.parameters()), macs


class _Named(nn.Module):
    """A program's input has the name of ``forward``'s argument: so it is that of the ONNX file, whatever the module's
    own is called."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = self.module(input)
        return output


def _answer(module: nn.Module, example: torch.Tensor) -> torch.Tensor:
    """One tensor with a row for each of the inputs, of which two tell more than one. Raises TrialError."""
    try:
        output = module(example)
    except Exception as error:
        raise TrialError(f"the network does not accept inputs {tuple(example.shape)}: {_first_line(error)}") from error
    if not isinstance(output, torch.Tensor) or output.ndim == 0 or len(output) != len(example):
        given = tuple(output.shape) if isinstance(output, torch.Tensor) else type(output).__name__
        raise TrialError(
            f"the network's output: given {given} for {len(example)} inputs; accepted: one tensor, batch first"
        )
    return output


@contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    """Evaluation mode within, each submodule's own mode after."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training


@contextmanager
def _quiet() -> Iterator[None]:
    """Nothing of torch on the user's terminal: its exporter says that it is old, its loader that a file is odd."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0]}"
