"""The state of the search, and its front in words and a few figures."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.pages.words import label, plural, superlative, test_of, with_unit
from benchmarks.tables import duration
from nas import pareto
from nas.journal import Trial
from nas.results import Results


def state_of(results: Results) -> str:
    """In one sentence."""
    ended = sum(trial.ended for trial in results.trials)
    of = f" of {results.study.budget.trials}" if results.study.budget.trials else ""
    kinds = [event for event in results.events if event.kind in ("started", "resumed", "interrupted", "finished")]
    last = kinds[-1]
    if last.kind == "finished":
        return f"Finished: {last.data['reason']}."
    if last.kind == "interrupted":
        return f"Interrupted with {ended}{of} trials ended."
    return f"Not finished: {ended}{of} trials have ended."


def answer(results: Results) -> str | None:
    """The front in a sentence or two; ``None`` where there is none."""
    if not results.front:
        return None
    of = f"{len(results.front)} of {plural(len(results.trials), 'trial')}"
    if len(results.front) == 1:
        who = "Of the networks that keep the limits, one" if results.limits else "One network"
        text = f"{who} is better than all the others: trial {results.front[0]}."
    elif len(results.objectives) == 1:
        other = "other that keeps the limits" if results.limits else "other"
        text = f"{of} are equally good, and no {other} is better."
    else:
        text = f"{of} form the front; every other one that keeps the limits is beaten by one of them."
    if results.baseline is not None:
        text += f" {_against(results, results.baseline)}"
    return text


def facts(results: Results, spent: Mapping[str, float]) -> list[tuple[str, str, str]]:
    """Name, figure, and a word on it: what one wants to know at first sight."""
    found = []
    for objective in results.objectives:
        sign = 1 if objective.goal == "max" else -1
        best = max(results.front, key=lambda i: sign * results.figures(i)[objective.name], default=None)
        if best is not None:
            value = with_unit(objective.name, results.figures(best)[objective.name])
            found.append(
                (
                    f"{superlative(objective)} {label(objective.name)}",
                    value,
                    f"trial {best}{_tested(results, best, objective.name)}",
                )
            )
    states = [trial.state for trial in results.trials]
    counts = ", ".join(f"{states.count(state)} {state.replace('_', ' ')}" for state in dict.fromkeys(sorted(states)))
    found.append(("trials", str(len(states)), counts))
    if spent.get("wall_s"):
        found.append(("wall time", duration(spent["wall_s"]), ""))
    return found


def why_no_front(results: Results) -> str:
    states = {trial.state for trial in results.trials}
    if not states:
        return "There is no trial yet."
    if states <= {"failed"}:
        return "All trials failed; the reasons are below."
    if "completed" not in states:
        return "No trial has been trained."
    return "No trained trial keeps all limits."


def _tested(results: Results, index: int, metric: str) -> str:
    """ ", 99.12 % on the test set": the same score on data that the search has not seen, where there is one."""
    known = results.figures(index)
    split = test_of(metric)
    name = next((name for name in (split, f"{split}_shipped") if name in known), None)
    if not metric.startswith("val_") or name is None:
        return ""
    return f", {with_unit(metric, known[name])} on the test set"


def _against(results: Results, incumbent: Trial) -> str:
    others = [index for index in results.front if index != incumbent.index]
    old = incumbent.figures
    better = [i for i in others if pareto.front([old, results.figures(i)], results.objectives) == [1]]
    if not better:
        return f"Each of them is worse than the incumbent, trial {incumbent.index}, in something."
    verb = "is" if len(better) == 1 else "are"
    return f"{len(better)} of them {verb} better than the incumbent and worse in nothing."
