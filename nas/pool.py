"""The candidates among which a generator chooses: all of them where they are few, else samples and neighbours."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from nas.generators import Choices
from nas.generators._unit import choices_at
from profiles.records import digest_of

Array = npt.NDArray[np.float64]
_TWOS = 64  # candidates at most that differ in two choices
_STEPS = 4  # of a range, tried at a time
_SHORT = 8  # whole numbers at most of a range that is taken for a list
_FINE, _COARSE = 0.01, 0.3  # sd of a change of a number, as a share of its range: any between them, on the log scale


class Pool:
    """``canonical`` gives equal candidates equal choices; everything that comes out of here went through it."""

    def __init__(
        self, parameters: Sequence[Mapping[str, Any]], canonical: Callable[[Choices], Choices], seed: int
    ) -> None:
        self._parameters, self.canonical, self._seed = parameters, canonical, seed

    @property
    def size(self) -> float:
        """Number of combinations of choices; inf where there is a range of real numbers."""
        return math.prod(_count(parameter) for parameter in self._parameters)

    def every(self) -> list[Choices]:
        """All candidates of a finite space."""
        names = [parameter["name"] for parameter in self._parameters]
        combinations = itertools.product(*map(_values, self._parameters))
        return self._different(dict(zip(names, values, strict=True)) for values in combinations)

    def sample(self, n: int, stream: int) -> list[Choices]:
        """About ``n`` random ones: fewer where some are equal. The same for the same seed and ``stream``."""
        points = np.random.default_rng((self._seed, stream)).random((n, len(self._parameters)))
        return self._different(choices_at(self._parameters, point) for point in points.tolist())

    def neighbours(self, centres: Sequence[Choices], stream: int) -> list[Choices]:
        """All that differ in one choice from one of ``centres``, numbers of a range by a random step, and some that
        differ in two."""
        rng = np.random.default_rng((self._seed, stream, 1))
        ones = [near for centre in centres for near in self._changed(centre, rng)]
        twos = []
        for row in rng.permutation(len(ones))[:_TWOS]:
            near = ones[row]
            parameter = self._parameters[int(rng.integers(len(self._parameters)))]
            others = _others(parameter, near[parameter["name"]], rng)
            if others:
                twos.append(near | {parameter["name"]: others[rng.integers(len(others))]})
        return self._different(itertools.chain(ones, twos))

    def neighbours_of_one(self) -> int:
        """How many candidates differ in one choice from a given one; the steps of a range count as one each."""
        return sum(int(_count(p)) - 1 if "values" in p or _short(p) else _STEPS for p in self._parameters)

    def around(self, centres: Sequence[Choices], radius: int, n: int, stream: int) -> dict[str, tuple[Choices, int]]:
        """About ``n`` random ones by their digests, made by changing 1 to ``radius`` choices of one of ``centres``, and
        which one; fewer where some are equal. What canonical choices make of that may be the centre itself."""
        rng = np.random.default_rng((self._seed, stream, 2))
        found: dict[str, tuple[Choices, int]] = {}
        for centre in rng.integers(len(centres), size=n).tolist():
            changed = dict(centres[centre])
            for index in rng.permutation(len(self._parameters))[: int(rng.integers(1, radius + 1))]:
                parameter = self._parameters[int(index)]
                if others := _others(parameter, changed[parameter["name"]], rng):
                    changed[parameter["name"]] = others[int(rng.integers(len(others)))]
            changed = self.canonical(changed)
            found.setdefault(digest_of(changed), (changed, centre))
        return found

    def encode(self, candidates: Sequence[Choices]) -> Array:
        """(n, columns) between 0 and 1. Two different values of an unordered choice have the distance 1."""
        rows = [[part for p in self._parameters for part in _code(p, c[p["name"]])] for c in candidates]
        return np.array(rows, float).reshape(len(candidates), len(self.owner))

    @property
    def owner(self) -> list[int]:
        """For each column of ``encode``, the index of its parameter."""
        return [index for index, p in enumerate(self._parameters) for _ in range(_columns(p))]

    def _changed(self, centre: Choices, rng: np.random.Generator) -> list[Choices]:
        return [
            centre | {parameter["name"]: value}
            for parameter in self._parameters
            for value in _others(parameter, centre[parameter["name"]], rng)
        ]

    def _different(self, candidates: Iterable[Choices]) -> list[Choices]:
        return list({digest_of(found): found for found in map(self.canonical, candidates)}.values())


def _count(parameter: Mapping[str, Any]) -> float:
    if "values" in parameter:
        return len(parameter["values"])
    return parameter["high"] - parameter["low"] + 1 if parameter.get("integer") else math.inf


def _values(parameter: Mapping[str, Any]) -> list[Any]:
    if "values" in parameter:
        return list(parameter["values"])
    return list(range(int(parameter["low"]), int(parameter["high"]) + 1))


def _others(parameter: Mapping[str, Any], value: Any, rng: np.random.Generator) -> list[Any]:
    if "values" in parameter:
        return [other for other in parameter["values"] if other != value]
    if _short(parameter):
        return [other for other in _values(parameter) if other != value]
    steps = rng.normal(size=_STEPS) * np.exp(rng.uniform(math.log(_FINE), math.log(_COARSE), _STEPS))
    shares = np.clip(_share(parameter, value) + steps, 0.0, 1.0 - 1e-12)
    moved = [choices_at([parameter], [share])[parameter["name"]] for share in shares.tolist()]
    return [other for other in dict.fromkeys(moved) if other != value]


def _short(parameter: Mapping[str, Any]) -> bool:
    return bool(parameter.get("integer")) and _count(parameter) <= _SHORT


def _share(parameter: Mapping[str, Any], value: float) -> float:
    """The other way round than ``choices_at``: a whole number is in the middle of its share."""
    low, high = parameter["low"], parameter["high"]
    if parameter.get("integer"):
        low, high = low - 0.5, high + 0.5
    if parameter.get("log"):
        return math.log(value / low) / math.log(high / low)
    return (value - low) / (high - low)


def _columns(parameter: Mapping[str, Any]) -> int:
    return len(parameter["values"]) if "values" in parameter and not parameter.get("ordered") else 1


def _code(parameter: Mapping[str, Any], value: Any) -> list[float]:
    if "values" not in parameter:
        return [_share(parameter, value)]
    values = list(parameter["values"])
    if parameter.get("ordered"):
        return [values.index(value) / max(len(values) - 1, 1)]
    return [math.sqrt(0.5) if value == other else 0.0 for other in values]
