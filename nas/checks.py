"""What a study, its data, its fleet and its folder must hold together, looked at before anything is started."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from devices.fleet import Fleet
from nas.data import Dataset
from nas.folder import RunFolder
from nas.generate import scouts, transfers
from nas.study import STATIC_METRICS, Study
from nas.study_file import read_study, same_search
from nas.training.score import NAMES
from profiles.errors import InputError
from profiles.records import METRICS
from profiles.registry import names


@contextmanager
def about(where: str) -> Iterator[None]:
    """Bad input that is found here came from that file."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{where}: {error}") from error


def metrics(study: Study, data: Dataset) -> None:
    """A script of one's own may write any name; what the default one writes is known."""
    known = [*(f"val_{name}" for name in NAMES[data.task]), "train_loss", *STATIC_METRICS]
    if study.train.script is not None or study.train.table is not None:
        return
    for key, named in (("objective", study.objective), ("constraint", study.constraint)):
        for position, one in enumerate(named):
            if one.target is None and one.metric not in known:
                accepted = (
                    f"{', '.join(known)}, one of {', '.join(METRICS)} with @target, or what a train.script writes"
                )
                raise InputError(f"{key}.{position}.metric: given {one.metric!r}; accepted: {accepted}")


def trainings(study: Study, fleet: Fleet) -> None:
    """Nothing else of ours runs on a machine while it is measured, and containers cannot be made to stand still."""
    here = [name for name in study.targets if fleet.is_here(fleet.target(name).device)]
    if study.train.scheduler == "local_docker" and here:
        accepted = f"with targets of other machines alone ({', '.join(here)} is this one's), or local_cwd"
        raise InputError(f"train.scheduler: given 'local_docker'; accepted: {accepted}")


def scouting(study: Study) -> None:
    """That something learns from what would be scouted."""
    search = study.search
    if not search.scouting:
        return
    if not scouts(search.generator):
        accepted = f"0 with the generator {search.generator}, which learns from trials alone"
    elif study.train.table is not None:
        accepted = "0 with train.table, since no training is saved"
    elif all(one.target is None for one in (*study.objective, *study.constraint)):
        accepted = "0 where no objective or limit is a metric of a target"
    else:
        return
    raise InputError(f"search.scouting: given {search.scouting}; accepted: {accepted}")


def transfer(study: Study) -> None:
    """That something makes use of it."""
    if study.search.transfer and not transfers(study.search.generator):
        accepted = f"none with the generator {study.search.generator}, which makes no use of other runs"
        raise InputError(f"search.transfer: given {', '.join(study.search.transfer)}; accepted: {accepted}")


def meters(study: Study, fleet: Fleet) -> None:
    for target, metric in study.metered.items():
        for device in fleet.boards(fleet.target(target).device):
            if device not in fleet.meters:
                raise InputError(
                    f"{metric}: the device {device} has no meter; give it one in the fleet file,"
                    f" [devices.{device}] meter = one of: {', '.join(names('devices.meters'))}"
                )


def folder(run: RunFolder, study: Study, resume: bool) -> None:
    if not run.study.exists():
        return
    before = read_study(run.study)
    if not resume:
        raise InputError(f"{run.path} holds the study {before.name}; go on with --resume, or choose another --out")
    changed = same_search(before, study)
    if changed:
        raise InputError(f"--resume: {run.study} differs in {', '.join(changed)}; only the budget may grow")
