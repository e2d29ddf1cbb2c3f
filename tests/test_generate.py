"""Generators: contract tests over every name, then ask and tell, in this process and in one of its own."""

from __future__ import annotations

import io
import json
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import faults
import pytest

from nas.generate import AskTell, serve
from nas.generators import Limit, Objective, Spec
from nas.proposals import Proposals, results_of
from profiles.errors import HwnasError, InputError, UnavailableError
from profiles.registry import find, names

SPEC: dict[str, Any] = {
    "parameters": [
        {"name": "width", "values": [8, 16, 32, 64], "ordered": True},
        {"name": "kernel", "values": ["3x3", "5x5"], "ordered": False},
        {"name": "rate", "low": 1e-4, "high": 1e-1, "log": True},
        {"name": "depth", "low": 1, "high": 5, "integer": True},
    ],
    "objectives": [{"name": "acc", "goal": "max", "threshold": 0.1}, {"name": "latency_ms@local", "goal": "min"}],
    "constraints": [{"name": "latency_ms@local", "op": "<=", "bound": 50.0}, {"name": "mb", "op": "<=", "bound": 9.0}],
    "initial": 3,
}
OPTIONS = {"ax": {"options": {"fast": True}}}  # others know none
SMALL = SPEC | {"parameters": [{"name": "a", "values": [1, 2, 3], "ordered": True}, {"name": "b", "values": [0, 1]}]}


def evaluate(config: dict[str, Any]) -> dict[str, float]:
    size = float(config["width"] * config["depth"])
    return {"acc": 1 - 1 / size, "latency_ms@local": size / 5, "mb": size / 40}


def result(config: dict[str, Any]) -> dict[str, Any]:
    values = evaluate(config)
    if values["mb"] > 6:  # gated: no accuracy
        del values["acc"]
    return {"config": config, "values": values, "sems": {"latency_ms@local": 0.01 * values["latency_ms@local"]}}


def generator_or_skip(name: str) -> None:
    try:
        find("nas.generators", name)
    except UnavailableError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("name", sorted({*names("nas.generators")} - OPTIONS.keys()))
def test_options_that_a_generator_does_not_take_are_refused(name: str) -> None:
    generator_or_skip(name)
    with pytest.raises(InputError, match=f"search.options: given fats; accepted with {name}: none"):
        AskTell(SPEC | {"generator": name, "options": {"fats": True}}, seed=0).warm()


@pytest.mark.parametrize("name", names("nas.generators"))
def test_every_generator_proposes_valid_new_candidates(name: str) -> None:
    generator_or_skip(name)
    search = AskTell(SPEC | {"generator": name} | OPTIONS.get(name, {}), seed=1)
    known: list[dict[str, Any]] = []
    for _ in range(6):
        (config,) = search.ask(1)
        assert set(config) == {"width", "kernel", "rate", "depth"}
        assert config["width"] in (8, 16, 32, 64) and config["kernel"] in ("3x3", "5x5")
        assert 1e-4 <= config["rate"] <= 1e-1
        assert isinstance(config["depth"], int) and 1 <= config["depth"] <= 5
        assert config not in known
        known.append(config)
        search.tell([{"config": config, "values": {}, "status": "failed"}] if len(known) == 2 else [result(config)])


@pytest.mark.parametrize("name", names("nas.generators"))
def test_every_generator_ends_when_the_space_does(name: str) -> None:
    generator_or_skip(name)
    search = AskTell(SMALL | {"generator": name} | OPTIONS.get(name, {}), seed=0)
    found = []
    while configs := search.ask(1):
        found += configs
        value = {"acc": configs[0]["a"] / 4, "latency_ms@local": float(configs[0]["a"]), "mb": 1.0}
        search.tell([{"config": configs[0], "values": value}])
    assert sorted((c["a"], c["b"]) for c in found) == [(a, b) for a in (1, 2, 3) for b in (0, 1)]


