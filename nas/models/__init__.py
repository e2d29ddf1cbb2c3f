"""Reference models: well-known networks of published shape, for suites and comparisons.

A model is one file here (``nas/models/resnet8.py`` is the model ``resnet8``), or another package's entry point of the
group ``hwnas.models``. It has

    input_shape      of one sample, without the batch axis
    build()          the network; weights from a fixed seed, since latency does not depend on training

Nothing here imports torch: a model does so inside ``build``.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from devices.depot import cache_folder
from devices.plan import Job
from profiles import registry

if TYPE_CHECKING:
    from torch import nn

SEED = 0


class ReferenceModel(Protocol):
    input_shape: tuple[int, ...]

    def build(self) -> nn.Module:
        """Untrained, float32, input (N, *input_shape)."""
        ...


def names() -> list[str]:
    """All reference models, sorted. Imports none of them."""
    return registry.names("nas.models")


def build(name: str) -> tuple[nn.Module, tuple[int, ...]]:
    """The network, in evaluation mode and with the same weights each time, and its input shape.

    Convolutions and linear layers are He-normal, so that activations keep their scale through the depth, as those of a
    trained network do; BatchNorm is the identity. Raises InputError on an unknown name.
    """
    from nas.models._layers import he_normal

    model: ReferenceModel = registry.find("nas.models", name)

    def built() -> nn.Module:
        module = model.build()
        he_normal(module)
        return module

    return seeded(built).eval(), model.input_shape


def seeded(build: Callable[[], Any]) -> Any:
    """What ``build`` gives, with the same weights each time; the global random state stays as it was."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        return build()


def onnx_file(name: str, folder: Path | None = None) -> Path:
    """The model as ONNX, exported where ``folder`` (default: hwnas' cache) does not hold it yet."""
    return _exported(name, ".onnx", folder)


def program_file(name: str, folder: Path | None = None) -> Path:
    """The same as an exported program of torch (.pt2), which the torch engines take."""
    return _exported(name, ".pt2", folder)


def job(name: str, folder: Path | None = None) -> Job:
    """What ``devices.artifact.prepare`` makes a measurement of, for any engine."""
    return Job(model=onnx_file(name, folder), program=program_file(name, folder), name=name)


def _exported(name: str, suffix: str, folder: Path | None) -> Path:
    """The file's name holds the digest of all that its content depends on, so that a new version is a new file."""
    path = (folder or cache_folder() / "models") / f"{name}-{_version(name)}{suffix}"
    if not path.is_file():
        from nas.export import export_onnx, export_program

        module, input_shape = build(name)
        export = export_onnx if suffix == ".onnx" else export_program
        export(module, path, input_shape=input_shape)
    return path


def _version(name: str) -> str:
    model = registry.find("nas.models", name)
    here = Path(__file__).parent
    sources = [Path(model.build.__code__.co_filename), Path(__file__), *sorted(here.glob("_[a-z]*.py"))]
    sources.append(here.parent / "export.py")
    text = b"".join(path.read_bytes() for path in sources) + importlib.metadata.version("torch").encode()
    return hashlib.sha256(text).hexdigest()[:12]
