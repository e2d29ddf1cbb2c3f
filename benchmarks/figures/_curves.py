"""Full learning curves of real candidates, recorded once and kept in ``benchmarks/tables/curves.csv.gz``.

    space, seed, candidate      which random search, and the candidate's place in it
    params, latency_ms          of the untrained network; latency on the CPU of the machine that recorded it
    epoch_1 ... epoch_10        accuracy on the validation set of ``digits`` after each epoch

All candidates are trained to the end by the default script. To record anew, delete the file: about 15 minutes.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from nas.spaces import Choice, build, find_space, mlp
from nas.study import Study, parameters_of
from profiles import files
from profiles.errors import HwnasError
from profiles.records import Profile

PATH = Path(__file__).resolve().parent.parent / "tables" / "curves.csv.gz"
EPOCHS = 10  # what a study trains for unless it says otherwise
CANDIDATES = 24
MOST_MACS = 2e6  # a limit, as a study has one: candidates above it are not trained, and not counted
SEEDS = range(5)


class LongMlp:
    """The space ``mlp``, but for the number of epochs, which is one and the same here."""

    parameters = (*(p for p in mlp.parameters if p.name != "epochs"), Choice("epochs", (EPOCHS,)))
    build = staticmethod(mlp.build)


SPACES = {"convnet": "convnet", "mlp": f"{__name__}:LongMlp"}


def curves(path: Path = PATH) -> Any:
    """The table as a data frame; recorded first where there is none."""
    import pandas as pd

    if not path.exists():
        record(path)
    return pd.read_csv(path)


def record(path: Path, seeds: Sequence[int] = SEEDS) -> None:
    """Write ``path``, whole or not at all. Raises what training and measuring raise."""
    import pandas as pd

    with tempfile.TemporaryDirectory(prefix="hwnas-curves-") as folder:
        rows = [row for seed in seeds for name in SPACES for row in _searched(name, seed, Path(folder))]
        beside = Path(folder) / path.name
        pd.DataFrame(rows).to_csv(beside, index=False, compression={"method": "gzip", "mtime": 0})
        files.write_bytes(path, beside.read_bytes())


def _searched(name: str, seed: int, folder: Path) -> Iterator[dict[str, Any]]:
    from nas.export import count, export_onnx
    from nas.generate import AskTell
    from nas.training.curves import read_curves
    from nas.training.train import train

    found = find_space(SPACES[name])
    spec = {"parameters": parameters_of(study(name)), "objectives": [], "space": SPACES[name], "generator": "random"}
    asked = AskTell(spec, seed)
    drawn: list[dict[str, Any]] = []
    paths: list[Path] = []
    sizes: list[int] = []
    while len(drawn) < CANDIDATES:
        (choices,) = asked.ask(1)
        module = build(found, choices, (1, 8, 8), 10)
        params, macs = count(module, (1, 8, 8))
        if macs <= MOST_MACS:
            path = folder / f"{name}-{seed}-{len(drawn)}.onnx"
            export_onnx(module, path, input_shape=(1, 8, 8))
            drawn.append(choices)
            paths.append(path)
            sizes.append(params)
    latencies_ms = _latencies_ms(paths)
    for number, choices in enumerate(drawn):
        place = folder / f"{name}-{seed}-{number}"
        settings = study(name).train.model_dump(include={"epochs", "batch_size", "learning_rate"})
        train(
            {"seed": seed, "space": SPACES[name], "choices": choices, "data": {"name": "digits"}, "train": settings},
            place,
        )
        row = {"space": name, "seed": seed, "candidate": number, "params": sizes[number]}
        row["latency_ms"] = round(latencies_ms[number], 5)
        yield row | {f"epoch_{step}": round(value, 5) for step, value in read_curves(place)["val_accuracy"]}


def study(name: str) -> Study:
    return Study.model_validate(
        {
            "name": name,
            "space": SPACES[name],
            "data": {"name": "digits"},
            "budget": {"trials": CANDIDATES},
            "train": {"epochs": EPOCHS},
            "objective": [{"metric": "val_accuracy", "goal": "max"}, {"metric": "latency_ms@local", "goal": "min"}],
        }
    )


def _latencies_ms(paths: Sequence[Path]) -> list[float]:
    from devices.fleet import load_fleet
    from devices.measure import profile_all
    from devices.plan import Job, Plan
    from devices.session import connect

    fleet = load_fleet()
    plan = Plan(processes=2, groups=2, memory=False)  # what is wanted here is which is faster, not by how much
    with connect(fleet.device("local"), "local") as session:
        found = profile_all(
            session, [Job(model=path, name=path.stem) for path in paths], fleet.target("local"), plan=plan
        )
    for profile in found:
        if isinstance(profile, HwnasError):
            raise profile
    return [p.latency_ms_calibrated for p in found if isinstance(p, Profile) and p.latency_ms_calibrated is not None]