def test_the_random_phase_depends_on_the_seed_alone() -> None:
    """Not on what was told, nor on a restart in the middle."""
    whole = AskTell(SPEC | {"generator": "sobol"}, seed=5).ask(6)
    first = AskTell(SPEC | {"generator": "sobol"}, seed=5).ask(3)
    again = AskTell(SPEC | {"generator": "sobol"}, seed=5)
    again.tell([result(config) for config in first])
    assert first + again.ask(3) == whole
    assert AskTell(SPEC | {"generator": "sobol"}, seed=6).ask(6) != whole


def test_what_ax_knows_follows_from_what_it_was_told(tmp_path: Path) -> None:
    """There is no state of it to lose: a new process that is told the same proposes the same, whatever came between."""
    spec = SPEC | {"generator": "ax"} | OPTIONS["ax"]
    known = [result(config) for config in AskTell(SPEC | {"generator": "sobol"}, seed=0).ask(5)]
    known.append({"config": known[-1]["config"] | {"width": 8, "depth": 5}, "status": "failed"})
    found = []
    for _ in range(2):
        search = Proposals(spec, 0, known=lambda: known, timeout_s=100.0, log=tmp_path / "generator.log")
        try:
            found.append(next_of(search))
        finally:
            search.close()
    assert [proposal.source for proposal in found] == ["ax", "ax"]
    assert found[0].choices == found[1].choices


def test_ax_is_told_of_thresholds_limits_and_types_as_they_are_meant() -> None:
    from nas.generators.ax import _optimization, _parameter, create

    objectives = (Objective(name="acc", goal="max"), Objective(name="ms", goal="min"))
    limits = [
        Limit(name=name, op=op, bound=bound)
        for name, op, bound in (
            ("ms", "<=", 10.0), ("ms", ">=", 1.0), ("mb", "<=", 9.0), ("mb", ">=", 2.0), ("mb", "<=", 7.0)
        )
    ]  # fmt: skip
    for given in (limits, limits[::-1]):
        terms, bounds = _optimization(Spec(parameters=[], objectives=objectives, limits=given))
        assert terms == "acc, -ms" and sorted(bounds) == ["mb <= 7.0", "mb >= 2.0", "ms <= 10.0"]
    assert _optimization(Spec(parameters=[], objectives=objectives, limits=limits[1:2]))[1] == []
    for threshold, told in ((20.0, "ms <= 10.0"), (5.0, "ms <= 5.0")):
        apart = (objectives[0], Objective(name="ms", goal="min", threshold=threshold))
        assert _optimization(Spec(parameters=[], objectives=apart, limits=limits[:1]))[1] == [told]
    mixed: dict[str, Any] = {"name": "dropout", "values": [0, 0.1, 0.5], "ordered": True}
    assert _parameter(mixed).parameter_type == "float"
    assert _parameter({"name": "width", "values": [8, 16]}).parameter_type == "int"
    client = create(Spec(parameters=[mixed], objectives=objectives, limits=limits), 0).client
    assert client._experiment.search_space.parameters["dropout"].values == [0.0, 0.1, 0.5]


@pytest.mark.parametrize("fast", ["false", 1])
def test_ax_is_fast_or_not(fast: Any) -> None:
    with pytest.raises(InputError) as caught:
        AskTell(SPEC | {"generator": "ax", "options": {"fast": fast}}, seed=0).warm()
    accepted = "accepted with the generator ax: fast = true or false"
    assert str(caught.value) == f"search.options: given fast = {fast!r}; {accepted}"


def test_ax_waits_for_two_values_of_each_metric() -> None:
    """Trainings take longer than the random phase, or the first candidates are all gated."""
    search = AskTell(SPEC | {"generator": "ax"} | OPTIONS["ax"], seed=0)
    for config in search.ask(4):
        values = evaluate(config)
        search.tell([{"config": config, "values": {name: values[name] for name in ("latency_ms@local", "mb")}}])
    assert [source for _, source in search.ask_with_sources(1)] == ["random (ax proposed nothing new)"]
    for config in search.ask(2):
        search.tell([{"config": config, "values": evaluate(config)}])
    assert [source for _, source in search.ask_with_sources(1)] == ["ax"]


