"""The reference models as a suite of pytest-benchmark: pytest benchmarks/ --benchmark-json=results.json"""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.pytest_plugin import Measure
from nas.models import names


@pytest.mark.parametrize("model", names())
def test_latency(model: str, hwnas_profile: Measure, benchmark: Any) -> None:
    hwnas_profile(model)
