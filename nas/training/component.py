"""The training job in TorchX's terms: a component, which ``torchx run`` can start as well."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torchx import specs

import nas
import profiles
from nas.training.job import DEFAULT
from nas.training.storage import SCRIPT
from profiles.errors import InputError


def train(
    candidate: str,
    out_dir: str,
    script: str,
    name: str = "hwnas",
    die_with: int = 0,
    python: str = sys.executable,
    image: str = "",
    cpu: int = 1,
    gpu: int = 0,
    memory_mb: int = 4096,
    threads: int = 1,
    ticket: str = "",
    visible_gpu: str | None = None,
    mounts: list[str] | None = None,
    storage: str = "",
) -> specs.AppDef:
    """One training job.

    Args:
        candidate: the candidate.json
        out_dir: folder for what the job writes
        script: the training script, see docs/own-training.md; "default": hwnas's own
        name: of the job, for people
        die_with: process id of the parent with which the job ends, 0 for none
        python: the interpreter there
        image: container image of schedulers that use one; hwnas is installed in it
        cpu: cores to ask the scheduler for
        gpu: GPUs to ask the scheduler for
        memory_mb: memory to ask the scheduler for
        threads: OMP_NUM_THREADS
        ticket: the job ends at once where out_dir/ticket holds another text; empty: it does not look
        visible_gpu: CUDA_VISIBLE_DEVICES, left alone where it is not given
        mounts: what the container sees of the outside, in TorchX's words: type=bind,src=/runs,dst=/runs
        storage: URL of the folder through which the job's files pass, see nas/training/storage.py; empty: candidate,
            out_dir and script are paths where it runs, too
    """
    if storage:
        arguments = ["-m", "nas.training.remote", storage, script if script == DEFAULT else SCRIPT]
    else:
        arguments = ["-m", "nas.training.job", candidate, out_dir, script]
    if die_with and not storage:
        arguments += ["--die-with", str(die_with)]
    arguments = [_as_it_is(argument) for argument in arguments]
    if ticket:
        arguments += [*([] if storage else ["--ticket", ticket]), "--app-id", specs.macros.app_id]
    environment = {"OMP_NUM_THREADS": str(threads), "PYTHONPATH": _as_it_is(_python_path(inside=bool(image)))}
    if visible_gpu is not None:
        environment["CUDA_VISIBLE_DEVICES"] = visible_gpu
    role = specs.Role(
        name="train",
        image=image,
        entrypoint=python,
        args=arguments,
        env=environment,
        resource=specs.Resource(cpu=cpu, gpu=gpu, memMB=memory_mb),
        mounts=mounts_of(mounts or []),
    )
    return specs.AppDef(name=_app_name(name), roles=[role])


def _as_it_is(text: str) -> str:
    """TorchX replaces ${...} in arguments and in the environment; "$$" stands for a dollar sign in a path."""
    return text.replace("$", "$$")


def mounts_of(given: Sequence[str]) -> list[Any]:
    """As TorchX has them. Raises InputError."""
    found = []
    for mount in given:
        try:
            found += specs.parse_mounts(mount.split(","))
        except (LookupError, ValueError, AssertionError):
            accepted = "type=bind, volume or device first, as in type=bind,src=/runs,dst=/runs,readonly=true"
            raise InputError.of("study", "train.mounts", mount, accepted) from None
    return found


def _python_path(inside: bool) -> str:
    """hwnas itself, the user's own modules in the current folder, and what was on the path already.

    ``inside`` a container that current folder alone, if it is there: the paths of this machine mean nothing.
    """
    if inside:
        return os.getcwd()
    packages = [str(Path(str(package.__file__)).parents[1]) for package in (nas, profiles)]
    given = [folder for folder in os.environ.get("PYTHONPATH", "").split(os.pathsep) if folder]
    return os.pathsep.join(dict.fromkeys([*packages, os.getcwd(), *given]))


def _app_name(name: str) -> str:
    """TorchX takes lower case letters, digits and dashes, beginning with a letter."""
    plain = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    return f"hwnas-{plain}"[:50].rstrip("-")