def test_equal_networks_are_proposed_once() -> None:
    """convnet: choices of a stage that is not there make no difference."""
    from nas.spaces import digest, find_space

    parameters = [
        {"name": p.name, "values": list(p.values), "ordered": p.ordered} for p in find_space("convnet").parameters
    ]
    search = AskTell(SPEC | {"parameters": parameters, "space": "convnet", "generator": "sobol"}, seed=0)
    digests = [digest("convnet", config) for config in search.ask(40)]
    assert len(set(digests)) == 40


def test_a_spec_that_is_none_is_bad_input() -> None:
    with pytest.raises(InputError, match="objectives"):
        AskTell({"parameters": []}, seed=0)


def test_a_status_that_there_is_not_is_bad_input() -> None:
    search = AskTell(SPEC | {"generator": "sobol"}, seed=0)
    (config,) = search.ask(1)
    with pytest.raises(InputError, match="tell: status: given 'completed'; accepted: done, failed, pending, scouted"):
        search.tell([result(config) | {"status": "completed"}])


def test_errors_in_the_process_are_answers() -> None:
    out = io.StringIO()
    serve(io.StringIO('{"cmd": "ask", "n": 1}\n{"cmd": "init", "spec": {}, "seed": 0}\n{"cmd": "close"}\n'), out)
    first, second = map(json.loads, out.getvalue().splitlines())
    assert "init" in first["error"] and "parameters" in second["error"]


@pytest.mark.parametrize("line", ['{"cmd": ', "5", '{"n": 1}', ""])
def test_a_line_that_is_no_request_is_answered_too(line: str) -> None:
    out = io.StringIO()
    serve(io.StringIO(f'{line}\n{{"cmd": "ask", "n": 1}}\n'), out)
    first, second = map(json.loads, out.getvalue().splitlines())
    accepted = "accepted: a JSON object with cmd, one a line"
    assert first == {"error": f"request: given {line.strip()!r}; {accepted}", "exit_code": 2}
    assert "init" in second["error"]


def proposals(tmp_path: Path, spec: dict[str, Any], timeout_s: float = 60.0) -> Proposals:
    return Proposals(spec, 0, known=list, timeout_s=timeout_s, log=tmp_path / "generator.log")


def next_of(search: Proposals) -> Any:
    search.ask()
    while True:
        search.wait(1.0)
        if (proposal := search.poll()) is not None or search.exhausted:
            return proposal


def test_the_process_proposes_what_this_process_would(tmp_path: Path) -> None:
    search = proposals(tmp_path, SPEC | {"generator": "sobol"})
    try:
        found = [next_of(search).choices for _ in range(3)]
    finally:
        search.close()
    assert found == AskTell(SPEC | {"generator": "sobol"}, seed=0).ask(3)


def test_a_killed_process_is_replaced_by_a_random_candidate_and_a_new_process(tmp_path: Path) -> None:
    search = proposals(tmp_path, SPEC | {"generator": "sobol"})
    try:
        assert search._process is not None
        search._process.kill()
        first = next_of(search)
        assert first.source.startswith("random (sobol failed: the generator's process ended")
        assert next_of(search).source == "sobol"
    finally:
        search.close()


def test_a_process_that_ended_while_nothing_was_asked_is_waited_for_asleep(tmp_path: Path) -> None:
    search = proposals(tmp_path, SPEC | {"generator": "sobol"})
    try:
        assert search._process is not None
        search._process.kill()
        search._process.wait()
        assert search.poll() is None
        begun = time.monotonic()
        search.wait(0.2)
        assert time.monotonic() - begun >= 0.2
        assert next_of(search).source.startswith("random (sobol failed: the generator's process ended")
    finally:
        search.close()


