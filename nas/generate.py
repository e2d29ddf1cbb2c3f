"""Ask for candidates, tell what became of them: generators behind one small interface, in a process of their own.

In Python:

    search = AskTell(spec, seed=0)          # spec: the dictionary described at ``parse``
    for config in search.ask(2):
        search.tell([{"config": config, "values": {"acc": 0.93, "latency": 1.2}}])

As a process (``python -m nas.generate``), JSON lines on stdin and stdout, one answer a line:

    {"cmd": "init", "spec": {...}, "seed": 0}     -> {"ok": true}
    {"cmd": "ask", "n": 1}                        -> {"configs": [{...}], "sources": ["sobol"]}
    {"cmd": "scout"}                              -> {"configs": [{...}], "sources": ["scouting"]}, or empty lists
    {"cmd": "tell", "results": [{"config": ..}]}  -> {"ok": true}
    {"cmd": "warm"}                               -> {"ok": true}, once the model-based generator is imported
    {"cmd": "close"}

The state is only what was told, so a generator is restarted by telling everything again.
"""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TextIO

from nas.generators import Choices, Generator, Limit, Objective, Observation, Spec, Trained, Transfer
from nas.spaces import canonical, find_space
from profiles.errors import HwnasError, InputError, UnavailableError, one_line
from profiles.records import digest_of
from profiles.registry import find

DEFAULT_INITIAL = 8
DEFAULT_GENERATOR = "hwnas"

_STATUSES = ("done", "failed", "pending", "scouted")


def parse(spec: Mapping[str, Any]) -> Spec:
    """A ``Spec`` from its JSON form.

    {"parameters": [{"name", "values", "ordered"} | {"name", "low", "high", "log", "integer"}],
     "objectives": [{"name", "goal": "max"|"min", "threshold": number or absent}],
     "constraints": [{"name", "op": "<=" or ">=", "bound"}],
     "space": name of a search space (optional), "generator": name (optional), "initial": n (optional),
     "transfer": [{"metric", "choices": [{...}], "values": [number]}] and
     "trained": [{"choices": {...}, "values": {metric: number}}] (optional), see nas.transfer,
     "input_shape": [C, H, W] and "outputs": n, of the data that its networks are built for (optional)}

    Other keys are ignored. Raises InputError.
    """
    try:
        found = Spec(
            parameters=[dict(parameter) for parameter in spec["parameters"]],
            objectives=[
                Objective(name=o["name"], goal=o["goal"], threshold=o.get("threshold")) for o in spec["objectives"]
            ],
            limits=[Limit(name=c["name"], op=c["op"], bound=c["bound"]) for c in spec.get("constraints", [])],
            space=spec.get("space"),
            input_shape=spec.get("input_shape"),
            outputs=spec.get("outputs"),
            generator=spec.get("generator", DEFAULT_GENERATOR),
            initial=spec.get("initial", DEFAULT_INITIAL),
            options=spec.get("options", {}),
            transfer=[
                Transfer(metric=t["metric"], choices=t["choices"], values=t["values"]) for t in spec.get("transfer", [])
            ],
            trained=[Trained(choices=t["choices"], values=t["values"]) for t in spec.get("trained", [])],
        )
    except (KeyError, TypeError) as error:
        raise InputError(f"spec: {error!r}; accepted: see nas.generate.parse") from error
    for objective in found.objectives:
        if objective.goal not in ("max", "min"):
            raise InputError(f"spec: objective {objective.name}: given goal {objective.goal!r}; accepted: max, min")
    for limit in found.limits:
        if limit.op not in ("<=", ">="):
            raise InputError(f"spec: constraint {limit.name}: given op {limit.op!r}; accepted: <=, >=")
    return found


