"""Candidates that an earlier search has trained: what they are worth to a generator, and what is known of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from nas.generators import Observation, Trained
from nas.improvement import Believed

COST = 20  # of a training, in profiles, where it is not known
_RECALLED = 0.1  # of a model's uncertainty: the precision of a target may change a metric a little


def spared(keys: Sequence[str], trained: Mapping[str, Trained]) -> npt.NDArray[np.float64]:
    """(n,): what those that need no training gain, beside the logarithm of an expected improvement; others 0.

    An improvement divided by its cost would count by time alone, and the budget counts trials as well: so by the root
    of the cost (Lee et al. 2020, arXiv 2003.10870, who let that power fall from 1 to 0 in the course of a search).
    """
    return np.array([0.5 * math.log(COST) if key in trained else 0.0 for key in keys])


def moved(metric: str, log: bool, own: Mapping[str, Observation], trained: Mapping[str, Trained]) -> list[float]:
    """By how much a metric, its logarithm where ``log``, is more here than it was, for each that has both."""
    pairs = [(o.values.get(metric), _value(trained.get(key), metric, log)) for key, o in own.items()]
    scaled = [
        (math.log(here) if log else here, there) for here, there in pairs if here is not None and there is not None
    ]
    return [here - there for here, there in scaled]


def recalled(
    believed: Believed, metric: str, keys: Sequence[str], trained: Mapping[str, Trained], moves: Sequence[float]
) -> Believed:
    """The same, but where a training of one of the candidates ``keys`` gave the metric: what it was then, moved as it
    has been for others (``moves``), and as sure as those agree."""
    mean, sd = believed.mean.copy(), believed.sd.copy()
    move, apart = (float(np.median(moves)), float(np.std(moves))) if moves else (0.0, 0.0)
    for row, key in enumerate(keys):
        value = _value(trained.get(key), metric, believed.log)
        if value is not None:
            mean[row], sd[row] = value + move, max(_RECALLED * sd[row], apart)
    return Believed(mean, sd, believed.log)


def _value(one: Trained | None, metric: str, log: bool) -> float | None:
    value = None if one is None else one.values.get(metric)
    if value is None or not log:
        return value
    return math.log(value) if value > 0 else None