def test_the_random_candidate_in_place_of_a_generator_takes_none_of_its_options(tmp_path: Path) -> None:
    search = proposals(tmp_path, SPEC | {"generator": "ax"} | OPTIONS["ax"])
    try:
        assert search._process is not None
        search._process.kill()
        assert next_of(search).source.startswith("random (ax failed: the generator's process ended")
    finally:
        search.close()


def test_a_process_that_fails_to_scout_says_so_once_and_goes_on_proposing(tmp_path: Path) -> None:
    search = proposals(tmp_path, SPEC | {"generator": "sobol"})
    try:
        assert search._process is not None
        search._process.kill()
        search.scout()
        while search.asked:
            search.wait(1.0)
            assert search.poll() is None
        told = f"nothing more is scouted: the generator's process ended (exit -9), see {tmp_path / 'generator.log'}"
        assert (search.complaint(), search.complaint()) == (told, None)
        assert search.scouted_out and not search.exhausted
        assert next_of(search).source == "sobol"
    finally:
        search.close()


# ``times``: how often it can be made; then it raises ``error``.
UNMADE = """
import sys
from pathlib import Path
from nas.generators import random
from profiles.errors import InputError, UnavailableError

MADE = Path(__file__).with_name("made")


def create(spec, seed):
    made = len(MADE.read_text()) if MADE.exists() else 0
    MADE.write_text("x" * (made + 1))
    if made >= {times}:
        raise {error}
    return random.create(spec, seed)


generator = sys.modules[__name__]
"""


def unmade(folder: Path, monkeypatch: pytest.MonkeyPatch, error: str, times: int = 0) -> Proposals:
    (folder / "unmade_generator.py").write_text(UNMADE.format(error=error, times=times))
    monkeypatch.syspath_prepend(folder)
    return proposals(folder, SPEC | {"generator": "unmade_generator:generator", "initial": 0})


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        ("InputError('search.options: given fats')", InputError, "search.options: given fats"),
        ("UnavailableError('needs numpyro')", UnavailableError, "needs numpyro"),
        (
            "RuntimeError('two\\nlines')",
            UnavailableError,
            "the generator unmade_generator:generator cannot be made: RuntimeError: two lines",
        ),
    ],
)
def test_a_generator_that_cannot_be_made_is_an_error_before_anything_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: str, kind: type[HwnasError], words: str
) -> None:
    search = unmade(tmp_path, monkeypatch, error)
    try:
        with pytest.raises(kind) as caught:
            search.warm()
    finally:
        search.close()
    assert str(caught.value) == words


def test_a_spec_that_the_process_refuses_is_bad_input(tmp_path: Path) -> None:
    search = proposals(tmp_path, SPEC | {"space": "no-such-space"})
    try:
        with pytest.raises(InputError, match="no-such-space"):
            search.warm()
    finally:
        search.close()


