"""The devices of a study, as the search sees them: profile this file, compute its outputs."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from devices import everywhere, extras, measure, metering, onnxfile, reference, scheduler
from devices.artifact import prepare
from devices.convert import Samples
from devices.engines import PROGRAM
from devices.fleet import Fleet
from devices.lines import Work
from devices.plan import Job, Plan
from devices.scheduler import Outcome, Policy
from devices.session import OnEvent, Session, connect
from nas.export import INPUT, OUTPUT
from profiles.errors import HwnasError, UnavailableError
from profiles.records import Profile, Target
from profiles.store import Store

_T = TypeVar("_T")
# A device that is not there at the start is a mistake; one that goes away later may come back.
_AT_ONCE = Policy(patience_s=0.5, first_pause_s=0.5)
_LATER = Policy(patience_s=60.0)


class Bench:
    """All targets of a study; those on different devices at once. Close it, or use it as a context manager.

    Every profile is also added to ``store``, which holds the calibration references too. A target on a pool is served
    by whichever of its boards is free, or, where the fleet file says ``boards = "worst"``, by all of them.
    """

    def __init__(
        self,
        fleet: Fleet,
        targets: Mapping[str, Target],
        store: Store,
        study: str,
        on_event: OnEvent | None = None,
        *,
        metered: Collection[str] = (),
        calibration: Samples | None = None,
        tails: bool = False,
    ) -> None:
        """``metered``: the targets on which energy is measured; not on all, since some meters need minutes.
        ``calibration``: what int8 files are calibrated with, see ``devices.convert``. ``tails``: enough times for a
        90th percentile, also of models that take long.
        """
        self.targets = dict(targets)
        self._fleet = fleet
        self._store = store
        self._study = study
        self._on_event = on_event
        self._metered = metered
        self._calibration = calibration
        self._plan = Plan(hurried=not tails)
        self._sessions: dict[str, Session] = {}
        self._scratch = tempfile.TemporaryDirectory(prefix="hwnas-")

    def __enter__(self) -> Bench:
        return self

    def __exit__(self, *_: object) -> None:
        for session in self._sessions.values():
            session.close()
        self._scratch.cleanup()

    def described(self) -> dict[str, Any]:
        """Target name -> its settings, the fingerprint of its device and its meter; tells runs on unlike devices apart.

        Of a pool it is the first board, the same one whenever a search is resumed. Raises UnavailableError where that
        cannot be reached now, and UnavailableError or MeasurementError where a meter gives nothing.
        """
        found = self._run(list(self.targets), self._described, _AT_ONCE, first=True)
        return {name: target.to_dict() | found[name][0] for name, target in self.targets.items()}

    def _described(self, session: Session, target: Target) -> dict[str, Any]:
        described: dict[str, Any] = {"fingerprint": session.fingerprint(target)}
        if (table := self._meter(target)) is not None:
            meter = metering.probe(session, table)
            described["meter"] = {"name": meter["meter"], "flags": meter["flags"]}
        return described

    def _meter(self, target: Target) -> dict[str, Any] | None:
        """Of the board that ``target.device`` is by now."""
        return self._fleet.meters[target.device] if target.name in self._metered else None

    def connect(self) -> None:
        """Raises UnavailableError where a device cannot be reached now. Those that are connected are not asked."""
        self._run(list(self.targets), lambda session, target: None, _AT_ONCE)

    def reference_ms(self, name: str) -> float:
        """The calibration model's usual time on a target, measured now where the store does not know it yet."""
        return self._run([name], self._reference_ms)[name][0]

    def takes_programs(self) -> bool:
        """Whether an engine of some target runs torch programs: then there must be one beside each ONNX file."""
        formats = self._run(list(self.targets), lambda session, target: session.model_format(target))
        return any(PROGRAM in found for found in formats.values())

    def artifact(self, onnx: Path, name: str, precision: str | None = None) -> Path:
        """The file that a target runs for ``onnx``; ``precision`` in place of the target's."""
        job = _job(onnx, onnx.stem, precision)
        return self._run([name], lambda session, target: self._prepared(session, job, target))[name][0].model

    def profile(
        self,
        onnx: Path,
        names: Sequence[str],
        model: str,
        right: tuple[npt.NDArray[Any], npt.NDArray[Any]] | None,
        precision: str | None = None,
    ) -> dict[str, Profile]:
        """One candidate on the targets ``names``, its output compared first.

        ``right``: inputs and the outputs that belong to them; ``None``: its own, on one CPU thread as fp32 without
        optimisations. Raises what ``devices.artifact.prepare`` and ``devices.measure.profile`` raise.
        """
        jobs = {}
        for name in names:
            expectation = None
            if right is not None:
                expectation = Path(self._scratch.name) / f"reference-{name}.npz"
                x, expected = (array[: self.targets[name].batch] for array in right)
                measure.write_reference(expectation, {INPUT: x}, {OUTPUT: expected})
            jobs[name] = [dataclasses.replace(_job(onnx, model, precision), reference=expectation)]
        found = self._measured(jobs, self._plan)
        for (result,) in found.values():
            if isinstance(result, HwnasError):
                raise result
        return {name: result for name, (result,) in found.items() if isinstance(result, Profile)}

    def interleaved(
        self,
        onnx: Sequence[Path],
        name: str,
        models: Sequence[str],
        processes: int,
        precisions: Sequence[str | None] | None = None,
    ) -> list[Profile | HwnasError]:
        """Several files, their processes in random order; the error of one that cannot be measured in its place.

        Each with the time of its ``operators``, from a pass of its own, or why there is none.
        """
        rows = zip(onnx, models, precisions or [None] * len(onnx), strict=True)
        jobs = [_job(path, model, precision) for path, model, precision in rows]
        return self._measured({name: jobs}, dataclasses.replace(self._plan, processes=processes), operators=True)[name]

    def outputs(self, onnx: Path, name: str, x: npt.NDArray[Any], precision: str | None = None) -> npt.NDArray[Any]:
        """What the target answers to ``x`` (n, *input_shape): its first output (n, ...)."""
        inputs = Path(self._scratch.name) / "inputs.npy"
        np.save(inputs, x, allow_pickle=False)
        job = _job(onnx, onnx.stem, precision)

        def compute(session: Session, target: Target) -> npt.NDArray[Any]:
            outputs = Path(self._scratch.name) / f"outputs-{session.name}.npy"
            target = dataclasses.replace(target, precision=precision or target.precision)
            measure.compute_outputs(session, self._prepared(session, job, target).model, target, inputs, outputs)
            answers: npt.NDArray[Any] = np.load(outputs, allow_pickle=False)
            return answers

        return self._run([name], compute)[name][0]

    def digest(self, onnx: Path) -> str:
        return onnxfile.digest(onnx)

    def _prepared(self, session: Session, job: Job, target: Target) -> Job:
        return prepare(session, job, target, self._calibration)

    def _reference_ms(self, session: Session, target: Target) -> float:
        return reference.reference_ms(session, target, self._store)

    def _measured(
        self, jobs: Mapping[str, Sequence[Job]], plan: Plan, *, operators: bool = False
    ) -> dict[str, list[Profile | HwnasError]]:
        """Target -> one profile or error for each of its jobs; of several boards the worst, or the first error."""

        def measured(session: Session, target: Target) -> list[Profile | HwnasError]:
            reference_ms = self._reference_ms(session, target)
            here = [self._prepared(session, job, target) for job in jobs[target.name]]
            metered = dataclasses.replace(plan, meter=self._meter(target))
            results = measure.profile_all(session, here, target, reference_ms=reference_ms, plan=metered)
            return _with_operators(session, here, results) if operators else results

        chosen: dict[str, list[Profile | HwnasError]] = {}
        for name, boards in self._run(list(jobs), measured).items():
            chosen[name] = []
            for results in zip(*boards, strict=True):
                profiles = [result for result in results if isinstance(result, Profile)]
                for profile in profiles:
                    self._store.add_profile(profile, study=self._study)
                errors = [result for result in results if isinstance(result, HwnasError)]
                chosen[name].append(errors[0] if errors else everywhere.worst(profiles))
        return chosen

    def _run(
        self,
        names: Sequence[str],
        call: Callable[[Session, Target], _T],
        policy: Policy = _LATER,
        *,
        first: bool = False,
    ) -> dict[str, list[_T]]:
        """Target -> what ``call`` returns there: one value, or one from each board. Raises the first error.

        ``first``: where any board of a pool would do, none but its first.
        """
        works = []
        for name in names:
            target = self.targets[name]
            boards = self._fleet.boards(target.device)
            any_of = boards[:1] if first else boards
            for group in [(board,) for board in boards] if name in self._fleet.worst else [any_of]:
                works.append(Work(key=(name, group), boards=group, call=_on_board(call, target)))
        running = scheduler.run(works, self._connect, policy=policy, on_event=self._on_event, sessions=self._sessions)
        found: dict[Any, Outcome] = {}
        try:
            for outcome in running:
                if outcome.error is not None:
                    raise outcome.error
                found[outcome.key] = outcome
        finally:
            running.close()
        return {name: [found[work.key].value for work in works if work.key[0] == name] for name in names}

    def _connect(self, board: str, on_event: OnEvent) -> Session:
        return connect(self._fleet.devices[board], board, on_event)


def _job(onnx: Path, model: str, precision: str | None) -> Job:
    program = onnx.with_suffix(PROGRAM)
    return Job(model=onnx, name=model, precision=precision, program=program if program.exists() else None)


def _with_operators(
    session: Session, jobs: Sequence[Job], results: Sequence[Profile | HwnasError]
) -> list[Profile | HwnasError]:
    """The other figures stand, whatever becomes of this pass. An engine that cannot say is asked once."""
    found: list[Profile | HwnasError] = []
    unable: UnavailableError | None = None
    for job, one in zip(jobs, results, strict=True):
        if isinstance(one, HwnasError):
            found.append(one)
            continue
        try:
            if unable is not None:
                raise unable
            timed = dataclasses.replace(one, operators=extras.operators(session, job, one.target))
        except HwnasError as error:
            unable = error if isinstance(error, UnavailableError) else None
            timed = dataclasses.replace(one, missing=one.missing | {"operators": str(error)})
        found.append(dataclasses.replace(timed, **extras.fallback_time(timed)))
    return found


def _on_board(call: Callable[[Session, Target], _T], target: Target) -> Callable[[Session], _T]:
    return lambda session: call(session, dataclasses.replace(target, device=session.name))
