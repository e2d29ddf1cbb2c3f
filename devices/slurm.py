"""What TorchX 0.7 leaves to be said to Slurm, of trainings and of the job that is a device."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

from profiles.errors import UnavailableError

SESSION = "hwnas"  # TorchX's word for what jobs belong to; it stands in their handles
_ANSWER_S = 30.0


def complete(request: Any) -> None:
    """TorchX's request for a job, changed in place: to have what it asks for, and to run once."""
    for replica in request.replicas.values():
        # What starts a job that was preempted in its place is hwnas; Slurm would run the old one beside it.
        replica.sbatch_opts.pop("requeue", None)
        replica.sbatch_opts["no-requeue"] = None
        # srun does not take that over from the batch job since Slurm 22.05: it would give the process one core.
        if cores := replica.sbatch_opts.get("cpus-per-task"):
            replica.srun_opts["cpus-per-task"] = cores


def submit(request: Any, longest_s: float) -> str:
    """The handle of a job whose ``request`` names its ``job_dir``. TorchX would wait for ever, and keep the reason of a
    refusal to itself.

    Raises UnavailableError with that reason, OSError.
    """
    script = Path(request.job_dir) / "torchx-sbatch.sh"
    command = [*request.cmd, f"--chdir={request.job_dir}", str(script)]
    script.write_text(request.materialize())
    try:
        done = subprocess.run(command, capture_output=True, timeout=longest_s, check=False)
    except subprocess.TimeoutExpired as error:  # sbatch tries again by itself, and says why
        said = f"{command[0]}: no answer within {longest_s:g} s {_said(error.stderr)}"
        raise UnavailableError(said.rstrip()) from None
    if done.returncode != 0:
        raise UnavailableError(_said(done.stderr) or f"{command[0]}: exit code {done.returncode}")
    number = done.stdout.decode().strip().partition(";")[0]  # in a federation, "7;cluster"
    return f"slurm://{SESSION}/{number}"


def id_of(handle: str) -> str:
    """As Slurm calls the job that TorchX calls ``handle``."""
    return handle.rpartition("/")[2]


def cancel(handle: str) -> None:
    """TorchX would ask ``sacct`` first, and cancel nothing where the cluster keeps no accounts.

    Raises OSError or subprocess.SubprocessError.
    """
    subprocess.run(["scancel", id_of(handle)], capture_output=True, timeout=_ANSWER_S, check=True)


def _said(stderr: bytes | None) -> str:
    """In one line."""
    return " ".join((stderr or b"").decode(errors="replace").split())
