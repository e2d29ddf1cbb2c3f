"""A data set of your own, in one file that numpy's ``savez`` or ``savez_compressed`` wrote.

    [data]
    name = "flowers.npz"     # or name = "npz", file = "flowers"

``x_train``, ``y_train``, ``x_val``, ``y_val`` and, if there is a test split, ``x_test``, ``y_test``.

    x   (n, ...) numbers; used as they are, so scale them before
    y   whole numbers (n,) from 0: a classification with as many classes as the largest label says
        floats (n,) or (n, targets): a regression
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from nas.data import Dataset
from profiles.errors import InputError

_NEEDED = ("x_train", "y_train", "x_val", "y_val")
_TEST = ("x_test", "y_test")


def load(file: str) -> Dataset:
    """Raises InputError, naming file and array. Nothing in the file is executed: pickled objects are refused."""
    arrays = _read(Path(file).expanduser())
    labels = arrays["y_train"]
    if labels.dtype.kind not in "iu":
        return Dataset(task="regression", outputs=labels.shape[1] if labels.ndim > 1 else 1, **arrays)
    known = [y for part in ("train", "val", "test") if (y := arrays[f"y_{part}"]) is not None]
    largest = max(int(y.max(initial=0)) for y in known if y.dtype.kind in "iu")
    return Dataset(task="classification", outputs=1 + largest, **arrays)


def _read(path: Path) -> dict[str, Any]:
    """The arrays by name, ``None`` for those of a test split that is not there."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            if not hasattr(archive, "files"):
                raise InputError(f"{path}: given one array; accepted: an .npz with {', '.join(_NEEDED)}")
            for name in _NEEDED:
                if name not in archive.files:
                    raise InputError(f"{path}: {name}: missing; there are: {', '.join(archive.files) or 'none'}")
            test = [name for name in _TEST if name in archive.files]
            if len(test) == 1:
                raise InputError(f"{path}: given {test[0]} alone; accepted: both of {' and '.join(_TEST)}, or neither")
            return dict.fromkeys(_TEST) | {name: archive[name] for name in (*_NEEDED, *test)}
    except (OSError, EOFError, ValueError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: not a readable .npz without pickled objects: {error}") from error
