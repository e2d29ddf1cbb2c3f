"""Fixtures for tests of one's own, and for pytest-benchmark: what a model takes on a target.

    pytest_plugins = ["benchmarks.pytest_plugin"]        # in the conftest.py beside pytest.ini or pyproject.toml

    def test_latency(hwnas_profile):
        profile = hwnas_profile("model.onnx")
        assert profile.latency_ms.p50 < 5

A test that asks for pytest-benchmark's ``benchmark`` as well reports there what the device measured, without transport:
each of its rounds is the median of one undisturbed block of inferences. A test may profile several models; the first is
the one that is reported.

There is no entry point of the group ``pytest11``: it would import a package named ``benchmarks`` at every start of
pytest, and many projects have another one of that name.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pytest

if TYPE_CHECKING:
    from benchmarks.measuring import Bench
    from profiles.records import Profile, Target


class Measure(Protocol):
    """What ``hwnas_profile`` is: MODEL as on the command line, then the shapes of its inputs, or inputs in an .npz."""

    def __call__(
        self, model: str | Path, *, shapes: Mapping[str, tuple[int, ...]] | None = None, inputs: Path | None = None
    ) -> Profile: ...


_clock = {"s": 0.0}
_devices = pytest.StashKey[dict[str, Any]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("hwnas", "hwnas")
    group.addoption("--hwnas-target", metavar="NAME", default="local", help="Target to measure on. Default: local")
    group.addoption("--hwnas-fleet", metavar="FILE", type=Path, help="Fleet file that has it.")
    group.addoption("--hwnas-store", metavar="URL", help="Where results are kept; default as for hwnas profile.")
    group.addoption("--hwnas-within", metavar="SHARE", default="1%", help="As for hwnas profile. Default: 1%%")
    group.addoption("--hwnas-budget", metavar="TIME", default="30s", help="As for hwnas profile. Default: 30s")


def pytest_itemcollected(item: pytest.Item) -> None:
    """Where a test asks for both, pytest-benchmark reads the device's clock; a marker of the test's own stays."""
    asked = getattr(item, "fixturenames", ())
    if "hwnas_profile" in asked and "benchmark" in asked and item.config.pluginmanager.hasplugin("benchmark"):
        own = item.get_closest_marker("benchmark")
        options = {**(own.kwargs if own else {}), "timer": device_time}
        item.add_marker(pytest.mark.benchmark(**options), append=False)


@pytest.hookimpl(optionalhook=True)
def pytest_benchmark_update_machine_info(config: pytest.Config, machine_info: dict[str, Any]) -> None:
    """The devices that were measured, which pytest-benchmark compares as it does this machine."""
    machine_info["hwnas"] = config.stash.get(_devices, {})


def device_time() -> float:
    """In s: stands still but while a device infers."""
    return _clock["s"]


@pytest.fixture(scope="session")
def hwnas_target(request: pytest.FixtureRequest) -> Target:
    """That of ``--hwnas-target``. A test module may define its own fixture of this name."""
    from devices.fleet import load_fleet

    return load_fleet(request.config.getoption("--hwnas-fleet")).target(request.config.getoption("--hwnas-target"))


@pytest.fixture(scope="session")
def hwnas_bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    """Connections and the store, for as long as pytest runs."""
    from benchmarks.measuring import Setting, bench

    option = request.config.getoption
    setting = Setting.of([], None, option("--hwnas-fleet"), None, None, {}, option("--hwnas-store"))
    with bench(setting) as here:
        yield here


@pytest.fixture
def hwnas_profile(request: pytest.FixtureRequest, hwnas_target: Target, tmp_path: Path) -> Measure:
    """Measures one model on ``hwnas_target``, as ``hwnas profile`` does, and keeps the profile in the store.

    Raises an error of ``profiles.errors`` where there is no number: the test fails.
    """
    here: Bench = request.getfixturevalue("hwnas_bench")
    count = itertools.count()

    def measure(
        model: str | Path, *, shapes: Mapping[str, tuple[int, ...]] | None = None, inputs: Path | None = None
    ) -> Profile:
        import dataclasses

        from benchmarks import models

        number = next(count)
        folder = tmp_path / f"hwnas-{number}"
        sizes, batch = models.without_batch(shapes or {})
        target = dataclasses.replace(hwnas_target, batch=batch or hwnas_target.batch)
        here.jobs = models.jobs([str(model)], shapes=sizes, inputs=inputs, folder=folder)
        profile = _measured(here, target, request.config.getoption)
        request.config.stash.setdefault(_devices, {})[hwnas_target.name] = profile.device
        if number == 0 and "benchmark" in request.fixturenames:
            _report(request.getfixturevalue("benchmark"), profile)
        return profile

    return measure


def _measured(here: Bench, target: Target, option: Callable[[str], str]) -> Profile:
    import dataclasses

    from benchmarks import profile
    from benchmarks.measuring import seconds, share
    from devices.plan import PRECISE
    from profiles.errors import HwnasError

    plan = dataclasses.replace(
        PRECISE,
        within=share("--hwnas-within", option("--hwnas-within"), least=0.0001),
        budget_s=seconds("--hwnas-budget", option("--hwnas-budget")),
    )
    (found,) = profile.measured(here, target, plan, profile.Extra())
    if isinstance(found, HwnasError):
        raise found
    return found


def _report(benchmark: Any, profile: Profile) -> None:
    rounds = _rounds_s(profile)
    left = iter(rounds)

    def one_round() -> None:
        _clock["s"] += next(left, 0.0)

    benchmark.pedantic(one_round, rounds=len(rounds))
    about = profile.to_dict(raw=False)
    benchmark.extra_info |= {key: about[key] for key in _ABOUT}


def _rounds_s(profile: Profile) -> Sequence[float]:
    """The median of each block; of the undisturbed ones, unless the machine was disturbed all the time."""
    from statistics import median

    blocks = [block for block in profile.blocks if block.arm == "model" and block.latencies_ns]
    quiet = [block for block in blocks if not block.disturbed]
    used = blocks if "disturbed" in profile.flags else quiet
    return [median(block.latencies_ns) / 1e9 for block in used]


_ABOUT = (
    "model",
    "digest",
    "target",
    "engine",
    "provider",
    "precision",
    "threads",
    "batch",
    "latency_ms_calibrated",
    "latency_ms_sem",
    "latency_ms_ci95",
    "peak_memory_mb",
    "energy_mj",
    "flags",
)
