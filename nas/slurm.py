"""Jobs of Slurm, by its own commands. See ``nas.torchx_jobs`` for all other schedulers.

TorchX 0.7 asks ``sacct`` too, but it fails on "CANCELLED by 0", COMPLETING and CONFIGURING, does not look at the job's
steps, where it stands that the memory was used up, and neither knows nor cancels anything where the cluster keeps no
accounts.
"""

from __future__ import annotations

import math
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from devices import slurm
from devices.slurm import id_of
from nas.deadline import within
from nas.training.outcome import Word

if TYPE_CHECKING:
    from torchx.specs import AppDryRunInfo

_ANSWER_S = 30.0
_SUBMIT_S = 60.0
_ASK_S = 2.0  # Slurm is asked about a job at most this often
_LEAVE_S = 120.0  # a command that gave no answer is left alone for so long

# State -> why it ended and whether trying again can help. All others are states of a job that has not ended yet.
# The first that occurs among the job's and its steps' states is the reason; COMPLETED and FAILED say nothing.
_ENDED: dict[str, tuple[str | None, bool]] = {
    "OUT_OF_MEMORY": ("Slurm: out of memory (train.memory_mb)", False),
    "TIMEOUT": ("Slurm: out of time (train.options.time)", False),
    "DEADLINE": ("Slurm: past its deadline", False),
    "NODE_FAIL": ("Slurm: the node failed", True),
    "BOOT_FAIL": ("Slurm: the node did not boot", True),
    "PREEMPTED": ("Slurm: preempted", True),
    "REVOKED": ("Slurm: revoked", True),
    "CANCELLED": ("Slurm: cancelled", False),
    "FAILED": (None, False),
    "COMPLETED": (None, False),
}


class Slurm:
    """Each question is a process, and may take until it times out: so one question is about all jobs under way."""

    def __init__(self) -> None:
        self._asked: dict[str, tuple[float, Word | None]] = {}  # job -> when (monotonic s), and the answer
        self._left_until: dict[str, float] = {}  # command -> monotonic s
        self._lock = threading.Lock()  # threads that cancel jobs ask, too

    def submit(self, request: Callable[[], AppDryRunInfo[Any]]) -> str:
        """The handle. Raises what ``devices.slurm.submit`` raises, TimeoutError where TorchX asks for ever."""
        handle = slurm.submit(within(_ANSWER_S, request).request, _SUBMIT_S)
        self.watch(handle)
        return handle

    def cancel(self, handle: str) -> None:
        """Raises OSError or subprocess.SubprocessError."""
        slurm.cancel(handle)

    def watch(self, handle: str) -> None:
        """Have each question be about that job, too, until it has ended."""
        with self._lock:
            self._asked.setdefault(id_of(handle), (-math.inf, None))

    def word(self, handle: str) -> Word | None:
        """What Slurm says, at most ``_ASK_S`` ago; ``None`` where it does not answer now."""
        job_id = id_of(handle)
        with self._lock:
            when, _ = self._asked.get(job_id, (-math.inf, None))
            if time.monotonic() - when > _ASK_S:
                under_way = [job for job, (_, word) in self._asked.items() if word is None or word.running]
                answers = self._ask(sorted({job_id, *under_way}))
                now = time.monotonic()
                self._asked |= {job: (now, word) for job, word in answers.items()}
            return self._asked[job_id][1]

    def why_queued(self, handle: str) -> str:
        """Slurm's reason, such as "Resources" or "PartitionTimeLimit"; empty where there is none."""
        said = (self._run("squeue", "--noheader", "--format=%r", _option([id_of(handle)])) or "").strip()
        return "" if said == "None" else said

    def _ask(self, jobs: Sequence[str]) -> dict[str, Word | None]:
        states = self._sacct(jobs)
        unknown = [job for job in jobs if job not in states]
        if unknown:
            states |= self._squeue(unknown)
        return {job: _word(states[job]) if job in states else None for job in jobs}

    def _sacct(self, jobs: Sequence[str]) -> dict[str, list[str]]:
        """Of those that it knows: none that is too new, and none at all where the cluster keeps no accounts."""
        return _states(self._run("sacct", "--noheader", "--parsable2", "--format=JobID,State", _option(jobs)) or "")

    def _squeue(self, jobs: Sequence[str]) -> dict[str, list[str]]:
        """As the controller has them, which forgets a job some minutes after its end; none where it is silent."""
        said = self._run("squeue", "--noheader", "--states=all", "--format=%i|%T", _option(jobs))
        if said is None:
            return {}
        known = _states(said)
        return {job: known.get(job, []) for job in jobs}

    def _run(self, command: str, *arguments: str) -> str | None:
        """What it prints; ``None`` where it gives no answer, or gave none a short while ago."""
        if time.monotonic() < self._left_until.get(command, -math.inf):
            return None
        try:
            found = subprocess.run(
                [command, *arguments], capture_output=True, text=True, timeout=_ANSWER_S, check=False
            )
            # This squeue says of a single job that it has forgotten; of several it leaves that one out.
            if found.returncode == 0 or "Invalid job id" in found.stderr:
                return found.stdout
        except (OSError, subprocess.TimeoutExpired):
            pass
        self._left_until[command] = time.monotonic() + _LEAVE_S
        return None


def _word(states: Sequence[str]) -> Word:
    """``states``: of the job, then of its steps; none where Slurm does not know it."""
    if not states:
        return Word(running=False, reason="Slurm no longer knows the job", transient=None, forgotten=True)
    if states[0] not in _ENDED:
        return Word(running=True, suspended=states[0] == "SUSPENDED")
    found = next(state for state in _ENDED if state in states)
    reason, transient = _ENDED[found]
    return Word(running=False, reason=reason, transient=transient)


def _option(jobs: Sequence[str]) -> str:
    return f"--jobs={','.join(jobs)}"


def _states(text: str) -> dict[str, list[str]]:
    """From lines of job or step, and state. A step is '7.batch', and 'CANCELLED by 0' is 'CANCELLED'."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        name, _, state = line.partition("|")
        if state.strip():
            found.setdefault(name.partition(".")[0].strip(), []).append(state.split()[0].rstrip("+"))
    return found
