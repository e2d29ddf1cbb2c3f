"""Bayesian optimisation that knows the network: Gaussian processes over choices and over features of what is built.

    [search]
    generator = "hwnas"

Real candidates only, never a relaxed box that is rounded: the expected hypervolume improvement times the probability of
keeping the limits is computed for every candidate of a pool, and the best new one is proposed. A pending trial counts
as if it had already given what the model expects. The first candidates are far apart in choices and features. How it
works and what it was compared with: docs/generators.md.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt

from nas.beliefs import Belief, spread
from nas.described import Described
from nas.generators import Choices, Objective, Observation, Seen, Spec
from nas.improvement import Believed, log_chance, log_improvement
from nas.networks import Networks
from nas.pareto import complete, front, reference_point, worst_of_interest
from nas.pool import Pool
from nas.regions import guessed, radius, slopes_of, successes
from nas.spaces import canonical, find_space
from nas.trained import moved, recalled, spared
from nas.warm_start import WarmStart
from profiles.records import digest_of

STARTS_ITSELF = True
SCOUTS = True
TRANSFERS = True

Array = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

_WHOLE = 20_000  # candidates at most of a space that is looked at as a whole
_BUILT = 1_000  # networks that are built and described at the start; neighbours of the front follow
_WORK = 2_000_000  # observations times candidates of one step, so that its time stays within seconds
_CENTRES = 16  # members of the front at most whose neighbours are looked at
_NEIGHBOURS = 31  # of one candidate at one change at most; where a space has more, trust regions
_AROUND = 2_000  # candidates of trust regions in a step, of which
_LOOKED_AT = 16  # are built and described
_INITIAL_WARM = 2
_TURN = 3  # one proposal in so many looks at the wider fence of a model's bad tail, see nas.beliefs
_BROKEN = 1e6  # more than any distance: keeping the limits comes first,
_FIRST = 1e3  # and then, not always, what needs no training
_TYPICAL = 300  # those that decide which features there are


class _Hwnas:
    def __init__(self, spec: Spec, seed: int) -> None:
        self._spec, self._seed = spec, seed
        space = find_space(spec.space) if spec.space else None
        self._pool = Pool(spec.parameters, (lambda choices: canonical(space, choices)) if space else dict, seed)
        self._networks: Networks | None = None
        if spec.space:
            typical = self._sample(_TYPICAL)
            self._networks = Networks(spec.space, typical, spec.input_shape, spec.outputs or 10)
        self._features = self._networks.width if self._networks else 0
        self._observations: dict[str, Observation] = {}
        self._scouted: dict[str, Observation] = {}
        self._goals: dict[str, Literal["max", "min"]] = {
            limit.name: "min" if limit.op == "<=" else "max" for limit in spec.limits
        }
        self._goals |= {objective.name: objective.goal for objective in spec.objectives}
        self._models: dict[str, Belief] = {}
        self._warm: WarmStart | None = None
        self._base: Described | None = None
        trained = [replace(one, choices=self._pool.canonical(one.choices)) for one in spec.trained]
        self._trained = {digest_of(one.choices): one for one in trained}

    def observe(self, observation: Observation) -> None:
        known = self._scouted if observation.status == "scouted" else self._observations
        known[digest_of(observation.choices)] = observation

    def scout(self, seen: Seen) -> Choices | None:
        """Of all that could be built, the one that is farthest from everything known."""
        candidates = self._basis()
        known = self._observations.keys() | self._scouted.keys()
        rows = np.flatnonzero(
            [real and key not in known for key, real in zip(candidates.keys, candidates.real, strict=True)]
        )
        if not len(rows):
            return None
        best = candidates.choices[rows[np.argmax(self._distance(candidates.x[rows], self._scouted))]]
        return None if seen(best) else best

    def propose(self, seen: Seen) -> Choices | None:
        done = [o for o in self._observations.values() if o.status == "done"]
        begun = len(self._observations) >= self._initial
        known = self._learn() if begun else set()
        modelled = known >= self._goals.keys()
        candidates = self._candidates(done) if modelled or (known and not self._wide) else self._basis()
        new = np.array([key not in self._observations for key in candidates.keys], bool)
        if (new & candidates.real).any():  # a network that ignores its input is the last resort
            new &= candidates.real
        if not begun:
            new = self._half(new)
        rows = np.flatnonzero(new)
        if not len(rows):
            return None
        some = candidates.some(rows)
        bonus = spared(some.keys, self._trained)
        if modelled:
            score = self._score(done, some) + bonus
        else:
            score = self._fitting(some, known) + self._distance(some.x)
            # They are what an earlier search came to; the random phase is to be about all of the space as well.
            if begun or 2 * len(self._observations) < self._initial:
                score += _FIRST * bonus
        best = some.choices[np.argmax(score)]
        return None if seen(best) else best

    @property
    def _initial(self) -> int:
        """Proposals before a model is asked: few where something else tells of every metric."""
        told = {transfer.metric for transfer in self._spec.transfer}
        return min(self._spec.initial, _INITIAL_WARM) if told >= self._goals.keys() else self._spec.initial

    def _half(self, new: Flags) -> Flags:
        """Those of ``new`` that a coin of this seed chose, so that seeds begin differently; all where that is none."""
        chosen = new & (np.random.default_rng(self._seed).random(len(new)) < 0.5)
        return chosen if chosen.any() else new

    def _distance(self, x: Array, scouted: dict[str, Observation] | None = None) -> Array:
        """(n,): squared, from the nearest of what was proposed, or ``scouted``; choices and features weigh alike."""
        known = self._described([o.choices for o in (self._observations | (scouted or {})).values()]).x
        choices = len(self._pool.owner)
        weights = np.ones(x.shape[1]) / np.sqrt(len(self._spec.parameters))
        weights[choices:] = 1.0 / np.sqrt(max(self._features, 1))
        return spread(x * weights, known * weights)

    def _fitting(self, some: Described, known: set[str]) -> Array:
        """(n,): far below 0 where a limit on one of the ``known`` metrics is rather broken than kept, the farther the
        surer. While nothing that was measured keeps the limits, nothing is trained, and there is no other model."""
        limits = [limit for limit in self._spec.limits if limit.name in known]
        chance = log_chance(self._believed(some.some([]), some, known), limits, len(some.keys))
        return np.where(chance < math.log(0.5), _BROKEN * (chance - 1.0), 0.0)

    def _learn(self) -> set[str]:
        """Tell each metric's model what was measured; the metrics that were measured often enough to have one."""
        # In one order, whatever ends first: what was measured of a trial stands where its end will.
        pure = [o for key, o in self._scouted.items() if key not in self._observations]
        trials = [o if o.status == "done" else self._scouted.get(key) for key, o in self._observations.items()]
        done = [*pure, *(o for o in trials if o is not None)]
        x = self._described([o.choices for o in done]).x
        known: set[str] = set()
        for name, goal in self._goals.items():
            rows = [row for row, o in enumerate(done) if name in o.values]
            if len(rows) < 2:
                continue
            values = np.array([done[row].values[name] for row in rows], float)
            sems = np.array([done[row].sems.get(name, np.nan) for row in rows], float)
            warm = self._warm_start.columns(name)
            worst = worst_of_interest(Objective(name=name, goal=goal), self._spec.limits)
            model = self._models.setdefault(name, Belief(goal, self._pool.owner, self._features, warm, worst))
            model.tell(self._warm_start.beside(name, x[rows]), values, None if np.isnan(sems).any() else sems)
            known.add(name)
        return known

    def _score(self, done: Sequence[Observation], some: Described) -> Array:
        """(n,): of ``some``, the logarithm of expected improvement times the chance of keeping the limits."""
        pending = self._described([o.choices for o in self._observations.values() if o.status == "pending"])
        believed = self._believed(pending, some, self._goals.keys())
        rows, objectives, limits = [o.values for o in done], self._spec.objectives, self._spec.limits
        # As reports do, what was random decides where the reference point is that nothing else fixes.
        first = [o.values for o in list(self._observations.values())[: self._spec.initial] if o.status == "done"]
        first = [values for values in first if complete(values, objectives)]
        reference = reference_point(first or rows, objectives, limits) or {}
        return log_improvement(rows, objectives, limits, believed, len(pending.keys), reference)

    def _believed(self, pending: Described, some: Described, names: Iterable[str]) -> dict[str, Believed]:
        """By metric, of the ``pending`` and of ``some``."""
        found = {}
        wide, keys = len(self._observations) % _TURN == 0, pending.keys + some.keys
        for name in names:
            every, model = self._warm_start.beside(name, np.vstack([pending.x, some.x])), self._models[name]
            believed = Believed(*model.predict(every, every[: len(pending.keys)], wide=wide), model.log)
            moves = moved(name, model.log, self._observations, self._trained)
            found[name] = recalled(believed, name, keys, self._trained, moves)
        return found

    def _candidates(self, done: Sequence[Observation]) -> Described:
        basis = self._basis()
        if self._pool.size <= len(basis.choices):
            return basis
        most = max(_WORK // (len(self._observations) + len(self._scouted)), 1_000)
        basis = basis.some(range(min(most, len(basis.keys))))
        rows = [o.values for o in done]
        # Where nothing keeps the limits yet, what comes closest is on the front without them, or on that of the limits.
        limited = [Objective(name=one.name, goal=self._goals[one.name]) for one in self._spec.limits]
        objectives = self._spec.objectives
        members = front(rows, objectives, self._spec.limits) or front(rows, objectives) or front(rows, limited)
        best = [done[row].choices for row in members]
        if not best:
            return basis
        if len(best) > _CENTRES:
            best = [best[row] for row in np.random.default_rng(len(done)).permutation(len(best))[:_CENTRES]]
        if self._wide:
            return basis + self._described(self._around(done, best, min(most, _AROUND)))
        return basis + self._described(self._pool.neighbours(best, len(self._observations)))

    @property
    def _wide(self) -> bool:
        """A space of many choices, whose networks are large as well: fewer of them are built."""
        return self._pool.neighbours_of_one() > _NEIGHBOURS

    def _around(self, done: Sequence[Observation], best: list[Choices], most: int) -> list[Choices]:
        """The ``_LOOKED_AT`` most promising of the trust regions. Building a network takes longest, so their features
        are guessed from those of the member that they were made from."""
        told = successes([o.values for o in done], self._spec.objectives, self._spec.limits)[self._initial :]
        reach = radius(told, len(self._spec.parameters))
        made = self._pool.around(best, reach, most, len(self._observations))
        there = self._observations.keys() | self._trained.keys()  # the latter are looked at in any case
        new = {digest: one for digest, one in made.items() if digest not in there}
        found = [choices for choices, _ in new.values()]
        if not self._features or not found:
            return found
        codes, centres = self._pool.encode(found), self._described(best).x[[centre for _, centre in new.values()]]
        width = codes.shape[1]
        features = guessed(codes, centres[:, :width], centres[:, width:], self._slopes)
        rows = Described(found, list(new), np.hstack([codes, features]), np.ones(len(new), bool))
        score = self._score(done, rows)
        return [found[row] for row in np.argsort(-score, kind="stable")[:_LOOKED_AT]]

    @cached_property
    def _slopes(self) -> Array:
        basis = self._basis()
        codes, features = np.split(basis.x[basis.real], [len(self._pool.owner)], axis=1)
        return slopes_of(codes, features)

    def _basis(self) -> Described:
        if self._base is None:
            most = _WHOLE if not self._features else _TYPICAL if self._wide else _BUILT
            base = self._pool.every() if self._pool.size <= most else self._sample(most)
            self._base = self._described([one.choices for one in self._trained.values()]) + self._described(base)
        return self._base

    def _sample(self, n: int) -> list[Choices]:
        """Random candidates, the same for every seed: networks described once serve all searches of a space."""
        return Pool(self._spec.parameters, self._pool.canonical, 0).sample(n, 0)

    @property
    def _warm_start(self) -> WarmStart:
        if self._warm is None:
            told = [(one, self._described(list(one.choices)).x) for one in self._spec.transfer]
            self._warm = WarmStart(told, self._goals, self._pool.owner, self._features)
        return self._warm

    def _described(self, choices: list[Choices]) -> Described:
        x, real = self._pool.encode(choices), np.ones(len(choices), bool)
        if self._networks is not None:
            features, real = self._networks.table(choices)
            x = np.hstack([x, features])
        return Described(choices, [digest_of(found) for found in choices], x, real)


def create(spec: Spec, seed: int) -> _Hwnas:
    return _Hwnas(spec, seed)
