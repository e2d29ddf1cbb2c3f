"""``hwnas nightly``: one night of a suite, told on stderr, as a table or JSON on stdout, and in the files asked for."""

from __future__ import annotations

import contextlib
import json as json_
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.measuring import check_folders, share, tell, written
from benchmarks.nightly import reports, words
from benchmarks.nightly.judgements import Judgement, counted
from benchmarks.nightly.night import watch
from benchmarks.nightly.nights import Night
from benchmarks.nightly.progress import shown
from benchmarks.nightly.watched import setting_of
from benchmarks.pages.words import label
from benchmarks.pipes import reader_may_go
from benchmarks.tables import duration, table
from profiles import files
from profiles.errors import HwnasError


def run(
    suite: Path,
    overrides: Mapping[str, str],
    *,
    fleet: Path | None,
    python: str | None,
    max_undecided: str,
    markdown: Path | None,
    junit: Path | None,
    html: Path | None,
    json: bool,
    store: str | None,
) -> int:
    """The exit code: 1 for a confirmed regression, 3 where too much has no judgement or a report, stdout among them,
    cannot be written, else 0.
    """
    allowed = share("--max-undecided", max_undecided, whole=True)
    check_folders(markdown=markdown, junit=junit, html=html)
    with setting_of(suite, overrides, fleet=fleet, store=store, python=python) as setting:
        with shown() as hear:
            night, history = watch(setting, max_undecided=allowed, on_event=hear)
        name = setting.suite.name
    failed: list[HwnasError] = []
    with written(Path("stdout"), failed), reader_may_go():  # the reports and the exit code are for others
        if json:
            print(json_.dumps(reports.to_json(name, night), indent=1))
        else:
            _show(night.judgements)
    with contextlib.suppress(OSError), reader_may_go():  # stderr may be on the same full disk
        _say(night)
    for path, text in (
        (markdown, lambda: reports.markdown(name, night)),
        (junit, lambda: reports.junit(name, night)),
        (html, lambda: _page(name, _until(night, history))),
    ):
        if path is not None:
            with written(path, failed):
                files.write_text(path, text())
    with contextlib.suppress(OSError), reader_may_go():
        tell(failed)
    return night.code or (3 if failed else 0)


def _until(night: Night, history: Sequence[Night]) -> list[Night]:
    """Without those that have ended after it, in another run."""
    return list(history)[: [one.name for one in history].index(night.name) + 1]


def _page(suite: str, history: Sequence[Night]) -> str:
    from benchmarks.nightly.page import page

    return page(suite, history)


def _show(judgements: Sequence[Judgement]) -> None:
    heads = ["model", "target", "metric", "baseline", "tonight", "change", "interval", "verdict"]
    rows = [
        (
            one.model,
            one.target,
            one.metric,
            words.value(one, one.base),
            words.value(one, one.other),
            words.change(one),
            words.interval(one),
            words.verdict(one),
        )
        for one in counted(judgements)
    ]
    table(heads, rows)


def _say(night: Night) -> None:
    for one in night.judgements:
        if one.reason and (one.alarm or not one.judged):
            print(f"{one.model} on {one.target}: {label(one.metric)}: {one.reason}", file=sys.stderr)
    for (model, target), changed in night.changed.items():
        if changed:
            print(f"{model} on {target}: other than the baseline's: {', '.join(changed)}", file=sys.stderr)
    new = dict.fromkeys(one.model for one in night.judgements if one.verdict == "new")
    if new:
        print(f"no baseline yet: tonight's is kept ({', '.join(new)})", file=sys.stderr)
    for reason in night.reasons:
        print(reason, file=sys.stderr)
    print(f"{words.summary(night.judgements)}; {duration(night.seconds)}", file=sys.stderr)
