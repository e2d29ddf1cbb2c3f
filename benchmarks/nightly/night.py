"""One night: every pair of a suite measured and judged against its baseline, in the stages of ``judgements``."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.nightly import judging, nights
from benchmarks.nightly.baselines import Baselines
from benchmarks.nightly.judgements import OUTPUT, STAGES, Judgement, Stage, due, exit_code, settled
from benchmarks.nightly.judging import Pair, Ready
from benchmarks.nightly.metrics import Effort, telling
from benchmarks.nightly.watched import Setting, on_devices
from devices import measure, onnxfile, reference
from devices.bundle import agent_digest
from devices.plan import Plan
from devices.scheduler import Outcome
from devices.session import OnEvent, Session
from profiles.comparisons import Comparison
from profiles.errors import HwnasError
from profiles.records import Profile, digest_of
from profiles.store import Store

LONGER = 2  # times the usual, where a first look left something open and where an alarm is confirmed
_SEEDS: dict[Stage, int] = {"first": 0, "longer": 1000, "confirm": 2000}


def watch(
    setting: Setting, *, max_undecided: float, seed: int = 0, on_event: OnEvent | None = None
) -> tuple[nights.Night, list[nights.Night]]:
    """This night, and all that have ended, oldest first. It goes on where an earlier run of it was stopped.

    Every verdict, duet and profile is in the store before ``on_event`` hears of it. It is told of "night", "stage",
    "judged" and "unprofiled" beside what the scheduler and the passes tell. Raises what the store raises.
    """
    start = time.monotonic()
    with Store(setting.store) as store:
        baselines = Baselines(store, setting.study, setting.folder)
        pairs = setting.pairs(baselines)
        with nights.night(store, setting.study, _plan(setting, pairs), setting.folder) as diary:
            tell = on_event or (lambda kind, data: None)
            tell("night", {"night": diary.night, "resumed": diary.resumed, "pairs": len(pairs)})
            under_way = _Night(setting=setting, pairs=pairs, diary=diary, baselines=baselines, seed=seed, tell=tell)
            try:
                for stage in STAGES:
                    under_way.do(stage)
            finally:
                for session in under_way.sessions.values():
                    session.close()
            judgements = settled(diary.found)
            code, reasons = exit_code(judgements, max_undecided)
            night = diary.end(judgements, code, reasons, diary.before_s + time.monotonic() - start)
        return night, nights.ended(store.events(setting.study))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Taken:
    """What one pair brought in one stage."""

    here: Ready
    judgements: list[Judgement]
    comparisons: list[Comparison]
    profile: Profile | None


@dataclass(slots=True, kw_only=True)
class _Night:
    setting: Setting
    pairs: Sequence[Pair]
    diary: nights.Diary
    baselines: Baselines
    seed: int
    tell: OnEvent
    sessions: dict[str, Session] = field(default_factory=dict)

    def do(self, stage: Stage) -> None:
        """What ``stage`` has to measure and an earlier run of this night has not."""
        left = [] if stage == "first" else due(self.diary.found, stage)
        wanted = {pair.key: (pair, self._open(stage, pair, left)) for pair in self.pairs}
        wanted = {key: one for key, one in wanted.items() if one[1] and (stage, *key) not in self.diary.done}
        self.tell("stage", {"stage": stage, "pairs": len(wanted)})

        def hear(kind: str, data: dict[str, Any]) -> None:
            if kind == "work":
                self.diary.judging(stage, data["key"], data["device"])
            self.tell(kind, data)

        work = [(pair, self._call(stage, pair, metrics)) for pair, metrics in wanted.values()]
        for outcome in on_devices(self.setting, work, sessions=self.sessions, on_event=hear):
            self._record(stage, *wanted[outcome.key], outcome)

    def _open(self, stage: Stage, pair: Pair, left: Iterable[tuple[str, str, str]]) -> list[str]:
        if stage == "first":
            return [OUTPUT, *self.setting.metrics(pair)]
        return [metric for model, target, metric in left if (model, target) == pair.key]

    def _call(self, stage: Stage, pair: Pair, metrics: Sequence[str]) -> Callable[[Session], _Taken]:
        """What is done with a session of the pair's device. The output comes first; where it is wrong, it is all."""

        def call(session: Session) -> _Taken:
            effort = Effort(
                budget_s=self.setting.suite.budget_s,
                factor=1 if stage == "first" else LONGER,
                whole=stage == "longer",
                seed=self.seed + _SEEDS[stage],
                meter=self.setting.fleet.meters.get(session.name),
            )
            here = judging.ready(session, pair)
            comparisons: list[Comparison] = []
            judgements = [judging.output(session, pair, here, effort)]  # each stage has inputs of its own
            if judgements[0].verdict != "same":
                return _Taken(here=here, judgements=judgements, comparisons=[], profile=None)
            for metric in metrics:
                if metric == OUTPUT:
                    continue
                floor = self.setting.suite.floors[metric]
                one, comparison = judging.judge(session, pair, here, metric, floor, effort)
                judgements.append(one)
                comparisons += [comparison] if comparison else []
            profile = self._profile(session, here, effort) if stage == "first" else None
            return _Taken(here=here, judgements=judgements, comparisons=comparisons, profile=profile)

        return call

    def _profile(self, session: Session, here: Ready, effort: Effort) -> Profile | None:
        """For the history of the model, which needs no baseline. Where it cannot be taken, the verdicts stand."""
        tell = telling(session)
        plan = Plan(meter=effort.meter if "energy_mj" in self.setting.suite.metrics else None, seed=effort.seed)
        try:
            known_ms = reference.reference_ms(session, here.target, self.diary.store)
            return measure.profile(session, here.job, here.target, reference_ms=known_ms, plan=plan, on_event=tell)
        except HwnasError as error:
            if session.closed:
                raise
            tell("unprofiled", {"model": here.job.name, "reason": str(error)})
            return None

    def _keep(self, pair: Pair, here: Ready) -> None:
        job = dataclasses.replace(here.job, name=pair.entry.name)
        self.baselines.keep(job, pair.name, here.target, here.base_device, pair.python, night=self.diary.night)

    def _record(self, stage: Stage, pair: Pair, metrics: Sequence[str], outcome: Outcome) -> None:
        """Into the store: what was measured, a first baseline, and last what was judged."""
        taken: _Taken | None = outcome.value
        if taken is None:
            judgements = [_lost(pair, metric, str(outcome.error)) for metric in metrics]
        else:
            judgements = taken.judgements
            for comparison in taken.comparisons:
                self.diary.store.add_comparison(comparison)
            if taken.profile is not None:
                self.diary.store.add_profile(taken.profile, study=self.setting.study)
            if stage == "first" and pair.kept is None and judgements[0].verdict == "same":
                try:
                    self._keep(pair, taken.here)
                except (HwnasError, OSError) as error:
                    judgements = _not_kept(pair, judgements, str(error))
        known = {"device": taken.here.device, "changed": list(taken.here.changed)} if taken else {}
        self.diary.judged(stage, pair.key, judgements, **known)
        self.tell("judged", {"stage": stage, "pair": pair.key, "judgements": judgements})


def _lost(pair: Pair, metric: str, reason: str) -> Judgement:
    return Judgement(model=pair.entry.name, target=pair.name, metric=metric, verdict="unjudged", reason=reason)


def _not_kept(pair: Pair, judgements: Sequence[Judgement], error: str) -> list[Judgement]:
    """What was compared with another environment stands; the output, without which nothing is kept, says why."""
    reason = f"it cannot be kept as a baseline: {error}"
    return [
        _lost(pair, one.metric, reason) if one.metric == OUTPUT or one.verdict == "new" else one for one in judgements
    ]


def _plan(setting: Setting, pairs: Sequence[Pair]) -> str:
    """A digest of what a night measures: with another file, option or baseline, it is another night.

    A baseline that a night kept, since there was none, counts as none: the night goes on after it has kept it.
    """
    files: Mapping[str, str | None] = {
        entry.name: None if entry.error else onnxfile.digest(entry.job.model) for entry in setting.entries
    }
    targets = {pair.name: pair.target.to_dict() for pair in pairs}
    chosen = [[*pair.key, kept.digest, kept.time] for pair in pairs if (kept := pair.kept) and kept.night is None]
    return digest_of([setting.suite.model_dump(), files, targets, setting.python, chosen, agent_digest()])
