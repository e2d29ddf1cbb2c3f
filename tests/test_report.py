"""The report: one file that asks nobody for anything, sensible at every stage of a search, whatever its texts say."""

from __future__ import annotations

import dataclasses
import html
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from report_example import (
    BASELINE,
    ONE_OBJECTIVE,
    STUDY,
    THREE_OBJECTIVES,
    TWO_TARGETS,
    WITH_BASELINE,
    Example,
    profile_of,
    write_example,
)

from benchmarks.cli import main
from benchmarks.pages.cells import Table
from benchmarks.report.answer import answer
from benchmarks.report.beside import beside
from benchmarks.report.choose import choosing
from benchmarks.report.network import networks
from benchmarks.report.report import page, read_confirmed, write
from benchmarks.report.ship import ship, why_nothing
from nas.ax_view import NAME as AX_VIEW
from nas.quality import unassessed
from nas.results import Results, read_results

SIZE_ALONE = STUDY.replace('metric = "val_accuracy"\ngoal = "max"\nthreshold = 0.90', 'metric = "params"\ngoal = "min"')
SIZE_ALONE = SIZE_ALONE.replace('[[objective]]\nmetric = "latency_ms@local"\ngoal = "min"\n', "")

pytestmark = pytest.mark.timeout(400)  # Ax takes its time to be imported


def own_words(text: str) -> str:
    """The page without the scripts and styles that it carries."""
    return re.sub(r"<(script|style)\b.*?</\1>", "", text, flags=re.DOTALL)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """With its page and Ax's view."""
    run = tmp_path_factory.mktemp("finished") / "run"
    results = write_example(run)
    assert write(run) == run / "report.html"
    return results


def test_the_page_of_a_finished_search(finished: Results) -> None:
    results = finished
    path = results.folder.path / "report.html"
    text = html.unescape(path.read_text())
    assert path.stat().st_size < 6e6
    assert "default-src 'none'" in text
    assert not re.search(r'(src|href)="(https?:)?//', own_words(text))
    for index in results.front:
        assert f"front/{index}.onnx" in text
    for words in ("the loss is nan in epoch 3", "Example CPU at 2.5 GHz", "Where the time went"):
        assert words in text


@pytest.mark.parametrize("study", [STUDY, ONE_OBJECTIVE, THREE_OBJECTIVES], ids=["two", "one", "three"])
def test_a_search_that_has_just_begun_has_a_page(tmp_path: Path, study: str) -> None:
    example = Example(tmp_path / "run", study)
    example.start()
    assert "<h1" in page(example.results(), unassessed(example.results(), "no model here"))
    example.propose(0)
    example.measure(0)
    example.train(0)
    assert "too few" in page(example.results(), unassessed(example.results(), "no model here")).lower()
    example.close()


def test_all_trials_failed(tmp_path: Path) -> None:
    example = Example(tmp_path / "run", STUDY)
    example.start()
    for index in range(3):
        example.propose(index)
        example.measure(index)
        example.fail(index, "exit code 7")
    example.end()
    assert "exit code 7" in page(example.results(), unassessed(example.results(), "no model here"))
    example.close()


def test_a_second_run_stands_beside_the_first(tmp_path: Path) -> None:
    write_example(tmp_path / "ours", STUDY)
    write_example(tmp_path / "random", STUDY.replace('name = "digits"\nspace', 'name = "digits"\nseed = 5\nspace'))
    text = html.unescape(write(tmp_path / "ours", tmp_path / "random").read_text())
    assert "Two searches, compared by validation accuracy and latency on local" in text
    for name in ("ours: hwnas", "random: hwnas"):
        assert own_words(text).count(name) >= 1
    compared = beside(read_results(tmp_path / "ours"), read_results(tmp_path / "random"))
    assert compared.differences is not None
    assert cells(compared.differences) == [["seed", "0", "5"]]
    assert [figure.id for figure in compared.figures] == ["beside-val-accuracy-latency-ms-local", "beside-hypervolume"]


