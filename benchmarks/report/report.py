"""``hwnas report``: one page that says what a search found, how, and how far it can be trusted.

What it shows comes from the run folder alone. How a page is made: ``benchmarks.pages.render``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.pages import render
from benchmarks.pages.plot import Point
from benchmarks.pages.words import label
from benchmarks.report import answer, conditions, figures, front, network, ship, tables
from benchmarks.report.beside import Beside, beside
from benchmarks.report.choose import choosing
from nas import ax_view
from nas.folder import TrialFolder
from nas.journal import Trial
from nas.lifeline import die_with_parent
from nas.quality import Fit
from nas.results import Results, account_of, read_results
from profiles import files
from profiles.records import Profile

NAME = "report.html"
_MOST_CURVES = 200  # lines in one figure of learning curves; beyond, those of the front and the latest


def write(run: Path, other: Path | None = None) -> Path:
    """Write ``report.html`` into the run folder, whole or not at all, and return its path; Ax's JSON beside it.

    At any time of a search: also before its first trial has ended, and while it runs. About 10 s, nearly all of it for
    Ax's import. ``other``: a run folder to stand beside it. Raises InputError where one is no run folder, or where they
    have no objective in common.
    """
    results = read_results(run)
    second = None if other is None else beside(results, read_results(other))
    path = run / NAME
    files.write_text(path, page(results, ax_view.write(results), second))
    return path


def page(results: Results, fits: Sequence[Fit], second: Beside | None = None) -> str:
    """The whole file. ``fits``: those of ``nas.quality``, so that a page can be made without fitting models again."""
    return render.page("report.html.j2", _content(results, fits) | {"beside": second}, ["choose.js"])


def _content(results: Results, fits: Sequence[Fit]) -> dict[str, Any]:
    """What the template names, section by section."""
    profiles, confirmed = read_profiles(results), read_confirmed(results)
    latest = {target: profiles.get(target, {}) | confirmed.get(target, {}) for target in results.study.targets}
    shipped = ship.ship(results, latest)
    spent = account_of(results)
    return {
        "study": results.study,
        "state": answer.state_of(results),
        "ship": shipped,
        "why_nothing": None if shipped else ship.why_nothing(results),
        "networks": network.networks(results, shipped.trial if shipped else None, confirmed),
        "answer": answer.answer(results),
        "facts": answer.facts(results, spent),
        "goals": tables.goals(results),
        "parameters": tables.parameters(results),
        "choosing": choosing(results),
        "trade_offs": front.trade_offs(results),
        "front": tables.front(results) if results.front else None,
        "no_front": None if results.front else answer.why_no_front(results),
        "unconfirmed": [t for t in results.trials if t.index in results.front and t.unconfirmed],
        "trials": tables.trials(results) if results.trials else None,
        "hypervolume": figures.hypervolume(results),
        "curves": figures.curves(read_curves(results)),
        "fallbacks": [event.data["reason"] for event in results.events if event.kind == "fell_back"],
        "fits": fits,
        "cross_validation": figures.cross_validation(fits),
        "sensitivities": tables.sensitivities(fits),
        "conditions": conditions.conditions(results, profiles),
        "clock": figures.clock(profiles),
        "unsuccessful": tables.unsuccessful(results),
        "account": conditions.account(spent),
        "label": label,
    }


def read_profiles(results: Results) -> dict[str, dict[int, Profile]]:
    """Target -> trial -> what was measured before its training; files that are absent or not whole are left out."""
    return _read(results, TrialFolder.profile)


def read_confirmed(results: Results) -> dict[str, dict[int, Profile]]:
    """Likewise what was measured when the front was confirmed; {} for the run of an hwnas that did not keep it."""
    return _read(results, TrialFolder.confirmed)


def _read(results: Results, place: Callable[[TrialFolder, str], Path]) -> dict[str, dict[int, Profile]]:
    found: dict[str, dict[int, Profile]] = {}
    for target in results.study.targets:
        for trial in results.trials:
            value = files.read_json(place(results.folder.trial(trial.index), target))
            if value is None:
                continue
            try:
                found.setdefault(target, {})[trial.index] = Profile.from_dict(value)
            except (KeyError, TypeError, ValueError, AttributeError):
                continue
    return found


def read_curves(results: Results) -> dict[str, dict[int, list[Point]]]:
    """Metric -> trial -> points: the objectives that were logged while training, and the training's loss."""
    from nas.training import curves

    with_curves = [
        trial for trial in results.trials if trial.state in ("training", "completed", "early_stopped", "failed")
    ]
    if len(with_curves) > _MOST_CURVES:
        latest = {trial.index for trial in with_curves[-_MOST_CURVES:]}
        with_curves = [trial for trial in with_curves if trial.index in latest or trial.index in results.front]
    by_trial = {trial.index: curves.read_curves(_job(results, trial) / "tb") for trial in with_curves}
    wanted = [objective.name for objective in results.objectives] + ["train_loss"]
    by_tag = {tag: {index: found[tag] for index, found in by_trial.items() if tag in found} for tag in wanted}
    return {tag: by_trial for tag, by_trial in by_tag.items() if by_trial}


def _job(results: Results, trial: Trial) -> Path:
    return results.folder.trial(trial.index).retry(trial.attempt)


def main() -> None:
    """``python -m benchmarks.report.report RUN``: what a search calls at its end, so that nothing here can harm it."""
    die_with_parent()
    print(write(Path(sys.argv[1])))


if __name__ == "__main__":
    main()
