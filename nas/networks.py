"""The features of a space's candidates as a table: built, traced and described once each, then remembered.

A candidate that cannot be built or traced has none; where that is more than half of a sample, or where the features do
not differ, the space has none and a model works on the choices alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from nas.features import describe
from nas.graph import Operation, TracingError, trace
from nas.spaces import SearchSpace, build, find_space
from nas.weightless import weightless, without_collection
from profiles.errors import HwnasError, TrialError
from profiles.records import digest_of

Array = npt.NDArray[np.float64]
Described = dict[str, float] | None

# Tried in this order where the caller does not know the data.
_SHAPES = ((3, 32, 32), (1, 28, 28), (3, 224, 224), (1, 49, 10), (64,))
_ALIKE = 0.999  # of two features that correlate more than this over the sample, the first is kept

_REMEMBERED: dict[tuple[str, tuple[int, ...], int], dict[str, Described]] = {}


class Networks:
    """``sample``: candidates that are typical of the space; they decide what is worth telling apart and its scale."""

    def __init__(
        self,
        space: str,
        sample: Sequence[Mapping[str, Any]],
        input_shape: Sequence[int] | None = None,
        outputs: int = 10,
    ) -> None:
        self._space, self._outputs = find_space(space), outputs
        self._shape = tuple(input_shape) if input_shape else self._accepted_shape(sample[0])
        self._known = _REMEMBERED.setdefault((space, self._shape, outputs), {})
        described = [found for found in map(self._describe, sample) if found is not None]
        self._names: list[str] = []
        if len(described) > len(sample) / 2:
            self._choose_names(described)

    @property
    def width(self) -> int:
        """Number of features; 0: there are none."""
        return len(self._names)

    def table(self, candidates: Sequence[Mapping[str, Any]]) -> tuple[Array, npt.NDArray[np.bool_]]:
        """Standardised features (n, width), and (n,) whether there is such a network at all: it can be built, and its
        output depends on its input. The features of the others are 0."""
        features, real = np.zeros((len(candidates), self.width)), np.ones(len(candidates), bool)
        if not self.width:
            return features, real
        for row, candidate in enumerate(candidates):
            found = self._describe(candidate)
            real[row] = found is not None and "longest" in found
            if found is not None:
                features[row] = [found.get(name, 0.0) for name in self._names]
                features[row] = (features[row] - self._centre) / self._unit
        return features, real

    def _choose_names(self, described: Sequence[Mapping[str, float]]) -> None:
        names = sorted({name for found in described for name in found})
        table = np.array([[found.get(name, 0.0) for name in names] for found in described])
        centre, unit = table.mean(0), table.std(0)
        kept: list[int] = []
        for column in np.flatnonzero(unit > 1e-9 * (1 + np.abs(centre))):
            standard = (table[:, column] - centre[column]) / unit[column]
            others = (table[:, kept] - centre[kept]) / unit[kept]
            if not kept or np.abs(standard @ others / len(table)).max() < _ALIKE:
                kept.append(int(column))
        self._names, self._centre, self._unit = [names[column] for column in kept], centre[kept], unit[kept]

    def _describe(self, candidate: Mapping[str, Any]) -> Described:
        key = digest_of(dict(candidate))
        if key not in self._known:
            self._known[key] = self._described(candidate, self._shape)
        return self._known[key]

    def _described(self, candidate: Mapping[str, Any], shape: tuple[int, ...]) -> Described:
        try:
            return describe(operations_of(self._space, candidate, shape, self._outputs))
        except (HwnasError, TracingError):
            return None

    def _accepted_shape(self, candidate: Mapping[str, Any]) -> tuple[int, ...]:
        return next((shape for shape in _SHAPES if self._described(candidate, shape) is not None), _SHAPES[0])


def operations_of(
    space: SearchSpace, candidate: Mapping[str, Any], shape: tuple[int, ...], outputs: int
) -> list[Operation]:
    """Of the network of a candidate. Raises InputError or TrialError where it cannot be built, TracingError."""
    with without_collection():
        try:
            with weightless():
                module = build(space, candidate, shape, outputs)
        except TrialError:  # some builds need numbers, as stochastic depth's schedule does
            module = build(space, candidate, shape, outputs)
        return trace(module, shape)
