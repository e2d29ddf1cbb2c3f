"""One run of a study, from a checked TOML file to a front: set up, search, confirm, write the results."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from devices.fleet import Fleet
from devices.session import OnEvent
from nas import checks, run_store
from nas.account import Account
from nas.baseline import check_file
from nas.begin import begin, seed_offset, spec_of
from nas.bench import Bench
from nas.closing import finish, folder_of, interrupt, my_turn
from nas.confirm import confirm
from nas.data import load
from nas.earlier import digest_of_data, digest_of_space
from nas.export import INPUT
from nas.folder import RunFolder, as_it_was, locked
from nas.gpu_share import for_training
from nas.jobs import Jobs
from nas.journal import Journal, Listener, TakenOver
from nas.launcher import Launcher
from nas.plan import Plan
from nas.precision import calibration_rows
from nas.presence import Presence, own_name
from nas.proposals import Proposals
from nas.proposals import results_of as told
from nas.results import Results, plan_of, results_of
from nas.scouting import scouts_in
from nas.search import Search
from nas.spaces import find_space
from nas.steps import Candidates
from nas.study import Study, Train
from nas.study_file import require_files, write_study
from nas.training.table import read_table
from nas.transfer import keep, transferred
from profiles.errors import Interrupted, MeasurementError, NothingFits, UnavailableError


def run_study(
    study: Study,
    *,
    out: Path,
    fleet: Fleet,
    resume: bool = False,
    listener: Listener | None = None,
    where: str | None = None,
    store: str | None = None,
) -> Results:
    """Search, confirm and write the run folder ``out``; what happens on the way goes to ``listener``.

    ``where``: the study's file, for messages. ``store``: a URL or a file that takes the place of ``study.db``; on a
    database server several controllers may work on one folder, see docs/cluster.md.

    Raises InputError before anything is started, or before any trial where the generator does not take the study;
    Interrupted on Ctrl-C or SIGTERM, after local jobs were ended; UnavailableError where a device, the store or what
    the generator needs is gone or the disk is full; NothingFits where trials were measured and none fits,
    MeasurementError where there is no figure at all. In all but the first case the folder holds what was found, and the
    search can be resumed.
    """
    folder = RunFolder(out)
    with checks.about(where or f"study {study.name}"):
        require_files(study)
        data = load(study.data.name, **study.data.options)
        checks.metrics(study, data)
        checks.meters(study, fleet)
        checks.trainings(study, fleet)
        checks.scouting(study)
        checks.transfer(study)
        targets = {name: fleet.target(name) for name in study.targets}
        launcher = launcher_of(study.train)
        launcher.check()
        space = find_space(study.full_space)
        table = read_table(Path(study.train.table), space, study.trained_metrics) if study.train.table else None
        if study.baseline is not None and study.baseline.onnx is not None and not folder.trial(0).trained.exists():
            check_file(Path(study.baseline.onnx), study, data, targets.values())
    shared = run_store.served(folder, store) and not _measured_here(study, fleet)
    with ExitStack() as stack:
        stack.enter_context(_terminable())
        stack.enter_context(locked(out, shared=shared))
        checks.folder(folder, study, resume)
        with checks.about(where or f"study {study.name}"):
            content = (digest_of_data(data), digest_of_space(space)) if table is None else None
            found_elsewhere = transferred(study, folder, content)  # read now: a run that cannot be used is bad input
        stack.enter_context(as_it_was(folder))
        kept, name = run_store.open_store(folder, study.name, store, _sayer(listener))
        stack.enter_context(kept)
        keep(found_elsewhere, folder)
        write_study(study, folder.study)
        me = own_name() if shared else None
        presence = stack.enter_context(Presence(kept, name, me)) if me is not None else None
        journal = Journal(kept, name, listener, me)
        account = Account()
        try:
            bench = Bench(
                fleet,
                targets,
                kept,
                name,
                _teller(journal),
                metered=study.metered,
                calibration={INPUT: calibration_rows(data.x_train)},
                tails=study.tails,
            )
            stack.enter_context(bench)
            candidates = Candidates(study, space, data, bench, table, content)
            gpus = for_training(fleet, targets.values())
            reason = _search(study, folder, candidates, launcher, journal, presence, account, gpus)
            results = results_of(study, folder, journal.events)
        except KeyboardInterrupt:
            kept.give_up()
            interrupt(study, folder, journal)
            ended = sum(trial.ended for trial in journal.trials.values())
            raise Interrupted(
                f"interrupted with {ended} trials done; go on with the same command and --resume"
            ) from None
        except OSError as error:
            place = f"{error.filename}: " if error.filename else ""
            raise UnavailableError(f"{place}{error.strerror or error}") from error
        finally:
            with suppress(UnavailableError):  # a full disk: it is no loss beside what was said of it
                journal.append("account", None, **account.summary())
        if not results.front:
            raise _nothing(results, reason)
        return results_of(study, folder, journal.events)


def launcher_of(train: Train) -> Launcher:
    """The jobs' scheduler, and what each of them asks of it."""
    resources = {"cpu": train.cpus, "gpu": train.gpus, "memory_mb": train.memory_mb, "threads": train.cpus}
    inside = {"image": train.image, "mounts": train.mounts}
    return Launcher(train.scheduler, train.options, train.storage, **resources, **inside)


