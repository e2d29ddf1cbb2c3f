"""Ax's own view of a run: the experiment as JSON, which a Python with Ax alone can open, and how good its models are.

    from ax.api.client import Client
    client = Client.load_from_json_file("runs/digits/ax_experiment.json")
    client.summarize()

The file holds the space, the objectives, the limits and every trial of the space with its data, under the trial's
number in the run (one less where trial 0 is a baseline that is an ONNX file, which no choices of the space describe).
Ax's default generation strategy stands in place of ours, so ``client.get_next_trials`` goes on from there. Metric names
are made safe for Ax as in ``nas.generators.ax``: ``latency_ms@local`` becomes ``latency_ms_at_local``.

Not in the file: metrics that are tracked only, the random seed (Ax drops it), and limits on objectives, which Ax takes
for thresholds.

    python -m nas.ax_view RUN       writes it, and prints ``[Fit, ...]`` of nas.quality as JSON
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas.generators import Observation, Spec
from nas.journal import Trial
from nas.lifeline import die_with_parent
from nas.own_process import run_module
from nas.quality import Fit, assess, unassessed
from nas.results import Results, read_results
from profiles import files
from profiles.errors import UnavailableError

if TYPE_CHECKING:
    from ax.api.client import Client

NAME = "ax_experiment.json"


def write(results: Results) -> list[Fit]:
    """Write ``ax_experiment.json`` into the run folder, whole or not at all; one ``Fit`` per modelled metric.

    In a process of its own: about 10 s, nearly all of it Ax's import. What goes wrong there is the ``reason`` of every
    fit, and the file is that of an earlier call, or absent.
    """
    try:
        return [_fit(value) for value in json.loads(run_module("nas.ax_view", results.folder.path))]
    except UnavailableError as error:
        return unassessed(results, str(error))


def client_of(results: Results) -> Client:
    """An Ax client that was told everything that was measured; what early-stopped trials could have reached was not."""
    from nas.generators.ax import create

    spec = Spec(parameters=results.parameters, objectives=results.objectives, limits=results.limits)
    generator = create(spec, results.study.seed)
    for trial in results.of_space:
        generator.observe(_observation(trial))
    return generator.client


def _observation(trial: Trial) -> Observation:
    match trial.state:
        case "failed":
            return Observation(choices=trial.choices, status="failed")
        case "completed" | "gated" | "early_stopped":
            return Observation(choices=trial.choices, status="done", values=trial.metrics, sems=trial.sems)
        case _:
            return Observation(choices=trial.choices, status="pending")


def _save(client: Client, path: Path) -> None:
    # The next proposal is Ax's own then, and the trials that are there count as its first, random ones.
    client.configure_generation_strategy(initialize_with_center=False)
    with tempfile.TemporaryDirectory(prefix="hwnas-") as place:
        scratch = Path(place) / path.name
        client.save_to_json_file(str(scratch))  # not atomic
        files.write_bytes(path, scratch.read_bytes())


def _assessed(results: Results, client: Client) -> list[Fit]:
    try:
        return assess(results, client)
    except Exception as error:  # whatever a library throws: the file is written all the same
        return unassessed(results, f"{type(error).__name__}: {error}")


def _fit(value: dict[str, Any]) -> Fit:
    fields: dict[str, Any] = {key: tuple(item) if isinstance(item, list) else item for key, item in value.items()}
    return Fit(**fields)


def main() -> None:
    die_with_parent()
    # The answer goes to the real stdout; whatever a library prints goes to stderr.
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    results = read_results(Path(sys.argv[1]))
    client = client_of(results)
    _save(client, results.folder.path / NAME)
    out.write(json.dumps([dataclasses.asdict(fit) for fit in _assessed(results, client)], allow_nan=False) + "\n")
    out.flush()


if __name__ == "__main__":
    main()
