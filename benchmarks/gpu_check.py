"""Every GPU engine on two reference models, on a machine with an NVIDIA GPU; writes docs/results-gpu.md.

    python -m benchmarks.gpu_check [OUT.md]       what `make gpu-check` runs

Without a GPU: exit 3. An engine that is missing here, or that fails, has its reason in the table instead of figures.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.tables import figure
from devices import gpus, measure
from devices.artifact import prepare
from devices.fleet import LOCAL, load_fleet
from devices.measure import Plan
from devices.session import Session, connect
from nas import models
from profiles.clock import utc_now
from profiles.errors import HwnasError, UnavailableError
from profiles.files import write_text
from profiles.records import Profile, Target

OUT = Path("docs/results-gpu.md")
MODELS = ("resnet8", "mobilenetv2")
HEADS = ("model", "target", "latency, ms", "on the GPU, ms", "load, ms", "power, W", "energy, mJ", "error", "fallback")

_SETTINGS = (
    ("onnxruntime", "cpu", ("fp32",)),
    ("onnxruntime", "cuda", ("fp32", "fp16")),
    ("onnxruntime", "tensorrt", ("fp32", "fp16", "int8")),
    ("torch", "cuda", ("fp32", "fp16")),
    ("torch", "cuda-compile", ("fp32", "fp16")),
    ("torch", "cuda-graph", ("fp32", "fp16")),
    ("torch_tensorrt", "tensorrt", ("fp32", "fp16")),
)


def targets() -> list[Target]:
    """All of this machine, without transfers; nodes may fall back, since how many do is a result."""
    return [
        Target(
            name=f"{engine}-{provider}-{precision}",
            device=LOCAL,
            engine=engine,
            provider=provider,
            precision=precision,
            transfers=provider == "cpu",
            max_fallback=100.0,
        )
        for engine, provider, precisions in _SETTINGS
        for precision in precisions
    ]


def check(out: Path = OUT) -> None:
    """Raises UnavailableError where there is no NVIDIA GPU, or where no engine runs on it."""
    if not gpus.visible():
        raise UnavailableError("this needs an NVIDIA GPU and its driver; there is no /dev/nvidia0 here")
    fleet = load_fleet()
    with connect(fleet.device(LOCAL), LOCAL) as session:
        found = list(take(session, MODELS, targets(), Plan(meter={"name": "nvml"})))
        device = session.fingerprint(targets()[0])
    measured = [profile for _, _, profile in found if isinstance(profile, Profile) and profile.provider != "cpu"]
    if not measured:
        reasons = "; ".join(dict.fromkeys(str(each) for _, _, each in found if isinstance(each, HwnasError)))
        raise UnavailableError(f"no engine runs on the GPU of this machine: {reasons}")
    versions = {name: version for profile in measured for name, version in profile.versions.items()}
    text = [
        "# GPU engines on two reference models",
        "",
        "`make gpu-check`: batch 1, transfers left out, one caller. Power and energy, by NVML, of what runs on the GPU",
        "in fp32: a minute and more for each.",
        "",
    ]
    text += [_line(HEADS), _line(["---"] * len(HEADS)), *(_line(_row(*each)) for each in found), ""]
    unmetered = dict.fromkeys(one.missing.get("energy_mj") for one in measured if one.target.precision == "fp32")
    text += [*(f"- energy not measured: {reason}" for reason in unmetered if reason), ""]
    told = ", ".join(f"{name} {version}" for name, version in sorted(versions.items()))
    text += [f"Taken {utc_now()[:16]} UTC on {device['cpu']}: {told}."]
    write_text(out, "\n".join(text) + "\n")


def take(
    session: Session, names: Sequence[str], wanted: Sequence[Target], plan: Plan
) -> Iterator[tuple[str, Target, Profile | HwnasError]]:
    """One profile a model and target, or why there is none; told on stderr on the way. The plan's meter is for what
    runs in fp32 on a GPU."""
    for name in names:
        job = models.job(name)
        for target in wanted:
            print(f"{name} on {target.name}", file=sys.stderr, flush=True)
            metered = target.precision == "fp32" and target.provider != "cpu"
            here = plan if metered else dataclasses.replace(plan, meter=None)
            try:
                profile = measure.profile(session, prepare(session, job, target), target, plan=here)
                yield name, target, profile
            except HwnasError as error:
                if session.closed:
                    raise
                yield name, target, error


def _row(name: str, target: Target, found: Profile | HwnasError) -> list[str]:
    if isinstance(found, HwnasError):
        return [name, target.name, str(found).replace("|", "/"), *["-"] * (len(HEADS) - 3)]
    return [
        name,
        target.name,
        figure(found.latency_ms_calibrated, found.latency_ms_sem),
        figure(found.device_latency_ms),
        figure(found.load_ms),
        figure(found.power_w),
        figure(found.energy_mj, found.energy_mj_sd),
        figure(found.output_error),
        f"{found.fallback_percent:.0f} %",
    ]


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def main(arguments: list[str]) -> int:
    try:
        check(Path(arguments[0]) if arguments else OUT)
    except HwnasError as error:
        print(f"gpu-check: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
