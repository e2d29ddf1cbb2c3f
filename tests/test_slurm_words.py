"""What Slurm's commands say of jobs, and what is made of it: where TorchX 0.7 fails or does not look.

The commands are stand-ins that print what real ones printed; tests/systems/test_slurm.py has a real cluster.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from nas.slurm import Slurm

Say = Callable[..., None]


@pytest.fixture
def says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Say:
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
def test_states_on_the_way_are_those_of_a_job_that_runs(says: Say, state: str) -> None:
    """COMPLETING and CONFIGURING are unknown to TorchX."""
    says(f"7|{state}\\n")
    word = Slurm().word("7")
    assert word is not None and word.running


@pytest.mark.parametrize(
    ("states", "reason", "transient"),
    [
        ("7|CANCELLED by 0\\n", "Slurm: cancelled", False),  # an AssertionError in TorchX
        ("7|FAILED\\n7.0|OUT_OF_MEMORY\\n", "Slurm: out of memory (train.memory_mb)", False),  # of a step of the job
        ("7|TIMEOUT\\n7.batch|CANCELLED\\n", "Slurm: out of time (train.options.time)", False),
        ("7|NODE_FAIL\\n", "Slurm: the node failed", True),
        ("7|PREEMPTED+\\n", "Slurm: preempted", True),
        ("7|COMPLETED\\n7.batch|COMPLETED\\n", None, False),
        ("7|FAILED\\n", None, False),
        ("6|OUT_OF_MEMORY\\n7|FAILED\\n7.0|FAILED\\n8|TIMEOUT\\n", None, False),  # of others beside it
    ],
)
def test_why_a_job_ended(says: Say, states: str, reason: str | None, transient: bool) -> None:
    says(states)
    word = Slurm().word("7")
    assert word is not None and not word.running
    assert (word.reason, word.transient) == (reason, transient)


def test_without_accounts_the_controller_is_asked_and_silence_says_nothing(says: Say) -> None:
    says(None, "7|COMPLETING\\n")
    word = Slurm().word("7")
    assert word is not None and word.running
    says("", "")
    word = Slurm().word("7")
    assert word is not None and not word.running and word.transient is None  # the job's files decide
    says(None, None)
    assert Slurm().word("7") is None


def test_a_job_that_is_too_new_for_the_accounts_is_in_the_queue(says: Say) -> None:
    says("7|FAILED\\n", "8|PENDING\\n")
    slurm = Slurm()
    for job in ("7", "8", "9"):
        slurm.watch(job)
    words = [slurm.word(job) for job in ("7", "8", "9")]
    assert [word is not None and word.running for word in words] == [False, True, False]
    assert words[2] is not None and words[2].transient is None
