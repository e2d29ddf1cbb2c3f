"""The documentation as a site: built as ``make docs`` builds it, and read from disk in Chromium."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from browser import Browser

pytestmark = pytest.mark.systems

PAGES = ["index.html", "architecture.html", "metrics.html", "study.html", "extending.html", "comparison.html"]
READY = "document.readyState === 'complete'"


@pytest.fixture(scope="module")
def site(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", str(folder)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_the_site_asks_nobody_for_anything(site: Path, browser: Browser) -> None:
    for page in PAGES:
        browser.open(site / page, width=1280, ready=READY)
        assert browser.evaluate("document.querySelectorAll('article img').length") == sum(
            browser.evaluate("[...document.querySelectorAll('article img')].map(i => i.naturalWidth > 0)")
        )
    assert [url for url in browser.requests if not url.startswith(("file:", "data:", "blob:"))] == []
    assert browser.complaints == []


def test_the_search_finds_a_page_from_disk(site: Path, browser: Browser) -> None:
    browser.open(site / "index.html", width=1280, ready=READY)
    browser.evaluate("document.querySelector('input.md-search__input').focus()")
    browser.call("Input.insertText", text="hypervolume")
    browser.call("Input.dispatchKeyEvent", type="keyUp", key="e")  # which is what the search hears of typing
    found = "document.querySelectorAll('.md-search-result__item a').length > 0"
    browser.wait(found)
    assert browser.evaluate("document.querySelector('.md-search-result__item a').href").startswith("file:")


@pytest.mark.parametrize("page", PAGES)
def test_a_page_fits_into_400_pixels(site: Path, browser: Browser, page: str) -> None:
    browser.open(site / page, width=400, ready=READY)
    assert browser.evaluate("document.documentElement.scrollWidth") <= 400
