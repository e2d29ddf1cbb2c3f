"""The tables of the report: what goes into which cell. How a cell is drawn is the template's business."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmarks.pages.cells import Cell, Table, code, number, text
from benchmarks.pages.words import compared, label, plural, test_of, tests_of, titled, told, with_unit
from nas.journal import Trial
from nas.quality import Fit, modelled
from nas.results import Results


def goals(results: Results) -> Table:
    rows = []
    for o in results.objectives:
        reference = "-" if results.reference is None else with_unit(o.name, results.reference[o.name])
        wish = {"max": "as high as possible", "min": "as low as possible"}[o.goal]
        rows.append([code(o.name), text(label(o.name)), text(wish), number(reference)])
    for limit in results.limits:
        sign = "at most" if limit.op == "<=" else "at least"
        given = next((c.bound for c in results.study.constraint if (c.metric, c.op) == (limit.name, limit.op)), None)
        multiple = f" ({given.removesuffix('x')} times the calibration model)" if isinstance(given, str) else ""
        bound = f"{sign} {with_unit(limit.name, limit.bound)}{multiple}"
        rows.append([code(limit.name), text(label(limit.name)), text(bound), number("")])
    return Table(caption="Objectives and limits", heads=["metric", "meaning", "wanted", "reference point"], rows=rows)


def parameters(results: Results) -> Table:
    rows = []
    for parameter in results.parameters:
        if "values" in parameter:
            values, kind = (
                ", ".join(map(str, parameter["values"])),
                "in this order" if parameter["ordered"] else "in no order",
            )
        else:
            values = f"{parameter['low']:g} to {parameter['high']:g}"
            kind = " ".join(
                (["logarithmic"] if parameter["log"] else []) + (["whole numbers"] if parameter["integer"] else [])
            )
        rows.append([code(parameter["name"]), text(values), text(kind or "numbers")])
    return Table(
        caption=f"The space {results.study.space}: {_size(results)}", heads=["choice", "values", "taken as"], rows=rows
    )


def best_first(results: Results) -> list[int]:
    """The front, best in the first objective first."""
    first = results.objectives[0]
    return sorted(results.front, key=lambda i: results.figures(i)[first.name], reverse=first.goal == "max")


def front(results: Results) -> Table:
    """Best in the first objective first; the incumbent last, where it is not on the front itself."""
    order = best_first(results)
    trials = {trial.index: trial for trial in results.trials}
    incumbent = results.baseline
    named = [o.name for o in results.objectives] + [limit.name for limit in results.limits]
    tests = _tests(results, named)
    named += [name for name in ("params", "model_size_mb") if any(name in trials[i].metrics for i in order)]
    metrics = list(dict.fromkeys(named))
    choices = [parameter["name"] for parameter in results.parameters]
    last = [incumbent.index] if incumbent is not None and incumbent.index not in order else []
    rows = [_member(results, trials[index], metrics, tests, incumbent, choices) for index in order + last]
    heads = [
        "trial",
        "file",
        *(titled(name) for name in metrics[:1]),
        *tests.values(),
        *(titled(name) for name in metrics[1:]),
    ]
    heads += (["against the incumbent"] if incumbent is not None else []) + choices
    count = f"{len(order)} of {len(results.trials)} trials"
    caption = f"The front: {count}. ± is one standard error, for other seeds one standard deviation"
    return Table(caption=caption, heads=heads, rows=rows, sortable=True, of_trials=True)


def trials(results: Results) -> Table:
    metrics = modelled(results)
    choices = [parameter["name"] for parameter in results.parameters]
    rows = []
    for trial in results.trials:
        figures = [number(told(name, trial.metrics.get(name), trial.sems.get(name))) for name in metrics]
        chosen = [number(_choice(trial.choices.get(name))) for name in choices]
        state = "on the front" if trial.index in results.front else trial.state
        rows.append([number(trial.index), text(state), text(trial.source), *figures, *chosen])
    heads = ["trial", "state", "proposed by", *map(titled, metrics), *choices]
    caption = f"All {len(rows)} trials, as the search saw them"
    return Table(caption=caption, heads=heads, rows=rows, sortable=True, of_trials=True)


def unsuccessful(results: Results) -> Table | None:
    states = {"failed": "failed", "gated": "gated: not trained", "early_stopped": "stopped early"}
    found = [trial for trial in results.trials if trial.state in states]
    if not found:
        return None
    rows = [[number(t.index), text(states[t.state]), text(t.reason or "no reason given")] for t in found]
    failed, gated, stopped = (sum(trial.state == state for trial in found) for state in states)
    caption = f"{failed} failed, {gated} gated: measured, found over a hard limit, and so not trained"
    caption += f"; {stopped} stopped early: dominated even at their best" if stopped else ""
    return Table(caption=caption, heads=["trial", "what became of it", "reason"], rows=rows, sortable=True)


def sensitivities(fits: Sequence[Fit]) -> Table | None:
    """Rows: choices; the one that matters most in any metric first."""
    known = [(fit, fit.sensitivity) for fit in fits if fit.sensitivity]
    if not known:
        return None
    choices = sorted(
        {key: None for _, shares in known for key in shares}, key=lambda c: -max(s.get(c, 0) for _, s in known)
    )
    rows = [
        [
            code(choice),
            *(Cell(text=f"{100 * s.get(choice, 0):.0f} %", share=s.get(choice, 0), number=True) for _, s in known),
        ]
        for choice in choices
    ]
    caption = "Share of each metric's variance over the space that goes with a choice, alone and together with others"
    return Table(caption=caption, heads=["choice", *(label(fit.metric) for fit, _ in known)], rows=rows)


def _member(
    results: Results,
    trial: Trial,
    metrics: Sequence[str],
    tests: Mapping[str, str],
    incumbent: Trial | None,
    choices: Sequence[str],
) -> list[Cell]:
    figures, sems = trial.figures, trial.sems | trial.confirmed_sems
    path = results.onnx(trial.index)
    file = Cell(text="ONNX", href=f"front/{path.name}") if path.is_file() else text("-")
    cells = [number(told(name, figures.get(name), sems.get(name))) for name in metrics]
    scores = [number(told(name, figures.get(name), figures.get(f"{name}_sd"))) for name in tests]
    row = [number(trial.index), file, *cells[:1], *scores, *cells[1:]]
    if incumbent is not None:
        parts = compared(incumbent.figures, figures, results.objectives)
        row.append(Cell(text="the incumbent itself" if trial is incumbent else ", ".join(parts), whole=True))
    return row + [number(_choice(trial.choices.get(name))) for name in choices]


def _choice(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _tests(results: Results, metrics: Sequence[str]) -> dict[str, str]:
    """Metrics of the test split that some member of the front has -> heading."""
    known = {name for index in results.front for name in results.figures(index)}
    heads: dict[str, str] = {}
    for name in metrics:
        words = ("this file", "other seeds")
        heads |= {test: f"{titled(test_of(name))}: {which}" for test, which in zip(tests_of(name), words, strict=False)}
    return {name: head for name, head in heads.items() if name in known}


def _size(results: Results) -> str:
    described = results.parameters
    if not all("values" in parameter for parameter in described):
        return plural(len(described), "choice")
    combinations = 1
    for parameter in described:
        combinations *= len(parameter["values"])
    return f"{plural(len(described), 'choice')}, {told('params', float(combinations))} combinations"
