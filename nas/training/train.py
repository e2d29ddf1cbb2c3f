"""The default training script: ``python train.py CANDIDATE_JSON OUT_DIR``. docs/own-training.md is its contract.

AdamW under a one-cycle learning rate, on ``cpus`` threads of the CPU, with deterministic algorithms: one seed, machine
and torch version give one set of weights, to the last bit. With ``gpus`` above 0 on the GPU that it sees, if any, where
not every operation is deterministic. ``learning_rate``, ``batch_size`` and ``epochs`` are taken from the choices
where the space has them, else from ``[train]``; ``weight_decay`` from the choices, else from DEFAULTS.

The weights kept are those of the last epoch. The best epoch on the validation set would be the maximum of noise, and
the one-cycle schedule is made to end well.

Exit 3, with one line on stderr, where the loss is no longer a number.
"""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.tensorboard import SummaryWriter

from nas import data as datasets
from nas import spaces
from nas.training.score import score
from profiles import files
from profiles.errors import HwnasError, TrialError

DEFAULTS = {"weight_decay": 1e-4, "cpus": 1, "gpus": 0}  # a search always says the last two


def main(arguments: list[str]) -> int:
    if len(arguments) != 2:
        print("usage: train.py CANDIDATE_JSON OUT_DIR", file=sys.stderr)
        return 2
    candidate, out_dir = json.loads(Path(arguments[0]).read_text()), Path(arguments[1])
    try:
        train(candidate, out_dir)
    except HwnasError as error:
        print(f"train: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def train(candidate: dict[str, Any], out_dir: Path) -> None:
    """Writes ``weights.pt``, then ``metrics.json``, and TensorBoard scalars of every epoch under ``tb``.

    Raises TrialError on a loss that is not finite and on batches of one row that a BatchNorm cannot normalise,
    InputError on bad choices.
    """
    settings = {**DEFAULTS, **candidate["train"], **candidate["choices"]}
    device = torch.device("cuda" if settings["gpus"] and torch.cuda.is_available() else "cpu")
    _reproducible(candidate["seed"], device, int(settings["cpus"]))
    data = datasets.load(**candidate["data"])
    space = spaces.find_space(candidate["space"])
    module = spaces.build(space, candidate["choices"], data.input_shape, data.outputs)
    # Channels last: half the time of a convolutional step on CPUs.
    memory_format = torch.channels_last if len(data.input_shape) == 3 else torch.contiguous_format
    module.to(device).to(memory_format=memory_format)  # type: ignore[call-overload]
    x = torch.from_numpy(data.x_train).to(device, memory_format=memory_format)
    y = torch.from_numpy(data.y_train).to(device)
    loss_of = nn.CrossEntropyLoss() if data.task == "classification" else nn.MSELoss()

    epochs, batch_size = int(settings["epochs"]), int(settings["batch_size"])
    steps = epochs * sum(1 for _ in _batches(len(x), batch_size))
    optimizer = torch.optim.AdamW(module.parameters(), weight_decay=float(settings["weight_decay"]), fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, float(settings["learning_rate"]), total_steps=steps + 1)
    metrics: dict[str, float] = {}
    with SummaryWriter(out_dir / "tb") as writer:
        for epoch in range(1, epochs + 1):
            module.train()
            losses = []
            for rows in _batches(len(x), batch_size):
                optimizer.zero_grad()
                loss = loss_of(_forward(module, x[rows]), y[rows])
                loss.backward()
                optimizer.step()
                schedule.step()
                losses.append(loss.item())
                if not math.isfinite(losses[-1]):
                    where = f"epoch {epoch}, step {len(losses)}"
                    raise TrialError(f"the loss is {losses[-1]} in {where}; a lower learning rate?")
            outputs = _outputs(module, torch.from_numpy(data.x_val), device)
            metrics = {f"val_{name}": value for name, value in score(data.task, outputs, data.y_val).items()}
            metrics["train_loss"] = sum(losses) / len(losses)
            if not all(map(math.isfinite, metrics.values())):
                raise TrialError(f"the outputs are no longer numbers after epoch {epoch}; a lower learning rate?")
            for name, value in metrics.items():
                writer.add_scalar(name, value, epoch)
            writer.flush()
    _save({name: tensor.cpu() for name, tensor in module.state_dict().items()}, out_dir / "weights.pt")
    files.write_json(out_dir / "metrics.json", metrics)


def _reproducible(seed: int, device: torch.device, threads: int) -> None:
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(True, warn_only=device.type != "cpu")
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # only costs time


def _forward(module: nn.Module, x: torch.Tensor) -> torch.Tensor:
    try:
        output: torch.Tensor = module(x)
    except ValueError as error:  # of one value per channel; one row of several positions can be normalised
        if len(x) == 1 and any(isinstance(layer, nn.modules.batchnorm._BatchNorm) for layer in module.modules()):
            raise TrialError(f"batch_size: given 1; accepted: from 2 with this network's BatchNorm: {error}") from error
        raise
    return output


def _batches(count: int, size: int) -> Iterator[torch.Tensor]:
    """Row numbers, shuffled anew. A single row that is left over joins no batch: BatchNorm cannot normalise one."""
    for rows in torch.randperm(count).split(size):
        if len(rows) > 1 or size == 1 or count == 1:
            yield rows


@torch.no_grad()
def _outputs(module: nn.Module, x: torch.Tensor, device: torch.device) -> Any:
    module.eval()
    return torch.cat([module(rows.to(device)).cpu() for rows in x.split(256)]).numpy()


def _save(state: dict[str, torch.Tensor], path: Path) -> None:
    """Whole or absent, so that a kill at the wrong moment leaves no half file behind."""
    beside = path.with_name(f".{path.name}")
    torch.save(state, beside)
    os.replace(beside, path)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
