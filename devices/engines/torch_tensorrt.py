"""Torch-TensorRT: an exported program (.pt2) compiled by TensorRT, on an NVIDIA GPU.

    [targets.gpu-tensorrt]
    device = "box"
    engine = "torch_tensorrt"
    provider = "tensorrt"     # the only one
    precision = "fp16"        # fp32 or fp16
    max_fallback = 5          # percent of operators that may stay with torch

The engine is built for the one shape that is measured, as soon as that is known; ``build_ms`` is the time of that, a
part of ``load_ms``. No engine is kept or taken from an earlier build. Operators that TensorRT does not take run in
torch and are counted as fallen back. Needs `pip install torch-tensorrt` and a CUDA build of torch; has been written
without a GPU at hand.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch_tensorrt

from devices.engines import PROGRAM, one_line
from devices.engines import _torch_program as programs
from profiles.errors import MeasurementError, UnavailableError
from profiles.records import Target

FORMAT = PROGRAM
PROVIDERS = ("tensorrt",)


def versions() -> dict[str, str]:
    import tensorrt

    return programs.versions() | {"torch_tensorrt": torch_tensorrt.__version__, "tensorrt": tensorrt.__version__}


def providers() -> list[str]:
    return list(PROVIDERS) if torch.cuda.is_available() else []


def load(model: Path | bytes, target: Target, *, plain: bool = False, trace: bool = False) -> programs.Runner:
    if target.provider not in PROVIDERS:
        raise UnavailableError(
            f"provider {target.provider} is not one of engine torch_tensorrt; it has: {', '.join(PROVIDERS)}"
        )
    dtype, device = programs.dtype_of(target), programs.cuda(target)
    program = programs.read(model, "torch_tensorrt")
    module: Any = program.module(check_guards=False).to(device, dtype)

    def build(examples: list[torch.Tensor]) -> tuple[Any, dict[str, str]]:
        compiled = _compiled(module, examples)
        return compiled, _nodes(compiled, target.provider)

    return programs.Runner(
        module,
        programs.inputs_of(program),
        device=device,
        dtype=dtype,
        transfers=target.transfers,
        nodes={"graph": "torch"},
        build=None if plain else build,
    )


def _compiled(module: Any, examples: list[torch.Tensor]) -> Any:
    try:
        program = torch.export.export(module, tuple(examples))
        return torch_tensorrt.dynamo.compile(
            program, arg_inputs=examples, min_block_size=1, cache_built_engines=False, reuse_cached_engines=False
        )
    except Exception as error:
        version = torch_tensorrt.__version__
        text = f"Torch-TensorRT {version} cannot compile the model: {one_line(error)}"
        raise MeasurementError(text) from None


def _nodes(module: Any, provider: str) -> dict[str, str]:
    """Each operator of a part left to torch, and each TensorRT engine as one node: what is inside it cannot be seen."""
    found: dict[str, str] = {}
    for name, part in module.named_children():
        if name.startswith("_run_on_acc"):
            found[name] = provider
        elif isinstance(part, torch.fx.GraphModule):
            found |= {f"{name}.{node.name}": "torch" for node in part.graph.nodes if node.op == "call_function"}
    return found or {"graph": "torch"}
