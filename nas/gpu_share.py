"""Which GPU a local training job gets: one that is not measured, the least used first."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from devices import gpus
from devices.fleet import Fleet
from profiles.records import Target

# By the first part of their names; these run on the GPU that CUDA numbers 0.
_ON_GPU = ("cuda", "tensorrt", "nvtensorrtrtx", "migraphx", "rocm")


def for_training(fleet: Fleet, targets: Iterable[Target], there: Sequence[str] | None = None) -> list[str] | None:
    """GPUs for the jobs of a search that measures ``targets``; ``None``: this machine has none, nothing is to be said.

    The first GPU is left out where a target of this machine runs on it; an empty list leaves the CPU to the jobs.
    ``there``: default is those that are visible.
    """
    found = gpus.visible() if there is None else list(there)
    if not found:
        return None
    measured = any(fleet.is_here(target.device) and target.provider.partition("-")[0] in _ON_GPU for target in targets)
    return found[1:] if measured else found


def least_used(available: Sequence[str], used: Sequence[str]) -> str:
    """For ``CUDA_VISIBLE_DEVICES``; empty where there is none to give."""
    return min(available, key=used.count, default="")
