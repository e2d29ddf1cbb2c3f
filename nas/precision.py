"""Precision as a parameter of a search: each candidate says itself in which precision it is measured and shipped.

    [quantise]
    precisions = ["fp32", "int8"]

adds the parameter ``precision`` to the space. The network and its training know nothing of it: the same choices in two
precisions are two candidates that train alike. A space is named "convnet@fp32,int8" where that is so, in order that the
generator's process can build it too.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from nas.spaces import Choice, Choices, Parameter, SearchSpace, canonical
from profiles.errors import InputError

PRECISION = "precision"
SAMPLES = 128  # rows of the training data that int8 is calibrated with


def calibration_rows(x: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Up to ``SAMPLES`` of the training rows ``x`` (n, *input_shape), the same each time, in their order.

    Not the first ones: data that are sorted by class would calibrate int8 with one class alone.
    """
    rows = np.random.default_rng(0).permutation(len(x))[:SAMPLES]
    return x[np.sort(rows)]


def name_of(space: str, precisions: Sequence[str]) -> str:
    return f"{space}@{','.join(precisions)}" if precisions else space


def without_precision(choices: Mapping[str, Any]) -> dict[str, Any]:
    """What the network is built from."""
    return {name: value for name, value in choices.items() if name != PRECISION}


def one_network(choices: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether both build, and train, the same network."""
    return without_precision(choices) == without_precision(other)


class WithPrecision:
    """``space`` with one more parameter."""

    def __init__(self, space: SearchSpace, precisions: Sequence[str]) -> None:
        """Raises InputError where the space has a parameter of that name itself."""
        if any(parameter.name == PRECISION for parameter in space.parameters):
            raise InputError(f"quantise: the space has a parameter {PRECISION!r} of its own; rename that")
        self.parameters: Sequence[Parameter] = (*space.parameters, Choice(PRECISION, tuple(precisions)))
        self._space = space

        @functools.wraps(space.build)  # with its signature: only those keywords that it takes are passed
        def build(choices: Choices, **arguments: Any) -> Any:
            return space.build(without_precision(choices), **arguments)

        self.build = build

    def canonical(self, choices: Choices) -> Choices:
        return canonical(self._space, without_precision(choices)) | {PRECISION: choices[PRECISION]}
