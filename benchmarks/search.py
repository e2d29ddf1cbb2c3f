"""``hwnas search``: a study from its file to a front on the terminal."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.front import as_json, print_front
from benchmarks.progress import shown
from benchmarks.tables import duration
from nas.folder import RunFolder
from nas.journal import Listener
from nas.own_process import run_module
from nas.study import Constraint, Study
from nas.study_file import load_study
from profiles.database import without_password
from profiles.errors import (
    HwnasError,
    InputError,
    Interrupted,
    MeasurementError,
    NothingFits,
    TrialError,
    UnavailableError,
)

_REPORT_S = 1200.0  # Ax, for its part of it, is given 600
_FAR = 1e300  # no figure lies beyond
_HERE: dict[str, Any] = {"scheduler": "local_cwd", "options": {}, "image": "", "storage": None}  # of `train`


def run(
    path: Path,
    overrides: Mapping[str, str],
    *,
    out: Path | None,
    resume: bool,
    dry_run: bool,
    report: bool,
    fleet: Path | None,
    store: str | None,
    json: bool,
) -> None:
    from devices.fleet import load_fleet

    study = load_study(path, overrides)
    devices = load_fleet(fleet)
    if dry_run:
        _dry_run(study, devices, out or Path("runs") / study.name, str(path))
        return
    if out is not None and out.is_file():
        raise InputError.of("--out", "folder", str(out), "a folder, or a path where there is nothing yet")
    folder = out or Path("runs") / study.name
    from nas.results import account_of
    from nas.run import run_study

    with shown(study) as listener:
        try:
            results = run_study(
                study, out=folder, fleet=devices, resume=resume, listener=listener, where=str(path), store=store
            )
        except UnavailableError as error:
            raise UnavailableError(f"{error}; mend that and go on with the same command and --resume") from error
        except (NothingFits, MeasurementError):
            _report(folder, listener, report, store)
            raise
        _report(folder, listener, report, store)
    if json:
        print(as_json(results))
    else:
        print_front(results)
    _print_account(account_of(results), folder)


def _report(folder: Path, listener: Listener, wanted: bool, store: str | None) -> None:
    """The page and Ax's JSON, by a process of their own: whatever happens there, the search has its answer."""
    if not wanted or not RunFolder(folder).begun:
        return
    listener("reporting", None, {})
    password = without_password(store)[1] if store else None
    try:
        secret = {"PGPASSWORD": password} if password else None
        run_module("benchmarks.report.report", folder, timeout_s=_REPORT_S, environment=secret)
    except UnavailableError as error:
        listener("unreported", None, {"reason": str(error)})
    except KeyboardInterrupt:
        listener("unreported", None, {"reason": f"interrupted; hwnas report {folder} writes it"})


def _dry_run(study: Study, devices: object, out: Path, where: str) -> None:
    """One tiny trial through every step, in a folder that is thrown away: does the study hold together?

    It is trained here, whatever the scheduler; what a cluster would be asked for is printed.
    """
    from nas.run import launcher_of, run_study

    launcher = launcher_of(study.train)
    if not launcher.local:
        launcher.check()
        trial = RunFolder(out).trial(0)
        print(launcher.request(trial.candidate, trial.job, study.train.script))
    trials = 1 if study.baseline is None else 2
    tiny = study.model_copy(
        update={
            "budget": study.budget.model_copy(update={"trials": trials, "parallel": 1, "failures": 0}),
            "train": study.train.model_copy(update={"epochs": 1, **_HERE}),
            "confirm": study.confirm.model_copy(update={"seeds": 0}),
            "constraint": [_unbreakable(one) for one in study.constraint],  # its target is measured all the same
            "objective": [o.model_copy(update={"threshold": None}) for o in study.objective],
        }
    )
    folder = Path(tempfile.mkdtemp(prefix="hwnas-dry-run-"))
    kept = False
    try:
        with shown(tiny) as listener:

            def told(kind: str, index: int | None, data: Mapping[str, Any]) -> None:
                # The limits that were lifted would be shown as what they were lifted to.
                listener(kind, index, {**data, "limits": []} if kind == "started" else data)

            results = run_study(tiny, out=folder / "run", fleet=devices, listener=told, where=where)  # type: ignore[arg-type]
        for one in results.trials:  # with a baseline that went through there is a front all the same
            if one.state != "completed":
                raise TrialError(f"trial {one.index}: {one.state}: {one.reason}; its files: {folder / 'run'}")
    except Interrupted:
        raise Interrupted("interrupted; a dry run keeps nothing") from None
    except HwnasError:
        kept = RunFolder(folder / "run").trial(0).path.exists()  # the logs tell more than the error
        raise
    finally:
        if not kept:
            shutil.rmtree(folder, ignore_errors=True)
    for metric, value in sorted(results.trials[-1].metrics.items()):
        print(f"{metric} = {value:.6g}")
    print(
        f"dry run of {study.name}: one trial{' and the baseline' if trials > 1 else ''} went through every step",
        file=sys.stderr,
    )


def _unbreakable(limit: Constraint) -> Constraint:
    far = {"max": None if limit.max is None else _FAR, "min": None if limit.min is None else -_FAR}
    return limit.model_copy(update=far)


def _print_account(account: Mapping[str, float], folder: Path) -> None:
    trials = max(1, account["trials"])
    lines = [
        f"{duration(account['wall_s'])} for {account['trials']:.0f} trials:"
        f" training {duration(account.get('training_s', 0))}, measuring {duration(account.get('measuring_s', 0))},"
        f" neither {account['idle_s'] / trials:.1f} s a trial",
        f"{account['gated']:.0f} gated before training, which saved about {duration(account['training_saved_s'])};"
        f" jobs stood still for {duration(account['jobs_stopped_s'])}",
    ]
    if account["early_stopped"]:
        lines.append(
            f"{account['early_stopped']:.0f} stopped early, which saved {account['steps_saved']:.0f} of their"
            f" {account['steps_of_stopped']:.0f} epochs, about {duration(account['stopping_saved_s'])}"
        )
    if account["earlier"]:
        lines.append(
            f"{account['earlier']:.0f} trained before, in other runs or precisions, which saved about"
            f" {duration(account['earlier_saved_s'])}"
        )
    lines.append(f"files in {folder}: {', '.join(name for name in _FILES if (folder / name).exists())}")
    print("\n".join(lines), file=sys.stderr)


_FILES = ("report.html", "trials.csv", "pareto.csv", "front", "ax_experiment.json")
