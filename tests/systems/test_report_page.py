"""The report in a real browser: quiet, alone, usable by keyboard, and readable on a phone and in the dark.

The picture of the README is taken here as well. After `make search`, for the page of that run:

    HWNAS_REPORT=runs/digits/report.html HWNAS_IMAGES=docs/images .venv/bin/pytest -m systems -k picture
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from browser import Browser
from report_example import STUDY, THREE_OBJECTIVES, TWO_TARGETS, Example, profile_of, write_example

from benchmarks.compare_page import page as compare_page
from benchmarks.report.report import page, write
from benchmarks.side_by_side import Side
from benchmarks.sweeps import curves
from nas.quality import unassessed
from profiles import apart
from profiles.records import Target

pytestmark = [pytest.mark.systems, pytest.mark.timeout(600)]

TAB, ENTER = ("Tab", 9), ("Enter", 13, "\r")


@pytest.fixture(scope="module")
def searched(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a real search, small: the digits, six trials, none of them from a model."""
    folder = tmp_path_factory.mktemp("searched")
    smaller = {"budget.trials": 6, "search.initial_trials": 6, "train.epochs": 2, "confirm.seeds": 1}
    changes = [word for key, value in smaller.items() for word in ("--set", f"{key}={value}")]
    study = str(root / "studies" / "digits.toml")
    command = [sys.executable, "-m", "benchmarks.cli", "search", study, *changes, "--out", str(folder / "run")]
    environment = os.environ | {"PYTHONPATH": str(root)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder / "run" / "report.html"


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a run with everything in it: the incumbent, gated trials, failed ones, a confirmed front."""
    run = tmp_path_factory.mktemp("example") / "run"
    write_example(run)
    return write(run)


def nothing_yet(example: Example) -> None:
    example.start()


def one_trial(example: Example) -> None:
    example.start()
    example.propose(0)
    example.measure(0)
    example.train(0)


def empty_front(example: Example) -> None:
    example.start()
    for index in range(3):
        example.propose(index)
        example.measure(index)
        example.gate(index, "latency_ms@local = 1.2, the limit is <= 0.44")
    example.end()


def all_failed(example: Example) -> None:
    example.start()
    for index in range(3):
        example.propose(index)
        example.fail(index, "exit code 7: " + "/a/path/that/has/no/place/to/break" * 5, step="profile")
    example.end()


def three_objectives(example: Example) -> None:
    example.start()
    for index in range(12):
        example.run(index)
    example.end(None)


def test_the_page_of_a_real_search(browser: Browser, searched: Path) -> None:
    look_at(browser, searched)
    assert browser.evaluate("document.querySelectorAll('.js-plotly-plot').length") >= 5


def test_the_page_of_everything(browser: Browser, example: Path) -> None:
    look_at(browser, example)


@pytest.mark.parametrize(
    ("grow", "study"),
    [
        (nothing_yet, STUDY),
        (one_trial, STUDY),
        (empty_front, STUDY),
        (all_failed, STUDY),
        (three_objectives, THREE_OBJECTIVES),
    ],
)
def test_the_page_of_an_unusual_search(
    browser: Browser, tmp_path: Path, grow: Callable[[Example], None], study: str
) -> None:
    example = Example(tmp_path / "run", study)
    grow(example)
    results = example.results()
    example.close()
    path = tmp_path / "run" / "report.html"
    path.write_text(page(results, unassessed(results, "not fitted here")))
    look_at(browser, path)


def test_the_page_of_a_comparison(browser: Browser, tmp_path: Path) -> None:
    """Many targets with long names, sweeps, energy, what fell back; and the least that there can be."""
    random = np.random.default_rng(0)
    names = [f"workstation-openvino-int8-of-board-{number}" for number in range(9)]
    measured = [
        profile_of(
            "vit_tiny",
            1.0 + 0.4 * number,
            random,
            target=Target(name=name, device=name, precision=("fp32", "int8")[number % 2]),
            energy_mj=2.0 + number,
            energy_mj_sem=0.1,
            peak_memory_mb=40.0,
            fallback_percent=12.5,
            fallback_time_percent=60.0,
        )
        for number, name in enumerate(names)
    ]
    swept = [
        replace(
            one,
            target=replace(one.target, batch=batch),
            throughput_per_s=900.0 * batch**0.5,
            latency_ms_calibrated=batch**0.6,
        )
        for one in measured[:3]
        for batch in (2, 8, 64)
    ]
    sides = [Side(profile=one, comparison=apart.compare(measured[0], one)) for one in measured[1:]]
    sides = [Side(profile=measured[0], is_base=True), *sides]
    path = tmp_path / "compare.html"
    path.write_text(compare_page("compare", sides, curves([*measured, *swept]), ["int8 is slower than fp32"], swept))
    look_at(browser, path)
    assert browser.evaluate("document.querySelectorAll('.js-plotly-plot').length") == 5
    path.write_text(compare_page("profile", [Side(profile=measured[0])], [], []))
    look_at(browser, path)


def test_everything_can_be_reached_and_used_by_keyboard(browser: Browser, example: Path) -> None:
    browser.open(example, width=1200)
    seen = [focused(browser) for _ in range(13) if browser.press(*TAB) is None]
    assert seen[0] == "Skip to the results"
    assert "What to ship" in seen and "The front" in seen and "Where the time went" in seen
    browser.evaluate("document.querySelector('#front ~ .scroll button').focus()")
    assert focused(browser) == "trial"

    def first_column() -> list[int]:
        cells = "[...document.querySelectorAll('#front ~ .scroll tbody th')].map((cell) => Number(cell.textContent))"
        return list(browser.evaluate(cells))

    before = first_column()
    browser.press(*ENTER)
    assert first_column() == sorted(before) != before
    browser.press(*ENTER)
    assert first_column() == sorted(before, reverse=True)
    assert browser.evaluate("document.activeElement.closest('th').getAttribute('aria-sort')") == "descending"
    browser.evaluate("document.querySelector('summary').focus()")
    browser.press(*ENTER)
    assert browser.evaluate("document.querySelector('details').open")
    assert browser.complaints == []


def test_a_click_on_a_point_tells_of_its_trial(browser: Browser, example: Path) -> None:
    browser.open(example, width=1200)
    point = "document.querySelector('#front ~ figure .scatterlayer .trace:nth-last-of-type(2) .point')"
    browser.evaluate(f"{point}.scrollIntoView({{behavior: 'instant', block: 'center'}})")
    box = [browser.evaluate(f"{point}.getBoundingClientRect().{edge}") for edge in ("left", "width", "top", "height")]
    browser.click(box[0] + box[1] / 2, box[2] + box[3] / 2)
    browser.wait("!document.getElementById('chosen').hidden")
    parts = "[...one.children].map((part) => part.textContent)"
    said = f"[...document.querySelectorAll('#chosen dl div')].map((one) => {parts})"
    told = dict(browser.evaluate(said))
    assert told["state"] in ("on the front", "completed") and "kernel" in told
    assert browser.evaluate("document.querySelector('figure + #chosen') !== null")  # below the figure
    rows = "[...document.querySelectorAll('[data-chosen]')].map((row) => row.cells[0].textContent)"
    assert set(browser.evaluate(rows)) == {told["trial"]}
    browser.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark"}])
    assert not browser.evaluate("document.getElementById('chosen').hidden")
    browser.click(box[0] + box[1] / 2, box[2] + box[3] / 2)
    browser.wait("document.getElementById('chosen').hidden")
    assert browser.complaints == []


def test_limits_hide_trials_in_figures_and_tables(browser: Browser, example: Path) -> None:
    browser.open(example, width=1200)
    points = "document.querySelectorAll('#front ~ figure .point').length"
    rows = "[...document.querySelectorAll('#front ~ details tbody tr')].filter((row) => !row.hidden).length"
    before = browser.evaluate(points), browser.evaluate(rows)
    field = "[...document.querySelectorAll('#choose label')].find((one) => one.textContent.startsWith('latency'))"
    browser.evaluate(f"{field}.querySelector('input').focus()")
    browser.call("Input.insertText", text="0.3")
    browser.wait("document.querySelector('#choose output').textContent !== ''")
    assert 0 < browser.evaluate(rows) < before[1] and browser.evaluate(points) < before[0]
    shown = "[...document.querySelectorAll('#front ~ details tbody tr')].filter((row) => !row.hidden)"
    titles = "[...document.querySelectorAll('#front ~ details thead th')].map((head) => head.textContent)"
    column = next(at for at, title in enumerate(browser.evaluate(titles)) if title.startswith("latency"))
    told = browser.evaluate(f"{shown}.map((row) => parseFloat(row.cells[{column}].textContent))")
    assert max(told) <= 0.3
    browser.evaluate("document.querySelector('#choose button').click()")
    browser.wait("document.querySelector('#choose output').textContent === ''")
    assert (browser.evaluate(points), browser.evaluate(rows)) == before
    assert browser.complaints == []


def test_a_target_hides_the_figures_of_the_others(browser: Browser, tmp_path: Path) -> None:
    example = Example(tmp_path / "run", TWO_TARGETS)
    example.start()
    for index in range(8):
        example.run(index)
    example.end()
    results = example.results()
    example.close()
    path = tmp_path / "run" / "report.html"
    path.write_text(page(results, unassessed(results, "not fitted here")))
    look_at(browser, path)
    browser.open(path, width=1200)
    browser.evaluate("document.querySelector('[name=target]').value = 'other'")
    browser.evaluate("document.querySelector('[name=target]').dispatchEvent(new Event('input', {bubbles: true}))")
    hidden = "[...document.querySelectorAll('#front ~ figure[hidden]')].map((one) => one.dataset.targets)"
    assert browser.evaluate(hidden) == ["local"]
    assert browser.complaints == []


@pytest.mark.parametrize("width", [1200, 400])
def test_what_to_ship_is_seen_first_and_whole(browser: Browser, example: Path, width: int) -> None:
    browser.open(example, width=width)
    place = "document.querySelector('[aria-labelledby=ship]')"
    top, bottom = (browser.evaluate(f"{place}.getBoundingClientRect().{edge}") for edge in ("top", "bottom"))
    assert top < 350 and bottom - top < 1000
    widths = [browser.evaluate(f"{place}.querySelector('.scroll').{name}Width") for name in ("scroll", "client")]
    assert widths[0] <= widths[1]  # nothing is cut off
    file = str(browser.evaluate(f"{place}.querySelector('a').getAttribute('href')"))
    assert (example.parent / file).is_file()
    assert browser.evaluate(f"{place}.querySelector('.copy').textContent") == str(example.parent / file)
    assert browser.evaluate("document.querySelector('#network ~ details').open")
    bars = "[...document.querySelectorAll('#network ~ details[open] .bar span')].map((bar) => bar.offsetWidth > 0)"
    assert browser.evaluate(bars) == [True] * 3


def test_the_page_of_two_searches(browser: Browser, tmp_path: Path) -> None:
    write_example(tmp_path / "ours")
    write_example(tmp_path / "theirs", THREE_OBJECTIVES)
    look_at(browser, write(tmp_path / "ours", tmp_path / "theirs"))
    drawn = "document.querySelectorAll('[aria-labelledby=beside] .main-svg').length > 0"
    assert browser.evaluate(drawn)


def test_numbers_sort_as_numbers_and_what_was_not_measured_comes_last(browser: Browser, example: Path) -> None:
    browser.open(example, width=1200)
    browser.evaluate("document.querySelector('details').open = true")
    table = "document.querySelector('#front ~ details table')"
    button = f"[...{table}.querySelectorAll('button')].find((one) => one.textContent.startsWith('validation'))"
    column = f"[...{table}.tBodies[0].rows].map((row) => row.cells[{button}.closest('th').cellIndex]"
    for sign in (1, -1):
        browser.evaluate(f"{button}.click()")
        cells = list(browser.evaluate(f"{column}.textContent.trim())"))
        known = [float(cell) for cell in cells if cell != "-"]
        assert known == sorted(known, key=lambda value: sign * value)
        assert cells == [f"{value:.2f}" for value in known] + ["-"] * (len(cells) - len(known))


def test_the_picture_of_the_readme(browser: Browser, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    folder = Path(os.environ.get("HWNAS_IMAGES", tmp_path))
    shown = os.environ.get("HWNAS_REPORT") or request.getfixturevalue("searched")
    browser.open(Path(shown), width=1100)
    folder.mkdir(parents=True, exist_ok=True)
    bottom = browser.evaluate("document.querySelector('figure').getBoundingClientRect().bottom + scrollY")
    browser.screenshot(folder / "report.png", height=round(bottom))
    assert 20_000 < (folder / "report.png").stat().st_size < 300_000


def look_at(browser: Browser, path: Path) -> None:
    """On a desk, on a phone and in the dark: no complaint, no request, nothing wider than the window."""
    browser.complaints.clear()
    browser.requests.clear()
    backgrounds = []
    for width, dark in ((1200, False), (400, False), (1200, True)):
        browser.open(path, width=width, dark=dark)
        assert browser.evaluate("document.documentElement.scrollWidth") <= width
        backgrounds.append(browser.evaluate("getComputedStyle(document.body).backgroundColor"))
        drawn = "[...document.querySelectorAll('[data-plot]')].every((place) => place.querySelector('.main-svg'))"
        assert browser.evaluate(drawn)
    assert browser.complaints == []
    assert set(browser.requests) == {path.resolve().as_uri()}
    assert backgrounds[0] == backgrounds[1] == "rgb(255, 255, 255)" != backgrounds[2]


def focused(browser: Browser) -> str:
    """The text of what the keyboard is at."""
    return str(browser.evaluate("document.activeElement.textContent.trim()"))
