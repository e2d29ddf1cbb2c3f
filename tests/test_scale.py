"""The figure of scale: what it says where a controller of its own goes wrong."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks.figures import scale
from profiles.errors import MeasurementError


def test_a_controller_that_fails_is_no_missing_server() -> None:
    """Without one the figure is made all the same, and would hide it. The other one may find the folder in use."""
    nowhere: Any = SimpleNamespace(url="sqlite:////no/folder/all.db", password="")
    with pytest.raises(MeasurementError, match=r"a controller failed with exit code \d: hwnas: .*(/no/folder|in use)"):
        scale._two(nowhere)
