"""Data sets: arrays of a fixed train / validation / test split.

A data set is one file here with a function ``load(**options) -> Dataset`` (``nas/data/digits.py`` is the data set
``digits``), or a function of your own, named ``package.module:function``. The options are those of ``[data]`` in the
study, less ``name``. A name that ends in ``.npz`` is a file of yours, see ``nas/data/npz.py``.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from nas.data._checked import checked
from profiles import registry
from profiles.errors import HwnasError, InputError

Task = Literal["classification", "regression"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """``x_*`` float32 (n, *input_shape); ``y_*`` int64 (n,) from 0 to outputs - 1, or float32 (n, outputs) to regress.

    The test arrays have n = 0 where there is no test split. The search sees the training and validation arrays only.
    ``load`` puts what a data set returns into this form: see ``nas/data/_checked.py`` for what it takes beside it.
    """

    x_train: npt.NDArray[np.float32]
    y_train: npt.NDArray[Any]
    x_val: npt.NDArray[np.float32]
    y_val: npt.NDArray[Any]
    x_test: npt.NDArray[np.float32]
    y_test: npt.NDArray[Any]
    task: Task
    outputs: int  # classes, or targets

    @property
    def input_shape(self) -> tuple[int, ...]:
        return self.x_train.shape[1:]


def load(name: str, **options: Any) -> Dataset:
    """The data set of that name, in the form of ``Dataset``.

    Raises InputError on an unknown name or option, a file that cannot be used, or arrays that do not fit that form.
    """
    where = str(options.get("file", name) if name == "npz" else name)
    if name.endswith(".npz"):
        name, options = "npz", {"file": name, **options}
    plugin = registry.find("nas.data", name)
    function = getattr(plugin, "load", plugin)
    if not callable(function):
        raise InputError.of("data", "name", name, "the name of a function that returns a Dataset")
    _check_options(name, function, options)
    try:
        data = function(**options)
    except HwnasError:
        raise
    except Exception as error:  # a function of the user's: anything
        raise InputError(f"data: {name}: loading it failed: {type(error).__name__}: {error}") from error
    if not isinstance(data, Dataset):
        raise InputError(f"data.name: {name}: returned {type(data).__name__}; accepted: a nas.data.Dataset")
    return checked(data, where)


def _check_options(name: str, function: Any, options: dict[str, Any]) -> None:
    try:
        known = inspect.signature(function).parameters
    except (TypeError, ValueError):  # some of those written in C do not say
        return
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in known.values()):
        return
    for option in options:
        if option not in known:
            raise InputError(f"data.{option}: {name} has no such option; accepted: {', '.join(known) or 'none'}")
    for option, parameter in known.items():
        if parameter.default is parameter.empty and option not in options:
            raise InputError(f"data.{option}: missing; the data set {name} needs it")
