"""Every GPU engine on two reference models, on a machine with an NVIDIA GPU; writes docs/results-gpu.md.

    python -m benchmarks.gpu_check [OUT.md] [--minutes N]       what `make gpu-check` runs

``--minutes``: nothing is begun after that long, and the page says what was left out. It is written anew after each row,
so that what was measured is kept where the check is cut off. Without a GPU: exit 3. For an engine that is missing here,
or that fails, the page has the reason.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.minutes import over_after
from benchmarks.tables import figure
from devices import gpus, measure
from devices.artifact import prepare
from devices.fleet import LOCAL, load_fleet
from devices.plan import Plan
from devices.session import Session, connect
from nas import models
from profiles.clock import utc_now
from profiles.errors import HwnasError, UnavailableError
from profiles.files import write_text
from profiles.records import Profile, Target

OUT = Path("docs/results-gpu.md")
MODELS = ("resnet8", "mobilenetv2")
HEADS = (
    *("model", "target", "latency, ms", "on the GPU, ms", "load, ms", "power, W", "energy, mJ"),
    *("error", "fallback", "flags"),
)
_INTRODUCTION = (
    "# GPU engines on two reference models",
    "",
    "`make gpu-check`: batch 1, transfers left out, one caller. Latency is the host's, with its standard error; on the",
    "GPU: between its own events, gaps included. Power and energy, by NVML, are of the board while inferences run back",
    "to back, in fp32; energy is of one inference, idle removed, with its standard error, idle's included.",
)
Found = Profile | HwnasError
Row = tuple[str, Target, Found]
_LEFT_OUT = UnavailableError("left out: the check ended before")
_SETTINGS = (
    ("onnxruntime", "cpu", ("fp32",)),
    ("onnxruntime", "cuda", ("fp32", "fp16")),
    ("onnxruntime", "cuda-graph", ("fp32", "fp16")),
    ("onnxruntime", "tensorrt", ("fp32", "fp16", "int8")),
    ("torch", "cuda-graph", ("fp32", "fp16")),
    ("torch", "cuda", ("fp32", "fp16")),
    ("torch", "cuda-compile", ("fp32", "fp16")),
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


def check(out: Path = OUT, minutes: float | None = None) -> None:
    """Raises UnavailableError where there is no NVIDIA GPU, or where no engine runs on it."""
    if not gpus.visible():
        raise UnavailableError("this needs an NVIDIA GPU and its driver; there is no /dev/nvidia0 here")
    fleet = load_fleet()
    with connect(fleet.device(LOCAL), LOCAL) as session:
        device = session.fingerprint(targets()[0])
        found = take(session, MODELS, targets(), over_after(minutes), lambda rows: _write(out, rows, device))
    if _on_gpu(found):
        return
    if any(each is _LEFT_OUT for _, _, each in found):
        raise UnavailableError(f"--minutes: given {minutes:g}, in which nothing was measured; accepted: more")
    reasons = "; ".join(dict.fromkeys(str(each) for _, _, each in found if isinstance(each, HwnasError)))
    raise UnavailableError(f"no engine runs on the GPU of this machine: {reasons}")


def _on_gpu(found: Sequence[Row]) -> list[Profile]:
    return [profile for _, _, profile in found if isinstance(profile, Profile) and profile.provider != "cpu"]


def _write(out: Path, found: Sequence[Row], device: Mapping[str, Any]) -> None:
    """The page, once there is a figure of the GPU."""
    measured = _on_gpu(found)
    if not measured:
        return
    versions = {name: version for profile in measured for name, version in profile.versions.items()}
    machine = ", ".join(str(device[part]) for part in ("cpu", "gpu") if device.get(part))
    told = ", ".join(f"{name} {version}" for name, version in sorted(versions.items()) if name != "agent")
    write_text(out, page(found, f"Taken {utc_now()[:16]} UTC on {machine}: {told}."))


def page(found: Sequence[Row], last: str) -> str:
    """What was measured as a table; below it, by reason, what was not."""
    rows = [_row(name, target, one) for name, target, one in found if isinstance(one, Profile)]
    table = [_line(cells) for cells in (HEADS, ["---"] * len(HEADS), *rows)]
    lacking = [f"- Not measured, {why}: {', '.join(what)}." for why, what in _lacking(found).items()]
    return "\n".join([*_INTRODUCTION, "", *table, "", *lacking, *([""] if lacking else []), last, ""])


def _lacking(found: Sequence[Row]) -> dict[str, list[str]]:
    """Reason -> what was not measured for it."""
    reasons: dict[str, list[str]] = {}
    for name, target, one in found:
        if isinstance(one, HwnasError):
            reasons.setdefault(_reason(name, one), []).append(f"{name} on {target.name}")
        elif _metered(target) and "energy_mj" in one.missing:
            reasons.setdefault(one.missing["energy_mj"], []).append(f"the energy of {name} on {target.name}")
    return reasons


def _reason(name: str, error: HwnasError) -> str:
    """Without the model, which differs from row to row, and its path."""
    return str(error).replace(f"{models.job(name).model}: ", "").replace(f"{name}: ", "")


def take(
    session: Session,
    names: Sequence[str],
    wanted: Sequence[Target],
    over: Callable[[], bool],
    keep: Callable[[list[Row]], None],
) -> list[Row]:
    """One profile a model and target, or why there is none; told on stderr on the way.

    ``over``: whether nothing more is to be begun. ``keep``: takes all rows after each that is new; those still to come
    are "left out" in them.
    """
    found: dict[tuple[str, str], Found] = {(name, target.name): _LEFT_OUT for name in names for target in wanted}

    def rows() -> list[Row]:
        return [(name, target, found[name, target.name]) for name in names for target in wanted]

    for target in wanted:
        for name in names:
            if not over():
                found[name, target.name] = _profiled(session, name, target)
                keep(rows())
    return rows()


def _profiled(session: Session, name: str, target: Target) -> Found:
    # A GPU's memory is not read, so there is no pass over it.
    plan = Plan(memory=target.provider == "cpu", meter={"name": "nvml"} if _metered(target) else None)
    told = f"{name} on {target.name}:"
    try:
        found = measure.profile(session, prepare(session, models.job(name), target), target, plan=plan)
    except HwnasError as error:
        if session.closed:
            raise
        print(told, error, file=sys.stderr, flush=True)
        return error
    print(told, " | ".join(_row(name, target, found)[2:]), file=sys.stderr, flush=True)
    return found


def _metered(target: Target) -> bool:
    return target.precision == "fp32" and target.provider != "cpu"


def _row(name: str, target: Target, found: Profile) -> list[str]:
    return [
        name,
        target.name,
        figure(found.latency_ms_calibrated, found.latency_ms_sem),
        figure(found.device_latency_ms),
        figure(found.load_ms),
        figure(found.power_w),
        figure(found.energy_mj, found.energy_mj_sem),
        figure(found.output_error),
        f"{found.fallback_percent:.0f} %",
        ", ".join(found.flags),
    ]


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="gpu-check", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("out", nargs="?", type=Path, default=OUT, metavar="OUT.md")
    parser.add_argument("--minutes", type=float, help="nothing is begun after that long")
    given = parser.parse_args(arguments)
    try:
        check(given.out, given.minutes)
    except HwnasError as error:
        print(f"gpu-check: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
