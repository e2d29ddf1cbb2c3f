"""Models of what a network costs, learnt from some that were measured: sums over operations, and a Gaussian process.

Each is made for all measured networks and then fitted to some of them, so that it can be judged on the others. Values
are natural logarithms of the metric, in and out: errors of latency, energy and memory are relative.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter

import numpy as np
import numpy.typing as npt
from scipy.optimize import nnls

from nas.features import describe, work
from nas.graph import Operation

Array = npt.NDArray[np.float64]
Rows = npt.NDArray[np.intp]
Described = Mapping[str, float]

_SMOOTH_FROM = 20  # networks below which a Gaussian process is not worth a try
_TINY = 1e-12


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """``work`` and ``live_work``: ``nas.features.work`` of all operations, and of those that are not dead;
    ``features``: ``nas.features.describe``."""

    work: Described
    live_work: Described
    features: Described

    @classmethod
    def of(cls, operations: Sequence[Operation]) -> Network:
        live = [operation for operation in operations if operation.live]
        return cls(work=work(operations), live_work=work(live), features=describe(operations))

    def of_kind(self, kind: str) -> Network:
        """One that shares no operation with those of other kinds: int8 and fp32 have costs of their own."""
        work, live, features = (_renamed(one, kind) for one in (self.work, self.live_work, self.features))
        return Network(work=work, live_work=live, features=features)


Predict = Callable[[Sequence[Network]], Array]  # (n,) logarithms
Fit = Callable[[Rows], Predict]  # to these of the measured networks


def models(networks: Sequence[Network], logs: Array) -> dict[str, Fit]:
    """By their names in words. ``logs`` (n,): what was measured."""
    found = {
        "counts of all operations": _sum(attrgetter("work"), ("count ",), networks, logs),
        "counts of live operations": _sum(attrgetter("live_work"), ("count ",), networks, logs),
        "work of all operations": _sum(attrgetter("work"), ("",), networks, logs),
        "work of live operations": _sum(attrgetter("live_work"), ("",), networks, logs),
    }
    if len(networks) >= _SMOOTH_FROM:
        found["a Gaussian process"] = _process(networks, logs)
    return found


def _table(described: Sequence[Described], names: Sequence[str]) -> Array:
    """(n, names); what is missing is 0."""
    rows = [[one.get(name, 0.0) for name in names] for one in described]
    return np.array(rows, float).reshape(len(described), len(names))


def _renamed(described: Described, kind: str) -> Described:
    """'count conv2d 3x3' -> 'count int8 conv2d 3x3'."""
    return {
        name.replace(" ", f" {kind} ", 1) if " " in name else f"{name} {kind}": value
        for name, value in described.items()
    }


def _sum(
    part: Callable[[Network], Described], prefixes: tuple[str, ...], networks: Sequence[Network], logs: Array
) -> Fit:
    """Each kind of operation adds its share, never a negative one, to a constant: least squares of relative errors."""
    described = [part(network) for network in networks]
    names = sorted({name for one in described for name in one if name.startswith(prefixes)})
    whole = _table(described, names)
    # Of columns that are multiples of each other, one: which gets the weight would be chance.
    scaled = whole / np.maximum(whole.max(0, initial=0.0), _TINY)
    kept = np.sort(np.unique(scaled.round(9), axis=1, return_index=True)[1])
    names, whole = [names[column] for column in kept], whole[:, kept]

    def fit(rows: Rows) -> Predict:
        relative = np.column_stack([whole[rows], np.ones(len(rows))]) / np.exp(logs[rows])[:, None]
        unit = np.maximum(relative.max(0), _TINY)
        weights = nnls(relative / unit, np.ones(len(rows)))[0] / unit

        def predict(others: Sequence[Network]) -> Array:
            found: Array = _table([part(other) for other in others], names) @ weights[:-1] + weights[-1]
            return np.log(np.maximum(found, _TINY))

        return predict

    return fit


def _process(networks: Sequence[Network], logs: Array) -> Fit:
    """Its few hyperparameters are learnt from all networks once, also where it is fitted to some."""
    from nas.surrogate import Surrogate

    described = [network.features for network in networks]
    names = sorted({name for one in described for name in one})
    whole = _table(described, names)
    centre, unit = whole.mean(0), whole.std(0)
    varied = unit > 1e-9 * (1 + np.abs(centre))
    names = [name for name, varies in zip(names, varied, strict=True) if varies]
    centre, unit = centre[varied], unit[varied]
    x = (whole[:, varied] - centre) / unit
    surrogate = Surrogate(x, logs, None, [], len(names))

    def fit(rows: Rows) -> Predict:
        def predict(others: Sequence[Network]) -> Array:
            surrogate.condition(x[rows], logs[rows], None)
            return surrogate.predict((_table([other.features for other in others], names) - centre) / unit)[0]

        return predict

    return fit