class AskTell:
    """No candidate twice, by canonical choices; a random phase first; random ones where the generator has none."""

    def __init__(self, spec: Mapping[str, Any], seed: int) -> None:
        self._spec = parse(spec)
        self._seed = seed
        self._canonical = _canonicaliser(self._spec.space)
        self._observations: list[Observation] = []
        self._known: dict[str, str] = {}  # digest -> the status told last
        self._scouted: dict[str, Observation] = {}
        self._generators: dict[str, Generator] = {}

    def ask(self, n: int) -> list[Choices]:
        """``n`` new candidates, fewer only when the space is exhausted. They count as pending until told."""
        return [config for config, _ in self.ask_with_sources(n)]

    def ask_with_sources(self, n: int) -> list[tuple[Choices, str]]:
        """Each with the name of what proposed it; "random (ax proposed nothing new)" where it fell back."""
        proposals = []
        for _ in range(n):
            proposal = self._propose()
            if proposal is None:
                break
            proposals.append(proposal)
        return proposals

    def tell(self, results: Sequence[Mapping[str, Any]]) -> None:
        """Each {"config", "values", optional "sems", optional "status": "done" | "failed" | "pending" | "scouted"}.

        What was told already, by another controller's news or at a restart, changes nothing. Raises InputError on any
        other status, and on a value that is no finite number: what was not measured is left out.
        """
        for result in results:
            status = result.get("status", "done")
            if status not in _STATUSES:
                raise InputError(f"tell: status: given {status!r}; accepted: {', '.join(_STATUSES)}")
            self._observe(
                Observation(
                    choices=self._canonical(result["config"]),
                    status=status,
                    values={name: _number(name, value) for name, value in result.get("values", {}).items()},
                    sems=result.get("sems", {}),
                )
            )

    def scout(self) -> Choices | None:
        """A candidate that is worth measuring without a training; ``None``: the generator learns nothing from such, or
        there is none left."""
        if not scouts(self._spec.generator):
            return None
        generator: Any = self._generator(self._spec.generator)
        choices = generator.scout(
            lambda found: (digest := self._digest(found)) in self._known or digest in self._scouted
        )
        if choices is None:
            return None
        choices = self._canonical(choices)
        self._observe(Observation(choices=choices, status="scouted"))
        return choices

    def warm(self) -> None:
        """Make the model-based generator now, so that its first proposal does not wait for it.

        Raises InputError or UnavailableError where it cannot be made.
        """
        self._generator(self._spec.generator)

    def _propose(self) -> tuple[Choices, str] | None:
        name = self._spec.generator
        if len(self._known) < self._spec.initial and not starts_itself(name):
            name = "sobol"
        choices = self._new(name)
        source = name
        if choices is None and name != "random":
            choices = self._new("random")
            source = f"random ({name} proposed nothing new)"
        if choices is None:
            return None
        self._observe(Observation(choices=choices, status="pending"))
        return choices, source

    def _new(self, name: str) -> Choices | None:
        """A candidate in its canonical form, ``None`` also where the generator proposed one that is known."""
        choices = self._generator(name).propose(self._seen)
        return None if choices is None or self._seen(choices) else self._canonical(choices)

    def _observe(self, observation: Observation) -> None:
        digest = digest_of(observation.choices)
        if observation.status == "scouted":
            self._scouted[digest] = observation
            for name, generator in self._generators.items():
                if scouts(name):
                    generator.observe(observation)
            return
        if self._known.get(digest) not in (None, "pending") or self._known.get(digest) == observation.status:
            return
        self._known[digest] = observation.status
        self._observations.append(observation)
        for generator in self._generators.values():
            generator.observe(observation)

    def _generator(self, name: str) -> Generator:
        if name not in self._generators:
            generator = _made(name, self._spec, self._seed)
            for observation in (*self._observations, *(self._scouted.values() if scouts(name) else ())):
                generator.observe(observation)
            self._generators[name] = generator
        return self._generators[name]

    def _seen(self, choices: Choices) -> bool:
        return self._digest(choices) in self._known

    def _digest(self, choices: Choices) -> str:
        return digest_of(self._canonical(choices))


def _number(name: str, value: Any) -> float:
    try:
        found = math.nan if isinstance(value, str) else float(value)
    except (TypeError, ValueError):
        found = math.nan
    if not math.isfinite(found):
        raise InputError(f"tell: {name}: given {value!r}; accepted: a finite number, or no value")
    return found


def _made(name: str, spec: Spec, seed: int) -> Generator:
    """Raises InputError on options that it does not take, UnavailableError where something that it needs is missing."""
    try:
        if spec.options and name == spec.generator and not takes_options(name):
            raise InputError(f"search.options: given {', '.join(spec.options)}; accepted with {name}: none")
        generator: Generator = find("nas.generators", name).create(spec, seed)
    except HwnasError:
        raise
    except Exception as error:  # a library, or code of the user's: anything
        raise UnavailableError(f"the generator {name} cannot be made: {one_line(error)}") from error
    return generator


def serve(lines: TextIO, out: TextIO) -> None:
    """Answer requests until ``close`` or the end of ``lines``.

    An error is an answer too: {"error": text}, with its "exit_code" where it is one of hwnas's own.
    """
    search: AskTell | None = None
    for line in lines:
        try:
            request = _request(line)
            if request["cmd"] == "close":
                return
            if request["cmd"] == "init":
                search = AskTell(request["spec"], request["seed"])
            answer = _answer(search, request)
        except HwnasError as error:
            answer = {"error": str(error), "exit_code": error.exit_code}
        except Exception as error:  # whatever a library throws must reach the controller as text
            answer = {"error": f"{type(error).__name__}: {error}"[:2000]}
        out.write(json.dumps(answer) + "\n")
        out.flush()


def _request(line: str) -> dict[str, Any]:
    try:
        request = json.loads(line)
    except ValueError:
        request = None
    if not isinstance(request, dict) or "cmd" not in request:
        raise InputError(f"request: given {line.strip()[:80]!r}; accepted: a JSON object with cmd, one a line")
    return request


def _answer(search: AskTell | None, request: Mapping[str, Any]) -> dict[str, Any]:
    if search is None:
        raise InputError(f"the first command must be init, given {request['cmd']!r}")
    match request["cmd"]:
        case "ask":
            proposals = search.ask_with_sources(request["n"])
            return {"configs": [config for config, _ in proposals], "sources": [source for _, source in proposals]}
        case "scout":
            found = [choices for choices in [search.scout()] if choices is not None]
            return {"configs": found, "sources": ["scouting"] * len(found)}
        case "tell":
            search.tell(request["results"])
        case "warm":
            search.warm()
        case "init":
            pass
        case other:
            raise InputError(f"cmd: given {other!r}; accepted: init, ask, scout, tell, warm, close")
    return {"ok": True}


def starts_itself(generator: str) -> bool:
    return getattr(find("nas.generators", generator), "STARTS_ITSELF", False)


def scouts(generator: str) -> bool:
    return getattr(find("nas.generators", generator), "SCOUTS", False)


def transfers(generator: str) -> bool:
    return getattr(find("nas.generators", generator), "TRANSFERS", False)


def takes_options(generator: str) -> bool:
    return getattr(find("nas.generators", generator), "OPTIONS", False)


def _canonicaliser(space: str | None) -> Callable[[Mapping[str, Any]], Choices]:
    if space is None:
        return dict
    found = find_space(space)
    return lambda choices: canonical(found, choices)


def main() -> None:
    # Answers go to the real stdout; whatever a library prints goes to stderr.
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    serve(sys.stdin, out)


if __name__ == "__main__":
    main()