def test_two_runs_are_compared_by_the_objectives_that_they_share(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, study in (("both", STUDY), ("one", ONE_OBJECTIVE), ("size", SIZE_ALONE)):
        example = Example(tmp_path / name, study)
        example.start()
        add(example, 0, 0.95, 0.20, params=500)
        add(example, 1, 0.97, 0.30, params=400)
        example.close()
    both, one = read_results(tmp_path / "both"), read_results(tmp_path / "one")
    found = beside(both, one)
    assert found.table.caption == "Two searches, compared by validation accuracy, each under its own limits"
    assert cells(found.table) == [
        ["trials", "2", "2"],
        ["on the front of what both are for", "1", "1"],
        ["best validation accuracy", "97.00 %", "97.00 %"],
        ["to ship", *["trial 1: validation accuracy 97.00 %"] * 2],
        ["hypervolume after half of the trials", "0.05", "0.05"],
        ["hypervolume", "0.07", "0.07"],
    ]
    assert found.differences is not None
    assert cells(found.differences) == [["objective", "max val_accuracy, min latency_ms@local", "max val_accuracy"]]

    monkeypatch.setattr(sys, "argv", ["hwnas", "report", str(tmp_path / "both"), str(tmp_path / "size")])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2 and not (tmp_path / "both" / "report.html").exists()
    accepted = f"a run with an objective of {tmp_path / 'both'}: max val_accuracy, min latency_ms@local"
    assert capsys.readouterr().err == f"hwnas: {tmp_path / 'size'}: given min params; accepted: {accepted}\n"


def test_what_to_ship_is_the_best_that_keeps_the_limits_when_measured_again(tmp_path: Path) -> None:
    """Trial 2 is better than trial 1 and kept the limit of 0.44 ms only the first time."""
    example = Example(tmp_path / "run", WITH_BASELINE)
    example.start()
    example.propose(0, dict(BASELINE), "baseline")
    add(example, 0, 0.95, 0.40, params=1000)
    add(example, 1, 0.97, 0.20, params=500)
    add(example, 2, 0.99, 0.43, params=2000)
    before = ship(example.results(), {})
    assert before is not None and before.trial == 2 and before.href == "trials/2/trained.onnx"
    assert (
        before.remarks[0].startswith("Not confirmed yet")
        and "the front is not confirmed yet" in cells(before.figures)[0][1]
    )

    tests = {"test_accuracy_shipped": 0.961, "test_accuracy": 0.96, "test_accuracy_sd": 0.003}
    measured = {"latency_ms@local": 0.20, "power_w@local": 5.0}
    sems = {"latency_ms@local": 0.001, "power_w@local": 0.1}
    example.journal.append("confirmed", 1, metrics=tests | measured, sems=sems, reason=None)
    example.journal.append("confirmed", 2, metrics={"latency_ms@local": 0.45}, sems={}, reason=None)
    example.end()
    results = example.results()
    example.close()
    why = {"energy_mj": "idle power moved"}
    profile = profile_of("digits/1", 0.20, np.random.default_rng(0), missing=why, flags=("disturbed", "replayed"))
    found = ship(results, {"local": {1: dataclasses.replace(profile, latency_ms_ci95=(0.195, 0.206))}})
    assert found is not None and found.trial == 1 and found.remarks == []
    assert (found.href, found.path) == ("front/1.onnx", str(tmp_path / "run" / "front" / "1.onnx"))
    assert found.lead == (
        "Trial 1: validation accuracy 97.00 %, latency on local 0.2 ms. "
        "Against the incumbent: 2.0 points better, 2.00 times faster."
    )
    assert found.rule == (
        "Of the front, 1 of 2 members keeps every limit (latency on local ≤ 0.44 ms); "
        "it is the one with the highest validation accuracy."
    )
    assert found.figures.heads == ["figure", "this network", "against the incumbent, trial 0"]
    assert cells(found.figures) == [
        ["test accuracy, mean of 3 other seeds", "96.00 ± 0.30 %", ""],
        ["test accuracy, this file", "96.10 %", ""],
        ["validation accuracy", "97.00 %", "2.0 points better"],
        ["parameters", "500", "2.00 times smaller"],
        ["latency on local", "0.2 ms (0.195 to 0.206; disturbed)", "2.00 times faster"],
        ["energy per inference on local", "not measured: idle power moved", ""],
        ["power on local", "5 W (4.804 to 5.196; replayed)", ""],
    ]
    unmeasured = ship(results, {})
    assert unmeasured is not None
    assert cells(unmeasured.figures)[4:6] == [
        ["latency on local", "0.2 ms (0.198 to 0.202)", "2.00 times faster"],
        ["energy per inference on local", "not measured: there is no profile", ""],
    ]
    text = own_words(html.unescape(page(results, unassessed(results, "no model here"))))
    text = text.replace("\N{NO-BREAK SPACE}", " ")
    assert text.index(found.lead) < text.index('id="front"')
    assert 'href="front/1.onnx"' in text and "this run has no such times" in text


def test_the_answer_says_among_which_networks_one_is_the_best(tmp_path: Path) -> None:
    """Trial 1 is better than trial 0, and breaks the limit of 0.44 ms."""
    example = Example(tmp_path / "run", ONE_OBJECTIVE)
    example.start()
    add(example, 0, 0.95, 0.20, params=500)
    add(example, 1, 0.97, 0.50, params=500)
    alone = example.results()
    example.close()
    two, free = dataclasses.replace(alone, front=[0, 1]), dataclasses.replace(alone, limits=(), front=[1])
    assert answer(alone) == "Of the networks that keep the limits, one is better than all the others: trial 0."
    assert answer(free) == "One network is better than all the others: trial 1."
    assert answer(two) == "2 of 2 trials are equally good, and no other that keeps the limits is better."
    free = dataclasses.replace(free, front=[0, 1])
    assert answer(free) == "2 of 2 trials are equally good, and no other is better."


def test_what_can_be_chosen_among(tmp_path: Path) -> None:
    example = Example(tmp_path / "run", TWO_TARGETS)
    example.start()
    example.run(0)
    assert choosing(example.results()) is None
    example.propose(1)
    example.measure(1)
    example.gate(1, "too slow")
    found = choosing(results := example.results())
    example.close()
    assert found is not None and found.targets == ["local", "other"]
    assert [(field.title, field.least, field.target) for field in found.fields] == [
        ("validation accuracy, %", True, ""),
        ("latency on local, ms", False, "local"),
        ("latency on other, ms", False, "other"),
        ("model size, MB", False, ""),
    ]
    trained, gated = results.trials
    assert found.trials[0]["values"][0] == round(100 * trained.metrics["val_accuracy"], 2)
    assert found.trials[0]["front"] and not found.trials[1]["front"]
    assert f"{gated.metrics['latency_ms@other']:.4g}" == f"{found.trials[1]['values'][2]}"  # as the table shows it
    assert found.trials[1]["values"][0] is None


def test_nothing_is_to_be_shipped_where_no_member_keeps_the_limits(tmp_path: Path) -> None:
    example = Example(tmp_path / "run", STUDY)
    example.start()
    assert why_nothing(example.results()) == "There is no trial yet."
    add(example, 0, 0.95, 0.40, params=1000)
    example.journal.append("confirmed", 0, metrics={"latency_ms@local": 0.45}, sems={}, reason=None)
    results = example.results()
    example.close()
    assert ship(results, {}) is None
    reason = "No member of the front keeps every limit with its confirmed figures: latency on local ≤ 0.44 ms."
    assert why_nothing(results) == reason
    assert reason in html.unescape(page(results, unassessed(results, "no model here")))


def test_the_incumbent_may_be_what_is_to_be_shipped(tmp_path: Path) -> None:
    example = Example(tmp_path / "run", WITH_BASELINE)
    example.start()
    example.propose(0, dict(BASELINE), "baseline")
    add(example, 0, 0.97, 0.20, params=1000)
    results = example.results()
    example.close()
    found = ship(results, {})
    assert found is not None and found.lead.endswith("It is the incumbent: what ships today stays.")
    assert found.figures.heads == ["figure", "this network"]


def test_the_layers_of_the_pick_come_first_with_their_shares_or_the_reason(tmp_path: Path) -> None:
    run = tmp_path / "run"
    results = write_example(run)
    pick, *others = sorted(results.front, key=lambda index: -results.figures(index)["val_accuracy"])
    confirmed = read_confirmed(results)
    found = networks(results, pick, confirmed)
    assert pick == 0
    assert [one.title for one in found] == ["Trial 0, the incumbent", *(f"Trial {index}" for index in others)]
    (table,) = found[0].tables
    assert table.caption == "On local: 3 operators; Conv 90 %, Gemm 10 %"
    assert table.heads == ["layer", "operator", "time, µs", "share of the time"]
    assert cells(table) == [
        ["node_conv2d", "Conv", "60", "60.0 %"],
        ["node_conv2d_1", "Conv", "30", "30.0 %"],
        ["node_linear", "Gemm", "10", "10.0 %"],
    ]
    assert [cell.share for cell in (row[-1] for row in table.rows)] == pytest.approx([1.0, 0.5, 1 / 6])

    silent = {pick: dataclasses.replace(confirmed["local"][pick], operators=(), missing={"operators": "no word"})}
    found = networks(results, pick, {"local": silent})
    assert (found[0].tables, found[0].reasons) == ([], ["Not known on local: no word"])
    assert found[1].reasons == ["Not known on local: it was not measured again there"]
    many = tuple(
        {
            "name": f"n{number}",
            "operator": "Conv",
            "provider": ("cpu", "cuda")[number < 2],
            "time_ms": 1.0,
            "share": share,
        }
        for number, share in enumerate([0.5, 0.4, *[0.002] * 50])
    )
    found = networks(results, pick, {"local": {pick: dataclasses.replace(silent[pick], operators=many)}})
    assert cells(found[0].tables[0]) == [
        ["n0", "Conv", "cuda", "1000", "50.0 %"],
        ["n1", "Conv", "cuda", "1000", "40.0 %"],
        ["50 others, each below 0.5 %", "", "", "50000", "10.0 %"],
    ]

    for file in run.glob("trials/*/confirmed-*.json"):  # as an older hwnas left it
        file.unlink()
    assert read_confirmed(results) == {} and networks(results, pick, {}) == []


def add(example: Example, index: int, accuracy: float, latency_ms: float, *, params: int) -> None:
    """A trained trial with these figures."""
    if index not in example.journal.trials:
        example.propose(index)
    metrics = {"params": params, "latency_ms@local": latency_ms}
    example.journal.append("profiled", index, metrics=metrics, sems={"latency_ms@local": 0.001}, seconds=1.0)
    example.journal.append("training", index, attempt=0)
    example.folder.trial(index).trained.write_bytes(b"not a network")
    example.journal.append("completed", index, metrics={"val_accuracy": accuracy}, train_s=1.0)


def cells(table: Table) -> list[list[str]]:
    return [[cell.text for cell in row] for row in table.rows]


def test_texts_from_files_are_text(tmp_path: Path) -> None:
    example = Example(tmp_path / "run", STUDY)
    example.start()
    example.propose(0)
    example.measure(0)
    example.fail(0, "</script><script>alert(1)</script><img src=x onerror=alert(1)>")
    text = page(example.results(), unassessed(example.results(), "no model here"))
    example.close()
    assert "<script>alert(1)" not in text and "<img src=x" not in text


def test_ax_reads_its_own_view_back(finished: Results) -> None:
    from ax.api.client import Client

    results = finished
    client = Client.load_from_json_file(str(results.folder.path / AX_VIEW))
    summary = client.summarize()
    assert len(summary) == len(results.trials)
    assert {"val_accuracy", "latency_ms_at_local"} <= set(summary.columns)
