"""Candidates as the models of the generator ``hwnas`` see them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nas.generators import Choices


@dataclass(frozen=True, slots=True)
class Described:
    """``keys``: the digests of ``choices``."""

    choices: list[Choices]
    keys: list[str]
    x: npt.NDArray[np.float64]  # (n, columns of choices + features)
    real: npt.NDArray[np.bool_]  # (n,) whether there is such a network

    def some(self, rows: Sequence[int] | npt.NDArray[np.intp]) -> Described:
        """Those of these rows."""
        at = np.array(rows, np.intp)
        return Described([self.choices[row] for row in at], [self.keys[row] for row in at], self.x[at], self.real[at])

    def __add__(self, other: Described) -> Described:
        """Both, those of ``other`` only where they are new."""
        known = set(self.keys)
        new = other.some([row for row, key in enumerate(other.keys) if key not in known])
        return Described(
            self.choices + new.choices,
            self.keys + new.keys,
            np.vstack([self.x, new.x]),
            np.concatenate([self.real, new.real]),
        )
