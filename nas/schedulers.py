"""What hwnas knows of TorchX's schedulers by name: what they need, and the options that they take."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

from torchx.specs import runopts

from profiles.errors import InputError, UnavailableError

LOCAL = "local_cwd"
# Their jobs run in a container: train.image says in which.
IN_CONTAINERS = ("local_docker", "kubernetes", "kubernetes_mcad", "aws_batch", "aws_sagemaker", "lsf")
# The option that stands before the job's name in a handle.
PLACE = {"kubernetes": "namespace", "aws_batch": "queue"}
# The option that names the folder for what the scheduler itself writes; Slurm would write where hwnas was started.
OUTPUT_FOLDER = {LOCAL: "log_dir", "slurm": "job_dir"}
_NEEDS = {"kubernetes": "kubernetes", "kubernetes_mcad": "kubernetes", "aws_batch": "boto3", "aws_sagemaker": "boto3"}
_EXTRAS = {"kubernetes": "kubernetes", "boto3": "aws"}


def needs(scheduler: str) -> str | None:
    """The package that TorchX needs for it."""
    return _NEEDS.get(scheduler)


def require(scheduler: str) -> None:
    """Raises UnavailableError where the package that it needs is missing."""
    package = needs(scheduler)
    if package is not None and find_spec(package) is None:
        raise UnavailableError(
            f"the scheduler {scheduler} needs the package {package}: pip install 'hwnas[{_EXTRAS[package]}]'"
        )


def checked(options: Mapping[str, Any], accepted: runopts) -> dict[str, Any]:
    """As TorchX's scheduler takes them; ``time = 5`` is "5". Raises InputError on a name or a type that it does not."""
    known = {name: option.opt_type for name, option in accepted}
    for name, option in accepted:
        if option.is_required and name not in options:
            raise InputError(f"study: train.options.{name}: not given; accepted: {option.help}")
    taken = {}
    for name, value in options.items():
        if name not in known:
            raise InputError.of("study", f"train.options.{name}", value, ", ".join(sorted(known)) or "no option")
        kind = known[name]
        taken[name] = str(value) if kind is str and type(value) is int else value
        if not runopts.is_type(taken[name], kind):
            raise InputError.of("study", f"train.options.{name}", value, str(getattr(kind, "__name__", kind)))
    return taken
