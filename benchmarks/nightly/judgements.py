"""What a night says: one judgement for each metric of each model on each target, and what follows from all of them.

Three stages, each of which runs only what the one before left open:

    first      everything
    longer     what is undecided or could not be measured, or is worse by its own interval and not an alarm among so
               many: fresh, twice as long
    confirm    each alarm: fresh and twice as long again, in another order

An alarm is what is worse with a false discovery rate of at most 1 % over all that was sampled in the night, and worse
again when it is confirmed; it is reported with the figures that confirm it. What is worse once and not again is
undecided. Each stage has inputs of its own, and looks at the output too. Nothing here measures.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from profiles.discoveries import discoveries

Outcome = Literal["regressed", "improved", "same", "undecided", "unjudged", "new"]
Stage = Literal["first", "longer", "confirm"]
STAGES: tuple[Stage, ...] = ("first", "longer", "confirm")
OUTPUT, SIZE = "output", "model_size_mb"

Key = tuple[str, str, str]  # model, target, metric


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """One metric of one model on one target. ``base`` and ``other``: the baseline and tonight, in the metric's unit.

    ``ratio``: other / base, with ``interval`` the one that the verdict stands on; ``None`` where there is no ratio.
    ``p_value``: of "not worse"; ``None`` where nothing was sampled. ``reason``: why, where the figures do not say it.
    ``failed``: its measurement ended without a figure, and may not the next time. ``suspect``: worse, which was
    neither confirmed nor ruled out.
    """

    model: str
    target: str
    metric: str
    verdict: Outcome
    floor: float | None = None
    base: float | None = None
    other: float | None = None
    ratio: float | None = None
    interval: tuple[float, float] | None = None
    p_value: float | None = None
    confirmed: bool = False
    reason: str = ""
    failed: bool = False
    suspect: bool = False

    @property
    def key(self) -> Key:
        return self.model, self.target, self.metric

    @property
    def not_worse(self) -> bool:
        """Undecided between "same" and "improved" alone."""
        within = self.interval is not None and self.interval[1] <= 1 + (self.floor or 0.0)
        return self.verdict == "undecided" and within and not self.suspect

    @property
    def judged(self) -> bool:
        return self.verdict not in ("undecided", "unjudged") or self.not_worse

    @property
    def alarm(self) -> bool:
        return self.verdict == "regressed" and self.confirmed

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self) | {"interval": None if self.interval is None else list(self.interval)}

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Judgement:
        """Fields of a newer hwnas are passed over."""
        known = {field.name: value[field.name] for field in dataclasses.fields(cls) if field.name in value}
        interval = value["interval"]
        return cls(**{**known, "interval": None if interval is None else tuple(interval)})


Found = Mapping[Key, Mapping[Stage, Judgement]]  # what each stage has said so far


def due(found: Found, stage: Stage) -> list[Key]:
    """What ``stage``, "longer" or "confirm", has to measure, once the stages before it are complete."""
    if stage == "longer":
        firsts = {key: stages["first"] for key, stages in found.items()}
        alarms = _alarms(firsts)
        open_ = (key for key, one in firsts.items() if one.failed or (one.verdict == "undecided" and not one.not_worse))
        return [*open_, *(key for key, one in firsts.items() if one.verdict == "regressed" and key not in alarms)]
    alarms = _alarms(_before_confirming(found))
    return [key for key in found if key in alarms and key[2] != SIZE]


def settled(found: Found) -> list[Judgement]:
    """The judgements of the night, in the order of ``found``, once all stages are complete."""
    before = _before_confirming(found)
    alarms, many = _alarms(before), len(_sampled(before))
    final = []
    for key, one in before.items():
        if one.verdict == "regressed" and key not in alarms:
            reason = f"worse by itself, but not clearly enough among the {many} of this night"
            one = dataclasses.replace(one, verdict="undecided", reason=reason)
        elif one.verdict == "regressed":
            one = _confirmed(one, found[key].get("confirm"))
        elif key[2] == OUTPUT and (again := found[key].get("confirm")) and again.verdict == "regressed":
            reason = f"right with the inputs of the stages before, and not with those of the last one: {again.reason}"
            one = dataclasses.replace(again, verdict="undecided", suspect=True, reason=reason)
        final.append(one)
    return final


def counted(judgements: Iterable[Judgement]) -> list[Judgement]:
    """Without the outputs that are right: that says nothing of a model's cost."""
    return [one for one in judgements if not (one.metric == OUTPUT and one.verdict == "same")]


