"""Trust regions in spaces of many choices: how far from the front to look, counted in changed choices.

With a hundred choices the neighbours at one change are too many to describe and too near to get anywhere in a few
hundred steps, and random candidates are all alike mediocre. As in TuRBO and MORBO (Eriksson et al. 2019,
arXiv:1910.01739; Daulton et al. 2021, arXiv:2109.10964) candidates are then taken from around the members of the
front, within a radius that follows success.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from nas.generators import Limit, Objective
from nas.pareto import complete, keeps

Array = npt.NDArray[np.float64]

_GROWTH = 1.5
_AIM = 0.2  # the share of successes at which the radius stays: Rechenberg's one-fifth rule
_START = 0.25  # of the choices


def radius(outcomes: Sequence[bool], choices: int) -> int:
    """At least 1, at most half of the ``choices``: larger after a success, smaller after a failure, in turn."""
    most = max(choices // 2, 1)
    reached = min(max(_START * choices, 1.0), most)
    for success in outcomes:
        reached *= _GROWTH if success else _GROWTH ** (-_AIM / (1 - _AIM))
        reached = min(max(reached, 1.0), most)
    return round(reached)


def guessed(codes: Array, centre_codes: Array, centre_features: Array, slopes: Array) -> Array:
    """(n, features) of networks that were not built, from those of the ones that they were made from.

    ``slopes`` (choice columns, features): see ``slopes_of``.
    """
    found: Array = centre_features + (codes - centre_codes) @ slopes
    return found


def slopes_of(codes: Array, features: Array) -> Array:
    """How features change with choices, linear, by ridge regression over networks that were built."""
    codes = codes - codes.mean(0)
    centred = features - features.mean(0)
    found: Array = np.linalg.solve(codes.T @ codes + np.eye(codes.shape[1]), codes.T @ centred)
    return found


def successes(
    rows: Sequence[Mapping[str, float]], objectives: Sequence[Objective], limits: Sequence[Limit] = ()
) -> list[bool]:
    """Of each row, in turn: whether it kept the limits and none of those before it that did was as good in all."""
    signs = np.array([1.0 if o.goal == "min" else -1.0 for o in objectives])
    before = np.empty((0, len(signs)))
    found = []
    for row in rows:
        fits = complete(row, objectives) and keeps(row, limits)
        if fits:
            costs = signs * [row[o.name] for o in objectives]
            fits = not (before <= costs).all(1).any()
            before = np.vstack([before, costs])
        found.append(fits)
    return found