def test_a_generator_that_cannot_be_made_again_ends_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its process was started again after a crash in the middle of a search."""
    search = unmade(tmp_path, monkeypatch, "UnavailableError('needs numpyro')", times=1)
    try:
        search.warm()
        assert search._process is not None
        search._process.kill()
        sources = [next_of(search).source for _ in range(2)]
    finally:
        search.close()
    assert "failed: the generator's process ended" in sources[0]
    assert sources[1] == "random (unmade_generator:generator failed: needs numpyro)"


def test_a_generator_that_never_answers_is_given_up_after_three_times(tmp_path: Path) -> None:
    """Stopped from outside: it cannot answer."""
    import os
    import signal

    search = proposals(tmp_path, SPEC | {"generator": "sobol"}, timeout_s=0.3)
    try:
        sources = []
        for _ in range(4):
            if search._process is not None:
                os.kill(search._process.pid, signal.SIGSTOP)
            sources.append(next_of(search).source)
    finally:
        search.close()
    assert all("no answer within 0.3 s" in source for source in sources[:3])
    assert "stays off" in sources[2]
    assert sources[3].startswith("random")


def test_the_end_of_the_space_is_not_a_failure(tmp_path: Path) -> None:
    search = proposals(tmp_path, SMALL | {"generator": "sobol"})
    try:
        found = [next_of(search) for _ in range(7)]
    finally:
        search.close()
    assert [proposal is None for proposal in found] == [False] * 6 + [True]
    assert search.exhausted


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("raises", "failed: RuntimeError: out of ideas"),
        ("exits", "failed: the generator's process ended (exit 5), see "),
        ("hangs", "failed: no answer within 4 s"),
        ("invalid", "failed: choices: no: no such parameter"),
        ("none", "proposed nothing new"),
        ("again", "proposed nothing new"),
        ("prints", None),
    ],
)
def test_a_generator_of_ones_own_that_goes_wrong(
    how: str, words: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A random candidate takes its place and says why; the question after that is the generator's again."""
    from nas.study import parameters_of

    (tmp_path / "own_generator.py").write_text(faults.GENERATOR)
    (tmp_path / "how").write_text(f"good {how} good")
    monkeypatch.syspath_prepend(tmp_path)
    name = "own_generator:generator"
    parameters = parameters_of(SimpleNamespace(full_space="mlp"))  # type: ignore[arg-type]
    spec = SPEC | {"generator": name, "space": "mlp", "parameters": parameters, "initial": 0}
    found: list[Any] = []
    search = Proposals(
        spec,
        0,
        known=lambda: [{"config": proposal.choices, "status": "pending"} for proposal in found],
        timeout_s=4.0 if how == "hangs" else 60.0,
        log=tmp_path / "generator.log",
    )
    try:
        for _ in range(3):
            found.append(next_of(search))
    finally:
        search.close()
    assert [proposal.source for proposal in found[::2]] == [name, name]
    assert found[1].source.startswith("random (own_generator:generator " + words) if words else found[1].source == name
    assert len({json.dumps(proposal.choices) for proposal in found}) == 3


def test_what_a_generator_could_not_take_in_is_not_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Told while nothing is asked: the next question is answered without it, with the reason."""
    search = proposals(tmp_path, SPEC | {"generator": "sobol", "space": "mlp"})
    try:
        search.tell({"config": {"no": 1}, "status": "done"})
        search.wait(20.0)
        while search.poll() is None and search._broken is None:
            search.wait(1.0)
        with pytest.raises(HwnasError, match="no such parameter"):
            next_of(search)
    finally:
        search.close()


def test_a_process_that_does_not_read_holds_up_nobody(tmp_path: Path) -> None:
    """More results than a pipe takes, to a process that stands still."""
    search = proposals(tmp_path, SPEC | {"generator": "sobol"})
    config = {"width": 8, "kernel": "3x3", "rate": 0.01, "depth": 1}
    try:
        search.stop()
        for _ in range(5000):
            search.tell({"config": config, "values": {"acc": 0.5}})
        search.go_on()
        assert next_of(search).source == "sobol"
    finally:
        search.close()


def test_what_the_generator_is_told_of_trials() -> None:
    def trial(state: str, **metrics: float) -> Any:
        return SimpleNamespace(state=state, choices={"a": 1}, metrics=metrics, sems={"ms": 0.1}, hoped={"acc": 0.5})

    def told(one: Any) -> list[tuple[str, dict[str, float], dict[str, float]]]:
        return [(each["status"], each["values"], each["sems"]) for each in results_of([one], ["acc", "ms"])]

    assert told(trial("proposed")) == [("pending", {}, {})]
    measured = [("pending", {}, {}), ("scouted", {"ms": 3.0}, {"ms": 0.1})]
    assert told(trial("profiled", ms=3.0, params=7.0)) == told(trial("training", ms=3.0)) == measured
    assert told(trial("failed", ms=3.0)) == [("failed", {}, {}), measured[1]]
    assert told(trial("completed", ms=3.0, acc=0.9)) == [("done", {"ms": 3.0, "acc": 0.9}, {"ms": 0.1})]
    assert told(trial("early_stopped", ms=3.0)) == [("done", {"ms": 3.0, "acc": 0.5}, {"ms": 0.1})]
