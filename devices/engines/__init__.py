"""What executes a model on a device: one file each, named as the fleet file names it.

An engine is a module with the functions of ``Engine``. It runs inside the agent's workers, so it imports nothing but
the standard library, numpy, this package's helpers and the engine's own package. One that takes torch's exported
programs instead of ONNX files says so with ``FORMAT = PROGRAM``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy.typing as npt

from devices.inputs import Arrays, Input
from profiles.records import Target

ONNX, PROGRAM = ".onnx", ".pt2"  # suffixes of model files


def one_line(error: Exception) -> str:
    """What a library says, short enough for a message."""
    return " ".join(str(error).split())[:300]


def format_of(engine: object) -> str:
    """The suffix of the files that an engine takes."""
    return str(getattr(engine, "FORMAT", ONNX))


class Engine(Protocol):
    """A module may also have ``FORMAT``, the suffix of its files (default ``ONNX``), and ``PROVIDERS``, where it knows
    them all; the first is what the contract tests run on (default "cpu"); and ``PRIMED``, the providers that compute on
    the CPU, of an engine that apps call from C or C++: see ``blocks.arm``.
    """

    def versions(self) -> dict[str, str]:
        """Of the packages whose change may change a time."""

    def providers(self) -> list[str]:
        """What ``provider`` of a target may name there."""

    def load(self, model: Path | bytes, target: Target, *, plain: bool = False, trace: bool = False) -> Loaded:
        """Make ``model`` ready to run as ``target`` says; ``plain`` without the engine's own optimisations (the
        reference that outputs are compared with), ``trace`` so that ``placement`` can be asked.

        Raises InputError (the model cannot be read), UnavailableError (the provider is not there), MeasurementError
        (the provider asked for is not the one that would run).
        """


class Loaded(Protocol):
    """A model that is ready to run, on the provider that was asked for.

    One on an accelerator may also have ``device_ms(runs) -> list[float] | None``: the times of that many inferences
    between the accelerator's own events, without transfers; one that builds an engine for the shapes that ``bind``
    brings, ``build_ns``: the time of that, which counts as loading and not into the first run.
    """

    @property
    def inputs(self) -> Sequence[Input]: ...

    def bind(self, feeds: Arrays) -> int:
        """Fix the inputs, run once, and keep buffers for outputs of that shape. The ns that first run took."""

    def run(self) -> None:
        """One inference on the bound inputs; returns when its outputs are there. This is what is timed.

        ``run`` is kept and called without the object: it must keep alive what it needs.
        """

    def outputs(self) -> dict[str, npt.NDArray[Any]]:
        """Copies of the outputs of the last run."""

    def placement(self) -> dict[str, str]:
        """Node -> provider that ran it. Only for a model loaded with ``trace``, once, after a run."""
