"""What Slurm's commands say of a job, and what is made of it: where TorchX 0.7 fails or does not look.

The commands are stand-ins that print what real ones printed; tests/systems/test_slurm.py has a real cluster.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from nas import slurm


@pytest.fixture
def says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> object:
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    def say(sacct: str | None, squeue: str | None = None) -> None:
        for name, text in (("sacct", sacct), ("squeue", squeue)):
            lines = "exit 1" if text is None else f"printf '{text}'"
            (tmp_path / name).write_text(f"#!/bin/sh\n{lines}\n")
            (tmp_path / name).chmod(0o755)

    return say


@pytest.mark.parametrize(
    "state", ["PENDING", "CONFIGURING", "RUNNING", "COMPLETING", "SUSPENDED", "REQUEUED", "RESIZING"]
)
def test_states_on_the_way_are_those_of_a_job_that_runs(says: object, state: str) -> None:
    """COMPLETING and CONFIGURING are unknown to TorchX."""
    says(f"{state}\\n")  # type: ignore[operator]
    word = slurm.ask("7")
    assert word is not None and word.running


@pytest.mark.parametrize(
    ("states", "reason", "transient"),
    [
        ("CANCELLED by 0\\n", "Slurm: cancelled", False),  # an AssertionError in TorchX
        ("FAILED\\nOUT_OF_MEMORY\\n", "Slurm: out of memory (train.memory_mb)", False),  # of a step of the job
        ("TIMEOUT\\nCANCELLED\\n", "Slurm: out of time (train.options.time)", False),
        ("NODE_FAIL\\n", "Slurm: the node failed", True),
        ("PREEMPTED+\\n", "Slurm: preempted", True),
        ("COMPLETED\\nCOMPLETED\\n", None, False),
        ("FAILED\\n", None, False),
    ],
)
def test_why_a_job_ended(says: object, states: str, reason: str | None, transient: bool) -> None:
    says(states)  # type: ignore[operator]
    word = slurm.ask("7")
    assert word is not None and not word.running
    assert (word.reason, word.transient) == (reason, transient)


def test_without_accounts_the_controller_is_asked_and_silence_says_nothing(says: object) -> None:
    says(None, "COMPLETING\\n")  # type: ignore[operator]
    word = slurm.ask("7")
    assert word is not None and word.running
    says("", "")  # type: ignore[operator]
    word = slurm.ask("7")
    assert word is not None and not word.running and word.transient
    says(None, None)  # type: ignore[operator]
    assert slurm.ask("7") is None
