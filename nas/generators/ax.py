"""Ax's Bayesian optimisation, over its public client.

    [search]
    generator = "ax"
    options = { fast = true }    # optional: fewer restarts, random scalarisations; a third of the time a step

Ax 1.3: a bound on an objective is that objective's threshold, so limits on objectives become thresholds here and are
enforced by the search itself. A trial that lacks a metric still teaches the others, so gated candidates are completed
without accuracy. Metric names go through ``safe``, since Ax parses them as expressions.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any, Literal

from ax.adapter.registry import Generators
from ax.api.client import Client
from ax.api.configs import ChoiceParameterConfig, RangeParameterConfig
from ax.exceptions.core import SearchSpaceExhausted
from ax.generation_strategy.generation_node import GenerationNode
from ax.generation_strategy.generation_strategy import GenerationStrategy
from ax.generation_strategy.generator_spec import GeneratorSpec
from botorch.acquisition.multi_objective import logei
from botorch.acquisition.multi_objective.parego import qLogNParEGO

from nas.generators import Choices, Observation, Seen, Spec
from nas.pareto import tightest_limit
from profiles.errors import InputError

OPTIONS = True

_LEAST_VALUES = 2  # of each metric: from fewer Ax can fit no model, and says so by an error
_ATTEMPTS = 3  # proposals that turn out to be known before the caller falls back
_FAST = {"num_restarts": 4, "raw_samples": 64}

# BoTorch would compile a C++ kernel on first use: over half a minute on two cores, and a process that is killed or
# stopped meanwhile leaves a lock behind on which every later one waits for ever. The kernel in Python serves.
logei._load_attempted = True


class _Ax:
    def __init__(self, spec: Spec, seed: int, strategy: GenerationStrategy) -> None:
        self.client = Client(random_seed=seed)
        self._trials: dict[str, int] = {}  # canonical JSON of the choices -> Ax's trial index
        self._proposed: tuple[str, int] | None = None  # not yet observed as pending
        self.client.configure_experiment(parameters=[_parameter(p) for p in spec.parameters], name="hwnas")
        objective, constraints = _optimization(spec)
        self.client.configure_optimization(objective=objective, outcome_constraints=constraints)
        self._modelled = {safe(o.name) for o in spec.objectives} | {safe(limit.name) for limit in spec.limits}
        self._values: Counter[str] = Counter()
        self.client.set_generation_strategy(strategy)

    def propose(self, seen: Seen) -> Choices | None:
        if any(self._values[name] < _LEAST_VALUES for name in self._modelled):  # too few trainings have ended
            return None
        for _ in range(_ATTEMPTS):
            try:
                ((index, choices),) = self.client.get_next_trials(max_trials=1).items()
            except SearchSpaceExhausted:  # Ax says so at times when it is not; the caller asks the random generator too
                return None
            if not seen(dict(choices)):
                self._proposed = (_key(choices), index)
                return dict(choices)
            self.client.mark_trial_abandoned(index)
        return None

    def observe(self, observation: Observation) -> None:
        key = _key(observation.choices)
        if key not in self._trials:
            self._trials[key] = self._claim(key, observation.choices)
        index = self._trials[key]
        if observation.status == "failed":
            self.client.mark_trial_failed(index)
        elif observation.status == "done":
            data = self._data(observation)
            self._values.update(data.keys())
            self.client.complete_trial(index, raw_data=data)

    def _claim(self, key: str, choices: Choices) -> int:
        """The trial just proposed, or a new one where the proposal came back in another, canonical form."""
        if self._proposed is not None:
            proposed, index = self._proposed
            self._proposed = None
            if proposed == key:
                return index
            self.client.mark_trial_abandoned(index)
        return self.client.attach_trial(choices)

    def _data(self, observation: Observation) -> dict[str, Any]:
        """Floats, since Ax refuses ints and float32; only what is modelled."""
        data: dict[str, Any] = {}
        for name, value in observation.values.items():
            if safe(name) in self._modelled:
                sem = observation.sems.get(name)
                data[safe(name)] = float(value) if sem is None else (float(value), float(sem))
        return data


def create(spec: Spec, seed: int) -> _Ax:
    unknown = set(spec.options) - {"fast"}
    if unknown:
        given = ", ".join(sorted(unknown))
        raise InputError(f"search.options: given {given}; accepted with the generator ax: fast = true or false")
    fast = spec.options.get("fast", False)
    if not isinstance(fast, bool):
        raise InputError(f"search.options: given fast = {fast!r}; accepted with the generator ax: fast = true or false")
    if not fast:
        return with_generator(spec, seed, Generators.BOTORCH_MODULAR)
    return with_generator(
        spec,
        seed,
        Generators.BOTORCH_MODULAR,
        generator_kwargs={"botorch_acqf_class": qLogNParEGO} if len(spec.objectives) > 1 else {},
        generator_gen_kwargs={"model_gen_options": {"optimizer_kwargs": _FAST}},
    )


def with_generator(spec: Spec, seed: int, generator: Generators, **options: Any) -> _Ax:
    """Ax with one of its own models from the first model-based proposal on."""
    node = GenerationNode(name=generator.name, generator_specs=[GeneratorSpec(generator_enum=generator, **options)])
    return _Ax(spec, seed, GenerationStrategy(name="hwnas", nodes=[node]))


def _parameter(parameter: Mapping[str, Any]) -> RangeParameterConfig | ChoiceParameterConfig:
    name = parameter["name"]
    if "values" in parameter:
        values = list(parameter["values"])
        kinds: dict[type, Literal["bool", "int", "float", "str"]] = {
            bool: "bool",
            int: "int",
            float: "float",
            str: "str",
        }
        return ChoiceParameterConfig(
            name=name,
            values=values,
            # Ax casts them all to one type: as ints, (0, 0.1, 0.5) would be three zeros.
            parameter_type="float" if any(isinstance(value, float) for value in values) else kinds[type(values[0])],
            is_ordered=parameter.get("ordered", False),
        )
    return RangeParameterConfig(
        name=name,
        bounds=(parameter["low"], parameter["high"]),
        parameter_type="int" if parameter.get("integer") else "float",
        scaling="log" if parameter.get("log") else "linear",
    )


def _optimization(spec: Spec) -> tuple[str, list[str]]:
    """Ax's expressions: "acc, -latency" and the bounds. A limit on an objective stands in for a threshold that is
    missing or less tight.

    Ax takes one bound from each side of a metric.
    """
    terms, bounds = [], []
    for objective in spec.objectives:
        name = safe(objective.name)
        terms.append(name if objective.goal == "max" else f"-{name}")
        worst = [objective.threshold, tightest_limit(objective, spec.limits)]
        tighter = max if objective.goal == "max" else min
        threshold = tighter((found for found in worst if found is not None), default=None)
        # Ax takes thresholds only with several objectives; with one they would be constraints.
        if threshold is not None and len(spec.objectives) > 1:
            bounds.append(f"{name} {'>=' if objective.goal == 'max' else '<='} {threshold!r}")
    tightest: dict[tuple[str, str], float] = {}
    for limit in spec.limits:
        if limit.name not in {objective.name for objective in spec.objectives}:
            side = safe(limit.name), limit.op
            closer = min if limit.op == "<=" else max
            tightest[side] = closer(limit.bound, tightest.get(side, limit.bound))
    bounds += [f"{name} {op} {bound!r}" for (name, op), bound in tightest.items()]
    return ", ".join(terms), bounds


def safe(metric: str) -> str:
    """'latency_ms.p90@pi5-int8' -> 'latency_ms_p90_at_pi5_int8'."""
    return re.sub(r"\W", "_", metric.replace("@", "_at_"))


def _key(choices: Mapping[str, Any]) -> str:
    return json.dumps(choices, sort_keys=True)