def _measured_here(study: Study, fleet: Fleet) -> bool:
    """Whether this very machine is measured: another controller's work would not stand still for it, and on another
    machine that target would be another device.
    """
    return any(fleet.is_here(fleet.target(name).device) for name in study.targets)


def _sayer(listener: Listener | None) -> Callable[[str], object] | None:
    """Tells that the store is waited for."""
    return None if listener is None else lambda reason: listener("device", None, {"reason": reason})


def _teller(journal: Journal) -> OnEvent:
    """Tells of devices that keep the search waiting."""

    def hear(kind: str, data: dict[str, Any]) -> None:
        if kind == "waiting":
            journal.notify("device", reason=f"device {data['device']}: {data['message']}")
        elif kind == "board" and data["state"] == "away":
            journal.notify("device", reason=f"{data['reason']}; asking again")

    return hear


def _search(
    study: Study,
    folder: RunFolder,
    candidates: Candidates,
    launcher: Launcher,
    journal: Journal,
    presence: Presence | None,
    account: Account,
    gpus: list[str] | None,
) -> str:
    """Why it ended: searched, confirmed, and the results written, by this controller or another one."""
    with account.span("measuring"):
        begin(study, folder, candidates.bench, journal, candidates.content[0] if candidates.content else None)
    objectives, limits = plan_of(study, journal.last("started"))
    plan = Plan(study=study, folder=folder, objectives=objectives, limits=limits)
    budget, train = study.budget, study.train
    jobs = Jobs(
        launcher,
        parallel=budget.parallel,
        timeout_s=train.timeout_s,
        script=train.script,
        account=account,
        gpus=gpus,
        tell=lambda line: journal.notify("cluster", reason=line),
    )
    proposals = Proposals(
        spec_of(study, plan, candidates.data),
        study.seed + (seed_offset(journal, presence) if presence is not None else 0),
        known=lambda: [
            *told([trial for trial in journal.trials.values() if trial.of_space], plan.modelled),
            *(scout.as_told(plan.modelled) for scout in scouts_in(journal).values() if scout.metrics),
        ],
        timeout_s=study.search.ask_timeout_s,
        log=folder.path / "generator.log",
    )
    try:
        search = Search(
            plan,
            candidates=candidates,
            journal=journal,
            jobs=jobs,
            proposals=proposals,
            account=account,
            presence=presence,
        )
        reason = search.run()
        proposals.close()
        while presence is None or my_turn(journal, presence):
            found = results_of(study, folder, journal.events)
            # With the incumbent, so that what it is compared with was measured side by side with it.
            incumbent = found.baseline.index if found.baseline is not None else None
            with suppress(TakenOver):  # by another controller, for which this one was gone
                confirm(
                    [trial for trial in found.trials if trial.index in (*found.front, incumbent)],
                    folder=folder,
                    candidates=candidates,
                    journal=journal,
                    jobs=jobs,
                    account=account,
                    closing=folder_of(journal) if jobs.local else 0,
                )
                finish(study, folder, journal, reason)
                break
    finally:
        proposals.close()
        jobs.cancel_all()
    return reason


def _nothing(results: Results, reason: str) -> Exception:
    states = [trial.state for trial in results.trials]
    counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states)) or "no trials"
    last = next((trial.reason for trial in reversed(results.trials) if trial.reason), None)
    text = f"{results.folder.path}: no candidate fits: {counts}; {reason}"
    if last and last not in text:
        text += f"; the last one: {last}"
    measured = any(trial.ended and trial.state != "failed" for trial in results.trials)
    return NothingFits(text) if measured else MeasurementError(text)


@contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM ends a search as Ctrl-C does. Outside the main thread signals are left alone."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    try:
        before = signal.signal(signal.SIGTERM, interrupt)
    except ValueError:
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