def exit_code(judgements: Sequence[Judgement], max_undecided: float) -> tuple[int, list[str]]:
    """1 for an alarm; else 3 where nothing of a model or a target could be judged, what was worse was neither confirmed
    nor ruled out, or more than ``max_undecided`` of the pairs of the two have something missing or undecided; else 0.

    Sizes of files say nothing of whether a model or a target could be measured. With the reasons for a 3, also where
    there is an alarm.
    """
    found = counted(judgements)
    reasons = []
    for what, names in (("model", [one.model for one in found]), ("target", [one.target for one in found])):
        for name in dict.fromkeys(names):
            own = [one for one, its in zip(found, names, strict=True) if its == name]
            if all(one.verdict == "unjudged" for one in [one for one in own if one.metric != SIZE] or own):
                reasons.append(f"{what} {name} got no judgement")
    reasons += [
        f"{one.model} on {one.target}: {one.metric} is worse, which was neither confirmed nor ruled out"
        for one in found
        if one.suspect
    ]
    pairs = {(one.model, one.target) for one in found}
    open_ = {(one.model, one.target) for one in found if not one.judged}
    if len(open_) > max_undecided * len(pairs) + 1e-9:  # 0.29 x 100 is less than 29
        allowed = f"more than {100 * max_undecided:g} %"
        reasons.append(f"{len(open_)} of {len(pairs)} pairs have a judgement missing or undecided, {allowed}")
    return (1 if any(one.alarm for one in judgements) else 3 if reasons else 0), reasons


def _before_confirming(found: Found) -> dict[Key, Judgement]:
    return {key: _of_both(stages["first"], stages.get("longer")) for key, stages in found.items()}


def _of_both(first: Judgement, longer: Judgement | None) -> Judgement:
    """The longer look stands in the place of the first, unless it brought nothing."""
    if longer is None or longer.verdict != "unjudged" or first.verdict == "unjudged":
        return longer or first
    why = f"{first.reason}; " if first.reason else ""
    return dataclasses.replace(
        first, reason=f"{why}measured again: {longer.reason}", suspect=first.verdict == "regressed"
    )


def _sampled(judgements: Mapping[Key, Judgement]) -> list[Key]:
    return [key for key, one in judgements.items() if one.p_value is not None]


def _alarms(judgements: Mapping[Key, Judgement]) -> set[Key]:
    """What is worse: of what was sampled, the discoveries; what is exact needs no statistics."""
    sampled = _sampled(judgements)
    chosen = discoveries([judgements[key].p_value or 0.0 for key in sampled])
    found = {key for key, alarm in zip(sampled, chosen, strict=True) if alarm}
    exact = {key for key, one in judgements.items() if one.p_value is None}
    return {key for key in found | exact if judgements[key].verdict == "regressed"}


def _confirmed(one: Judgement, again: Judgement | None) -> Judgement:
    if one.metric == SIZE:
        return dataclasses.replace(one, confirmed=True)
    if again is not None and again.verdict == "regressed":
        return dataclasses.replace(again, confirmed=True)  # not those that were chosen for being worse
    if again is None:
        return dataclasses.replace(one, verdict="undecided", reason="worse, and not measured again", suspect=True)
    said = f"{again.verdict}{'' if again.ratio is None else f', ratio {again.ratio:.4f}'}"
    why = f"; {again.reason}" if again.reason else ""
    first = f"; at first: {one.reason}" if one.reason else ""
    # An output that is wrong with some inputs alone is wrong; of a figure that was measured again, that counts.
    lost = one.metric == OUTPUT or (again.verdict == "unjudged" and again.ratio is None)
    reason = f"worse, but the confirming run said: {said}{why}{first}"
    return dataclasses.replace(one, verdict="undecided", reason=reason, suspect=lost)


def counts(judgements: Iterable[Judgement]) -> dict[str, int]:
    """Verdict -> how many, in the order of importance; those that do not occur are absent, as are right outputs. What
    is not worse counts as the same."""
    verdicts = ["same" if one.not_worse else one.verdict for one in counted(judgements)]
    order: tuple[Outcome, ...] = ("regressed", "undecided", "unjudged", "improved", "same", "new")
    return {answer: verdicts.count(answer) for answer in order if answer in verdicts}
