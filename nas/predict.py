"""What would a network cost on a device of which some others were measured? A value with an interval, or why there is
none.

    predictor = Predictor([Network.of(trace(module, shape)) for module in modules], latencies_ms)
    predictor.assessment                        how good it is on networks that it has not seen
    predictor.predict([Network.of(...)])        [Prediction(value=1.02, low=0.94, high=1.11)]

Which model of ``nas.cost_models`` is used is decided by cross-validation, and so is the width of the interval.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nas.cost_models import Network, models
from profiles.errors import InputError, MeasurementError

Array = npt.NDArray[np.float64]
Rows = npt.NDArray[np.intp]

COVERAGE = 0.9
LEAST = 10  # measured networks: with fewer, no interval of that coverage has two ends
_ONE_BY_ONE = 20  # up to so many, each is left out by itself
_FOLDS = 10
_ALIKE = 1e-6  # errors that differ by less
_BEYOND = 2.0  # times what was measured is too far


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """In the metric's unit. ``reason``: why the others are ``None``."""

    value: float | None = None
    low: float | None = None
    high: float | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Assessment:
    """Of the measured networks, each predicted by the model fitted to the others, as it was chosen by this very
    comparison. ``spearman`` is ``None`` where all figures are alike."""

    measured: int
    model: str
    spearman: float | None
    within_10_percent: float  # share of them
    median_error: float  # of |predicted / measured - 1|


class Predictor:
    """The interval is that of CV+ on log-ratios (Barber et al. 2021, arXiv:1905.02928): of networks drawn as those
    measured were, it typically holds ``COVERAGE`` of the values. Their guarantee of ``1 - 2 (1 - COVERAGE)`` is for a
    model that was fixed beforehand; here the same residuals have chosen it.
    """

    def __init__(self, networks: Sequence[Network], values: Sequence[float]) -> None:
        """``values``: as measured, above 0. Raises InputError on others, MeasurementError below ``LEAST``."""
        if len(networks) < LEAST:
            raise MeasurementError(f"{len(networks)} measured networks; a prediction needs {LEAST} or more")
        measured = np.array(values, float)
        if not (np.isfinite(measured) & (measured > 0)).all():
            raise InputError(f"values: given {measured.min():g} among them; accepted: finite numbers above 0")
        logs, everyone = np.log(measured), np.arange(len(networks))
        names = {name for network in networks for name in network.work}
        self._most = {name: max(network.work.get(name, 0.0) for network in networks) for name in names}
        self._least = {what: min(_total(network, what) for network in networks) for what in ("macs ", "elements ")}
        self._folds = _folds(len(networks))
        least = np.inf
        for name, fit in models(networks, logs).items():
            without = [fit(np.setdiff1d(everyone, fold)) for fold in self._folds]
            predicted = np.empty(len(networks))
            for predict, fold in zip(without, self._folds, strict=True):
                predicted[fold] = predict([networks[row] for row in fold])
            error = float(np.abs(predicted - logs).mean())
            if error < least - _ALIKE:  # else the simpler one, which comes first
                least, self._without, self._whole = error, without, fit(everyone)
                self._residuals = np.abs(predicted - logs)
                self.assessment = _assessed(name, np.exp(predicted), measured)

    def predict(self, networks: Sequence[Network]) -> list[Prediction]:
        """In the order given."""
        reasons = [self._far(network) for network in networks]
        near = [network for network, reason in zip(networks, reasons, strict=True) if reason is None]
        found = iter(self._near(near) if near else [])
        return [next(found) if reason is None else Prediction(reason=reason) for reason in reasons]

    def _near(self, networks: Sequence[Network]) -> list[Prediction]:
        n = len(self._residuals)
        each = np.empty((n, len(networks)))
        for predict, fold in zip(self._without, self._folds, strict=True):
            each[fold] = predict(networks)
        outside = math.floor(round((1 - COVERAGE) * (n + 1), 9))  # on either side
        low = np.sort(each - self._residuals[:, None], axis=0)[outside - 1]
        high = np.sort(each + self._residuals[:, None], axis=0)[n - outside]
        middle = self._whole(networks)
        ends = np.exp([middle, np.minimum(low, middle), np.maximum(high, middle)])
        return [Prediction(value=float(v), low=float(lo), high=float(hi)) for v, lo, hi in ends.T]

    def _far(self, network: Network) -> str | None:
        """Why it is too unlike the measured ones."""
        unknown = network.work.keys() - self._most.keys()
        new = sorted(name.removeprefix("count ") for name in unknown if name.startswith("count "))
        if new:
            return f"no measured network has {', '.join(new)}"
        for name, value in network.work.items():
            most = self._most.get(name, 0.0)
            if value > _BEYOND * most:
                return f"{value:.4g} {_in_words(name)}, in the measured networks {most:.4g} at most"
        for what, least in self._least.items():
            value = _total(network, what)
            if value < least / _BEYOND:
                return f"{value:.4g} {_in_words(what)}, in the measured networks {least:.4g} at least"
        return None


def _folds(n: int) -> list[Rows]:
    """Rows to be left out together; the same for the same ``n``."""
    return np.array_split(np.random.default_rng(n).permutation(n), n if n <= _ONE_BY_ONE else _FOLDS)


def _assessed(model: str, predicted: Array, measured: Array) -> Assessment:
    from scipy.stats import spearmanr

    errors = np.abs(predicted / measured - 1)
    # What differs in the last digits is equal: which way it differs depends on the processor that computed it.
    predicted, measured = (np.array([float(f"{value:.9g}") for value in values]) for values in (predicted, measured))
    alike = np.ptp(measured) == 0 or np.ptp(predicted) == 0
    return Assessment(
        measured=len(measured),
        model=model,
        spearman=None if alike else float(spearmanr(predicted, measured).statistic),
        within_10_percent=float((errors <= 0.1).mean()),
        median_error=float(np.median(errors)),
    )


def _total(network: Network, what: str) -> float:
    return sum(value for name, value in network.work.items() if name.startswith(what))


def _in_words(name: str) -> str:
    """'macs conv2d 3x3' -> 'million multiply-accumulates in conv2d 3x3'."""
    what, _, kind = name.partition(" ")
    words = {"count": "operations", "macs": "million multiply-accumulates", "elements": "million results"}[what]
    return f"{words} of {kind}" if kind else words
