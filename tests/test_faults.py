"""What goes wrong in practice, in whole searches by the command: each fault is a failed trial with its reason."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import faults
import pytest
from test_search import command, hwnas, write_study

from nas.results import read_results

pytestmark = pytest.mark.timeout(400)

# By trial: what its training does. Those that do not exit go on and train as they should.
TRAININGS = """
import os, signal
class Bomb:
    def __reduce__(self):
        return os.system, ("touch " + str(out / "exploded"),)
number, metrics = candidate["trial"], out / "metrics.json"
if number == 0:
    metrics.write_text('{"val_accuracy": NaN}')
    sys.exit(0)
if number in (1, 2, 3):
    metrics.write_text('{"val_accuracy": 0.5}')
    if number > 1:
        import torch
        torch.save({"1.weight": Bomb() if number == 3 else torch.zeros(3)}, out / "weights.pt")
    sys.exit(0)
if number == 4:
    for _ in range(1600):
        sys.stderr.write("x" * 65535 + chr(10))
    sys.exit("the end of a long log")
if number == 5 and out.name == "job" or number == 7:
    os.kill(os.getpid(), signal.SIGKILL)
if number == 6:
    (out / "result.json").write_text('{"mine": true}')
    (out / "job.json").write_text("[1, 2]")
    time.sleep(1)
"""
REASONS = {
    0: ["metrics.json", "val_accuracy", "nan", "finite number"],
    1: ["weights.pt", "wrote no weights"],
    2: ["weights.pt", "1.weight: given shape (3,)"],
    3: ["weights.pt", "not a file of tensors"],
    4: ["exit code 1", "the end of a long log"],
    7: ["SIGKILL", "out of memory?"],
}


def test_faults_of_trainings_are_failed_trials_with_their_reasons(tmp_path: Path) -> None:
    """Retried is only what was ended from outside, once. The controller's memory does not grow with a log.

    Each way in which a job can end is in tests/test_job.py; a job that hangs is in tests/test_search.py.
    """
    study = write_study(tmp_path, TRAININGS, trials="8\nfailures = 8", timeout_s="300", seeds="0")
    run = tmp_path / "runs" / "small"
    resident: dict[int, float] = {}  # MB, by the last trial begun
    with (tmp_path / "stderr").open("wb") as errors:
        search = subprocess.Popen(command("search", study), cwd=tmp_path, stdout=errors, stderr=errors)
    try:
        while search.poll() is None:
            last = max((int(path.name) for path in run.glob("trials/*")), default=-1)
            resident[last] = max(resident.get(last, 0.0), resident_mb(search.pid) or 0.0)
            time.sleep(0.2)
    finally:
        search.kill()
    assert search.returncode == 0, (tmp_path / "stderr").read_text()
    trials = read_results(run).trials
    for index, words in REASONS.items():
        assert trials[index].state == "failed"
        assert all(word in str(trials[index].reason) for word in words), trials[index].reason
        assert "\n" not in str(trials[index].reason)
    assert [trial.index for trial in trials if trial.state == "completed"] == [5, 6]
    assert sorted(event.trial or 0 for event in read_results(run).events if event.kind == "retried") == [5, 7]
    assert not list(run.glob("trials/*/*/exploded"))
    assert sum(path.stat().st_size for path in run.glob("trials/4/job/*") if path.is_file()) < 20e6
    if sys.platform == "linux":
        assert max(resident.values()) < resident[3] + 50


def test_networks_that_cannot_be_exported_a_generator_that_fails_and_a_space_that_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Five candidates for a budget of ten: the end of the space is a normal end."""
    monkeypatch.syspath_prepend(tmp_path)  # for reading the results here
    (tmp_path / "own_space.py").write_text(faults.SPACE)
    (tmp_path / "own_generator.py").write_text(faults.GENERATOR)
    (tmp_path / "how").write_text("good raises hangs")
    study = write_study(
        tmp_path,
        "",
        trials="10\nfailures = 10",
        seeds="0",
        space='"own_space:space"',
        generator='"own_generator:generator"\ninitial_trials = 1\nask_timeout_s = 6',
    )
    ran = hwnas("search", study, cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert "done: the search space is exhausted" in ran.stderr
    assert "generator: random (own_generator:generator failed: RuntimeError: out of ideas)" in ran.stderr
    assert "generator: random (own_generator:generator failed: no answer within 6 s)" in ran.stderr
    results = read_results(tmp_path / "runs" / "small")
    found = {trial.choices["kind"]: (trial.state, str(trial.reason)) for trial in results.trials}
    assert len(results.trials) == 5
    assert found["fine"] == ("completed", "None")
    words = {
        "raises": "profile: the space's build failed: RuntimeError: no such network",
        "not in onnx": "profile: export to ONNX failed",
        "nan": "NaN or infinite",
        "wrong shape": "has the shape",
    }
    for kind, part in words.items():
        assert found[kind][0] == "failed" and part in found[kind][1], found[kind]


def test_a_generator_that_cannot_be_made_ends_the_search_before_any_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And does not leave it to random candidates."""
    monkeypatch.syspath_prepend(tmp_path)  # for reading the results here
    source = "import sys\nfrom profiles.errors import {0}\ndef create(spec, seed):\n    raise {0}('it needs more')\n"
    study = write_study(tmp_path, generator='"refusing_generator:generator"')
    for error, code, options in (("UnavailableError", 3, []), ("InputError", 2, ["--resume"])):
        text = source.format(error) + "generator = sys.modules[__name__]\n"
        (tmp_path / "refusing_generator.py").write_text(text)
        ran = hwnas("search", study, *options, cwd=tmp_path)
        assert ran.returncode == code and "it needs more" in ran.stderr.splitlines()[-1], ran.stderr
        assert read_results(tmp_path / "runs" / "small").trials == []


def test_a_hopeless_search_ends_early_and_says_why(tmp_path: Path) -> None:
    study = write_study(tmp_path, "sys.exit('wrong data')", trials="20\nfailures = 1")
    ran = hwnas("search", study, cwd=tmp_path)
    assert ran.returncode == 3
    last = ran.stderr.splitlines()[-1]
    assert "2 trials failed (budget.failures = 1); the last one: training: exit code 1: wrong data" in last
    assert len(read_results(tmp_path / "runs" / "small").trials) < 6
    more = hwnas("search", study, "--resume", "--set", "budget.failures=2", "--trials", "20", cwd=tmp_path)
    assert more.returncode == 3 and "(budget.failures = 2)" in more.stderr


def resident_mb(pid: int) -> float | None:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS:")), None)
