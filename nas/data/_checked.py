"""What a data set returned, brought into the form of ``Dataset`` or refused, before anything is measured or trained.

    x   numbers (n, ...) of one shape in all splits, finite as float32
    y   classification: whole numbers (n,) from 0 to outputs - 1
        regression: finite numbers (n, outputs), or (n,) where outputs is 1

Training and validation need a row each. A test split may be ``None``.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from profiles.errors import InputError

if TYPE_CHECKING:
    from nas.data import Dataset

_NUMBERS = "fiub"  # kinds of numpy's: float, whole, whole from 0, bool


def checked(data: Dataset, where: str) -> Dataset:
    """``data`` with x as float32 (n, *input_shape), y as int64 (n,) or float32 (n, outputs), no test split as n = 0.

    Raises InputError naming ``where``, the data set, and the array.
    """
    where = f"data: {where}"
    _check_task(data, where)
    arrays: dict[str, Any] = {}
    for part in ("train", "val", "test"):
        x, y = (_array(where, f"{axis}_{part}", getattr(data, f"{axis}_{part}")) for axis in "xy")
        if part == "test" and not len(x) and not len(y):
            x, y = arrays["x_train"][:0], arrays["y_train"][:0]
        if len(x) != len(y):
            raise InputError(
                f"{where}: x_{part} and y_{part}: given {len(x)} and {len(y)} rows; accepted: as many in both"
            )
        if part != "test" and not len(x):
            raise InputError(f"{where}: x_{part}: given no rows; accepted: at least one")
        arrays[f"x_{part}"] = _inputs(where, f"x_{part}", x, arrays.get("x_train", x))
        targets = _labels if data.task == "classification" else _targets
        arrays[f"y_{part}"] = targets(where, f"y_{part}", y, data.outputs)
    return dataclasses.replace(data, outputs=int(data.outputs), **arrays)


def _check_task(data: Dataset, where: str) -> None:
    if data.task not in ("classification", "regression"):
        raise InputError.of(where, "task", data.task, "classification or regression")
    if isinstance(data.outputs, bool) or not isinstance(data.outputs, (int, np.integer)) or data.outputs < 1:
        raise InputError.of(where, "outputs", data.outputs, "a whole number from 1")


def _array(where: str, name: str, given: Any) -> npt.NDArray[Any]:
    if given is None and name.endswith("_test"):
        return np.empty(0)
    try:
        array = np.asarray(given)
    except Exception as error:  # a tensor on a GPU, rows of unlike lengths
        raise InputError(f"{where}: {name}: given {type(given).__name__}; accepted: an array of numbers") from error
    if array.ndim == 0 or array.dtype.kind not in _NUMBERS:
        raise InputError(f"{where}: {name}: given {array.dtype} {array.shape}; accepted: an array of numbers")
    return array


def _inputs(where: str, name: str, x: npt.NDArray[Any], train: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    if x.ndim < 2 or x.shape[1:] != train.shape[1:]:
        first = "(n, ...) with at least one more axis"
        raise InputError.of(where, name, x.shape, first if x is train else f"(n, *{train.shape[1:]}), as x_train")
    return _floats(where, name, x)


def _labels(where: str, name: str, y: npt.NDArray[Any], outputs: int) -> npt.NDArray[np.int64]:
    accepted = f"labels, whole numbers (n,) from 0 to {outputs - 1}"
    if y.dtype.kind not in "iu" or y.ndim != 1:
        raise InputError(f"{where}: {name}: given {y.dtype} {y.shape}; accepted: {accepted}")
    if len(y) and (y.min() < 0 or y.max() >= outputs):
        raise InputError(f"{where}: {name}: given labels from {y.min()} to {y.max()}; accepted: {accepted}")
    return np.ascontiguousarray(y, np.int64)


def _targets(where: str, name: str, y: npt.NDArray[Any], outputs: int) -> npt.NDArray[np.float32]:
    # (n,) against outputs (n, 1) would broadcast to (n, n) in a loss
    table = y[:, None] if y.ndim == 1 and outputs == 1 else y
    if table.shape[1:] != (outputs,) or y.dtype.kind == "b":
        accepted = f"numbers (n, {outputs})" + (" or (n,)" if outputs == 1 else "")
        raise InputError(f"{where}: {name}: given {y.dtype} {y.shape}; accepted: {accepted}")
    return _floats(where, name, table)


def _floats(where: str, name: str, given: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """float32, without a copy where it is. The smallest and the largest tell of all whether they are finite."""
    with np.errstate(over="ignore"):
        array = np.ascontiguousarray(given, np.float32)
    if array.size and not np.isfinite([array.min(), array.max()]).all():
        raise InputError(f"{where}: {name}: given NaN or infinity; accepted: finite numbers, also as float32")
    return array
