"""What is believed of one metric, given what was measured: transforms around a ``Surrogate``, when it learns anew."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from nas.surrogate import Surrogate

Array = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]

_LEARN_FROM = 300  # observations at most from which hyperparameters are learnt
_TRUST = 10.0
_FENCE = 1.5  # interquartile ranges below the lower quartile, of a metric that is maximised
_FIRST = 8  # observations whose quartiles place the wider fence


class Belief:
    """``goal``: which way is good. ``owner``, ``features`` and ``transferred`` as in ``Surrogate``. ``bound``: that of
    a limit on how bad it may be.

    What is minimised is modelled as its logarithm where all values are positive (``log``): errors of latency, energy
    and memory are relative. The bad tail of what is maximised is clipped. Where something was transferred, variances
    are taken for larger, as if ``_TRUST`` of the model's own observations were missing: what held elsewhere makes a
    model surer than it should be.
    """

    def __init__(
        self,
        goal: Literal["max", "min"],
        owner: list[int],
        features: int,
        transferred: int = 0,
        bound: float | None = None,
    ) -> None:
        self._goal, self._owner, self._features, self._transferred = goal, owner, features, transferred
        self._bound = bound
        self._learnt: dict[bool, tuple[tuple[bytes, ...], Surrogate]] = {}
        self.log = False

    def tell(self, x: Array, values: Array, sems: Array | None) -> None:
        """All that is known, in the order in which it was asked for: (n, columns), (n,), (n,)."""
        self.log = self._goal == "min" and bool((values > 0).all())
        variances = None if sems is None else (sems / values if self.log else sems) ** 2
        self._x, self._values, self._variances = x, values, variances

    def predict(self, x: Array, pending: Array, *, wide: bool = False) -> tuple[Array, Array]:
        """Mean and standard deviation (n,), of the logarithm where ``log``. ``pending`` (k, columns): trials whose
        results are believed to become what is expected now. ``wide``: with the wider fence, see ``_modelled``."""
        wide = wide and not self.log
        surrogate, y = self._surrogate(wide), self._modelled(np.arange(len(self._values)), wide)
        surrogate.condition(self._x, y, self._variances)
        if len(pending):
            expected, _ = surrogate.predict(pending)
            noise = (
                None
                if self._variances is None
                else np.append(self._variances, np.full(len(pending), np.median(self._variances)))
            )
            surrogate.condition(np.vstack([self._x, pending]), np.append(y, expected), noise)
        mean, sd = surrogate.predict(x)
        return mean, sd * np.sqrt(1 + _TRUST / len(y)) if self._transferred else sd

    def _surrogate(self, wide: bool) -> Surrogate:
        """That of one fence, learnt anew where there is more to learn from."""
        some = _subset(_milestone(len(self._values)))
        variances = None if self._variances is None else self._variances[some]
        fitted = self._x[some], self._modelled(some, wide), variances
        # By what they are, not by how many: of trials that end out of turn the first ones may be others now.
        learnt_from = tuple(b"" if part is None else part.tobytes() for part in fitted)
        if wide not in self._learnt or self._learnt[wide][0] != learnt_from:
            surrogate = Surrogate(*fitted, self._owner, self._features, self._transferred)
            self._learnt[wide] = learnt_from, surrogate
        return self._learnt[wide][1]

    def _modelled(self, some: Indices, wide: bool) -> Array:
        """The logarithm of these values; or clipped at Tukey's fence: their own, or, ``wide``, that of the first ones.

        Their own follows the search, and tells good from better; but where most of what was found is alike, it
        closes in on that and hides the rest. The first ones are spread over the space. Neither is best everywhere, so
        a generator looks at both in turn. None follows the best: above a flat top it would cut off all there is to
        learn. What breaks a limit stays what breaks it.
        """
        values = self._values[some]
        if self.log:
            return np.log(values)
        sign = 1.0 if self._goal == "max" else -1.0
        lower, upper = np.quantile(sign * (self._values[:_FIRST] if wide else values), [0.25, 0.75])
        fence = lower - _FENCE * (upper - lower)
        if self._bound is not None:
            fence = min(fence, sign * self._bound - (upper - lower))
        return sign * np.maximum(sign * values, fence) if upper > lower else values


def _milestone(n: int) -> int:
    """The last of 2, 4, 6, ..., 16, 18, 20, 22, 24, 27, 30, ... that is at most ``n``: an eighth more each time.

    A function of ``n`` alone, so that a search that goes on after a stop proposes what it would have proposed.
    """
    reached = 2
    while reached + max(2, reached // 8) <= n:
        reached += max(2, reached // 8)
    return reached


def _subset(n: int) -> Indices:
    """Which of the first ``n`` observations hyperparameters are learnt from."""
    return np.arange(n) if n <= _LEARN_FROM else np.sort(np.random.default_rng(n).permutation(n)[:_LEARN_FROM])


def spread(points: Array, known: Array) -> Array:
    """(n,): distance of each point (n, d) from the nearest of ``known`` (k, d); without any, how central it is."""
    if not len(known):
        return -((points - points.mean(0)) ** 2).sum(1)
    return np.min([((points - one) ** 2).sum(1) for one in known], axis=0)
