"""What other devices and earlier studies lead to expect of a metric, as columns beside those that describe networks.

A column is the mean of a Gaussian process fitted to one source's figures, in its own scale. The metric's model has a
linear kernel on them: its slope says how far what held there holds here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from nas.beliefs import Belief
from nas.generators import Transfer

Array = npt.NDArray[np.float64]


class WarmStart:
    """``told``: each with its networks (n, columns), described as this search describes them. ``owner``, ``features``
    as in ``nas.surrogate``."""

    def __init__(
        self,
        told: Sequence[tuple[Transfer, Array]],
        goals: Mapping[str, Literal["max", "min"]],
        owner: list[int],
        features: int,
    ) -> None:
        self._sources: dict[str, list[tuple[Belief, float, float]]] = {}
        for transfer, x in told:
            belief = Belief(goals[transfer.metric], owner, features)
            belief.tell(x, np.array(transfer.values, float), None)
            means, _ = belief.predict(x, x[:0])
            source = (belief, float(means.mean()), float(means.std()) or 1.0)
            self._sources.setdefault(transfer.metric, []).append(source)

    def columns(self, metric: str) -> int:
        return len(self._sources.get(metric, []))

    def beside(self, metric: str, x: Array) -> Array:
        """(n, columns of ``x`` + one for each source)."""
        expected = [
            (belief.predict(x, x[:0])[0] - centre) / unit for belief, centre, unit in self._sources.get(metric, [])
        ]
        return np.column_stack([x, *expected])
