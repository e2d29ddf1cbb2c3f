"""A night as Markdown for a pull request, as JUnit XML for a CI server, and as JSON (docs/schema/nightly.json)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any
from xml.etree import ElementTree

from benchmarks.nightly import words
from benchmarks.nightly.judgements import Judgement, counted, counts
from benchmarks.nightly.nights import Night
from benchmarks.pages.words import label
from benchmarks.tables import duration
from profiles.records import SCHEMA

_STATES = {0: "no regression", 1: "regression", 3: "incomplete"}


def to_json(suite: str, night: Night) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "suite": suite,
        "night": night.name,
        "time": night.time,
        "seconds": night.seconds,
        "exit_code": night.code,
        "reasons": list(night.reasons),
        "counts": counts(night.judgements),
        "devices": night.devices,
        "judgements": [
            one.to_dict() | {"environment_changes": list(night.changed.get((one.model, one.target), ()))}
            for one in night.judgements
        ],
    }


def markdown(suite: str, night: Night) -> str:
    """What is worse first, then what got no judgement, then what is better; the rest, folded away, at the end."""
    alarms = [one for one in night.judgements if one.alarm]
    open_ = [one for one in night.judgements if not one.judged]
    better = [one for one in night.judgements if one.verdict == "improved"]
    new = dict.fromkeys(one.model for one in night.judgements if one.verdict == "new")
    lines = [
        f"## hwnas nightly, suite {_text(suite)}: {_STATES.get(night.code, 'ended')}",
        "",
        f"{words.summary(night.judgements)}. Night `{night.name}`, {duration(night.seconds)}.",
    ]
    lines += [line for reason in night.reasons for line in ("", f"**{_text(reason)}.**")]
    lines += ["", f"No baseline yet: tonight's is kept for {', '.join(map(_text, new))}."] if new else []
    for title, found in (("Regressions", alarms), ("No judgement", open_), ("Improvements", better)):
        lines += ["", f"### {title}", "", *_rows(found)] if found else []
    lines += _environments(night)
    lines += ["", f"<details><summary>All {len(night.judgements)} judgements</summary>", "", *_rows(night.judgements)]
    lines += ["", "</details>", ""]
    lines += ["An interval is the one that its verdict stands on; a change up to the floor counts as the same."]
    return "\n".join(lines) + "\n"


def junit(suite: str, night: Night) -> str:
    """One case for each judgement: a failure is an alarm, an error was not judged, or is worse and not confirmed for
    want of a measurement; what is undecided is skipped."""
    root = ElementTree.Element("testsuites", name="hwnas nightly")
    failures = sum(one.alarm for one in night.judgements)
    errors = sum(_is_error(one) for one in night.judgements)
    skipped = sum(not one.judged for one in night.judgements) - errors
    cases = ElementTree.SubElement(
        root,
        "testsuite",
        name=_plain(suite),
        tests=str(len(night.judgements)),
        failures=str(failures),
        errors=str(errors),
        skipped=str(skipped),
        time=f"{night.seconds:.3f}",
        timestamp=night.time[:19],
    )
    for one in night.judgements:
        name = _plain(f"{one.model} {one.metric}")
        case = ElementTree.SubElement(cases, "testcase", classname=_plain(f"{suite}.{one.target}"), name=name)
        text = _plain(_sentence(one))
        if one.alarm:
            changed = "\n".join(night.changed.get((one.model, one.target), ()))
            ElementTree.SubElement(case, "failure", type="regressed", message=text).text = _plain(changed)
        elif _is_error(one):
            ElementTree.SubElement(case, "error", type=one.verdict, message=text)
        elif not one.judged:
            ElementTree.SubElement(case, "skipped", message=text)
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _is_error(one: Judgement) -> bool:
    return one.verdict == "unjudged" or one.suspect


def _rows(found: Sequence[Judgement]) -> list[str]:
    lines = ["| what | where | metric | baseline | tonight | change | interval | floor | verdict |"]
    lines.append("|---|---|---|---:|---:|---:|---:|---:|---|")
    for one in found:
        cells = (
            one.model,
            one.target,
            label(one.metric),
            words.value(one, one.base),
            words.value(one, one.other),
            words.change(one),
            words.interval(one),
            words.floor(one),
            f"{words.verdict(one)}{f': {one.reason}' if one.reason else ''}",
        )
        lines.append(f"| {' | '.join(map(_text, cells))} |")
    return lines


def _environments(night: Night) -> list[str]:
    """Each target once: what it is, and what differs from the baselines' environments."""
    lines = ["", "### Where", ""]
    for target, device in night.devices.items():
        changed = differing(night, target)
        than = f"other than the baseline's: {', '.join(map(_text, changed))}" if changed else "as the baseline's"
        than = "no baseline yet" if changed is None else than
        lines.append(f"- {_text(target)}: {_text(described(device))}; {than}")
    return lines if night.devices else []


def differing(night: Night, target: str) -> list[str] | None:
    """From the baselines' environments there; ``None`` where nothing was compared with a baseline."""
    changed = {line for (_, name), its in night.changed.items() if name == target for line in its}
    compared = (one.verdict not in ("new", "unjudged") for one in counted(night.judgements) if one.target == target)
    return sorted(changed) if changed or any(compared) else None


def described(device: Mapping[str, Any]) -> str:
    """'AMD EPYC, 2 cores, kernel 6.18, python 3.11.7, onnxruntime 1.32.0'; what is not known is left out."""
    known = {"{}": device.get("cpu"), "{} cores": device.get("cores"), "kernel {}": device.get("kernel")}
    parts = [form.format(value) for form, value in known.items() if value]
    versions = [f"{name} {version}" for name, version in device.get("versions", {}).items()]
    return ", ".join(parts + versions)


def _sentence(one: Judgement) -> str:
    """For a reader who sees nothing else of it."""
    what = f"{label(one.metric)}: {words.verdict(one)}"
    if one.ratio is not None or one.base is not None:
        what += f": {words.value(one, one.base)} -> {words.value(one, one.other)}, {words.change(one)}"
    if one.interval is not None:
        what += f" ({words.interval(one)})"
    return f"{what}; {one.reason}" if one.reason else what


def _text(given: str) -> str:
    """Names and errors come from files: nothing of them is Markdown or HTML."""
    plain = _plain(given).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|#])", r"\\\1", plain)


def _plain(given: str) -> str:
    """Without what XML cannot hold and a table cannot break lines in."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" if c != "\n" else " " for c in given)
