"""Learning curves, from the TensorBoard files that a training script wrote. Any script's scalars are read."""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader  # type: ignore[import-untyped]
from tensorboard.util import tensor_util  # type: ignore[import-untyped]

Curves = dict[str, list[tuple[float, float]]]


@dataclass(slots=True)
class _File:
    """``loader`` goes on where it stopped; ``points`` are those that it has given."""

    loader: Any
    inode: int
    size: int = 0
    points: dict[str, dict[int, float]] = field(default_factory=dict)


Known = dict[Path, _File]


def read_curves(folder: Path, known: Known | None = None) -> Curves:
    """{metric: [(step, value), ...]} in order of steps, of all event files under ``folder``; {} where there are none.

    Where a step was written twice, the later file or record counts. Values that are not finite are left out. A file
    that is being written, was cut off or is damaged gives what comes before.

    ``known``: what earlier calls have read of this folder, at first {}; then only what is new is read, and added to it.
    """
    known = {} if known is None else known
    points: dict[str, dict[int, float]] = {}
    for path in sorted(folder.rglob("events.out.tfevents.*"), key=lambda path: path.name):
        try:
            known[path] = file = _opened(path, known.get(path))
        except OSError:
            continue
        with suppress(OSError, DecodeError):
            _read_on(file)
        for metric, steps in file.points.items():
            points.setdefault(metric, {}).update(steps)
    return {metric: sorted(steps.items()) for metric, steps in points.items()}


def _opened(path: Path, before: _File | None) -> _File:
    """As it was left, unless another file has taken its place."""
    now = path.stat()
    if before is None or before.inode != now.st_ino or now.st_size < before.size:
        before = _File(EventFileLoader(str(path)), now.st_ino)
    before.size = now.st_size
    return before


def _read_on(file: _File) -> None:
    for event in file.loader.Load():  # it stops at a record that is cut off
        for value in event.summary.value:
            if not value.HasField("tensor"):
                continue
            array = tensor_util.make_ndarray(value.tensor)  # the loader gives scalars in this form, old or new
            if array.size == 1 and array.dtype.kind == "f" and math.isfinite(number := float(array.item())):
                file.points.setdefault(value.tag, {})[event.step] = number
