"""What several files share: boards that ssh reaches, a browser, and a PostgreSQL server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import debian
import pytest
from boards import Board, boards, lacking
from browser import Browser

from benchmarks.figures import _server


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An agent file of this test alone."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Board]]:
    if reason := lacking():
        pytest.skip(reason)
    with boards(4, tmp_path_factory.mktemp("lab")) as found:
        yield found


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if reason := debian.lacking(("chromium",), ("chromium", "fonts-dejavu-core")):
        pytest.skip(reason)
    with Browser() as started:
        yield started


@pytest.fixture(scope="session")
def postgres() -> Iterator[_server.Server]:
    if reason := _server.lacking():
        pytest.skip(reason)
    with _server.postgres() as server:
        yield server
