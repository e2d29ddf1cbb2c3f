"""Expected hypervolume improvement in closed form, for independent metrics that are normal or log-normal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from botorch.utils.multi_objective.box_decompositions import FastNondominatedPartitioning
from scipy.special import log_ndtr, ndtr

from nas.generators import Limit, Objective
from nas.pareto import front

Array = npt.NDArray[np.float64]


class Believed(NamedTuple):
    """Of one metric: mean and standard deviation (n,), of its logarithm where ``log``."""

    mean: Array
    sd: Array
    log: bool


def log_improvement(
    rows: Sequence[Mapping[str, float]],
    objectives: Sequence[Objective],
    limits: Sequence[Limit],
    believed: Mapping[str, Believed],
    pending: int,
    reference: Mapping[str, float],
) -> Array:
    """(n,): the logarithm of the expected improvement of each candidate times its chance of keeping the limits.

    ``rows``: what is known. ``believed``: by metric, the ``pending`` ones first, which count as known at their mean.
    A limit that is where ``reference`` is counts once: beyond it there is nothing to gain.
    """
    found = {name: Believed(b.mean[pending:], b.sd[pending:], b.log) for name, b in believed.items()}
    # From here on everything is maximised; a logarithm stands for minus its exponential.
    signs = np.array([1.0 if o.goal == "max" else -1.0 for o in objectives])
    corner = np.array([reference[o.name] for o in objectives]) * signs
    best = [rows[row] for row in front(rows, objectives, limits)]
    reached = [[row[o.name] * sign for o, sign in zip(objectives, signs, strict=True)] for row in best]
    for row in range(pending):
        expected = [(believed[o.name].mean[row], believed[o.name].log) for o in objectives]
        reached.append([-np.exp(m) if log else m * s for (m, log), s in zip(expected, signs, strict=True)])
    points = np.array(reached).reshape(len(reached), len(objectives))
    lower, upper = cells_of(points[(points > corner).all(1)], corner)

    metrics = [found[o.name] for o in objectives]
    means = [b.mean * (1.0 if b.log else s) for b, s in zip(metrics, signs, strict=True)]
    sds, logs = [b.sd for b in metrics], [b.log for b in metrics]
    apart = [limit for limit in limits if reference.get(limit.name) != limit.bound]
    chance = log_chance(found, apart, len(means[0]))
    gain = expected_improvement(means, sds, logs, lower, upper)
    if gain.max(initial=0.0) > 0:
        with np.errstate(divide="ignore"):
            return chance + np.log(gain)
    # Below what a float can hold, as far from the reference point: by the chance of beating that in everything.
    for mean, sd, log, edge in zip(means, sds, logs, corner, strict=True):
        chance = chance + (log_ndtr((np.log(-edge) - mean) / sd) if log else log_ndtr((mean - edge) / sd))
    return chance


def log_chance(believed: Mapping[str, Believed], limits: Sequence[Limit], n: int) -> Array:
    """(n,): of keeping all limits, as if they were independent."""
    return sum((_log_chance(believed[limit.name], limit) for limit in limits), np.zeros(n))


def _log_chance(believed: Believed, limit: Limit) -> Array:
    bound = limit.bound
    if believed.log:
        bound = float(np.log(bound)) if bound > 0 else -np.inf
    return log_ndtr((bound - believed.mean) / believed.sd * (1.0 if limit.op == "<=" else -1.0))


def cells_of(front: Array, reference: Array) -> tuple[Array, Array]:
    """Lower and upper corners (cells, m) of what is not dominated by ``front`` (k, m), which is maximised."""
    if front.shape[1] == 1:
        best = max([*front[:, 0].tolist(), float(reference[0])])
        return np.array([[best]]), np.array([[np.inf]])
    partitioning = FastNondominatedPartitioning(torch.tensor(reference), Y=torch.tensor(front))
    lower, upper = partitioning.get_hypercell_bounds()
    return lower.numpy(), upper.numpy()


def expected_improvement(
    means: Sequence[Array], sds: Sequence[Array], logs: Sequence[bool], lower: Array, upper: Array
) -> Array:
    """(n,). ``means``, ``sds``: per objective (n,); where ``logs``, of the logarithm of what is minimised.

    Yang et al. 2019 (doi:10.1016/j.ejor.2019.01.041): a sum over cells of products over objectives of
    E[(min(y, upper) - lower)+].
    """
    n = len(means[0])
    total = np.zeros(n)
    for start in range(0, len(lower), 512):
        product = np.ones((n, len(lower[start : start + 512])))
        for j, (mean, sd, log) in enumerate(zip(means, sds, logs, strict=True)):
            edges, places = np.unique(
                np.concatenate([lower[start : start + 512, j], upper[start : start + 512, j]]), return_inverse=True
            )
            beyond = _expected_excess(mean[:, None], sd[:, None], log, edges[None, :])
            lows, highs = np.split(places, 2)
            product *= np.maximum(beyond[:, lows] - beyond[:, highs], 0.0)
        total += product.sum(1)
    return total


def _expected_excess(mean: Array, sd: Array, log: bool, edge: Array) -> Array:
    """E[(y - edge)+] for y normal, or y = -exp(normal) where ``log``."""
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        if log:
            bound = np.log(np.maximum(-edge, 0.0))
            z = (bound - mean) / sd
            excess = -edge * ndtr(z) - np.exp(mean + sd**2 / 2) * ndtr(z - sd)
            excess = np.where(edge >= 0, 0.0, excess)
            return np.where(np.isinf(edge), np.where(edge > 0, 0.0, np.inf), excess)
        z = (mean - edge) / sd
        excess = sd * (z * ndtr(z) + np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi))
        return np.where(np.isinf(edge), np.where(edge > 0, 0.0, np.inf), excess)
