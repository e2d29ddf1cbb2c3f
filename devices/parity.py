"""Is the output right? Compared before anything is timed: a fast model with a wrong output has no latency.

Floats are compared by how far they are off, integers and booleans by how many of them are equal: a class id is right or
wrong, however near. Integers of 8 bits are quantised values, which rounding moves by one, and count as floats.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from profiles.errors import ParityError

# precision -> largest error of floats accepted: fp32 and fp16 by `float_error`, int8 by `distance`, since rounding to 8
# bits moves single values by more. 0.14 is a cosine of 0.99 where only the direction is off.
TOLERANCE = {"fp32": 1e-4, "fp16": 1e-2, "int8": 0.14}
# precision -> least share of integers and booleans that must be equal. Narrower precisions turn decisions that were
# close: some of ten or more may turn, but not the single one of one sample, which nothing would tell from a wrong one.
LEAST_EQUAL = {"fp32": 1.0, "fp16": 0.9, "int8": 0.9}


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """The worst over the outputs of each kind; the defaults are those of a model without outputs of that kind."""

    error: float = 0.0  # largest |difference| over all outputs, relative to the reference output's largest |value|
    float_error: float = 0.0  # the same over floats alone
    distance: float = 0.0  # of floats: norm(output - reference) / norm(reference)
    equal: float = 1.0  # of integers and booleans: the share of elements that are equal


def agreement(outputs: dict[str, npt.NDArray[Any]], reference: dict[str, npt.NDArray[Any]]) -> Agreement:
    """How well ``outputs`` match ``reference``: by name, or in order where the names differ.

    With a reference output of zeros, ``error`` is the largest |difference| itself, and ``distance`` infinite unless the
    output is zeros too. Infinities that both have, as masked scores do, are equal where not all values are. Raises
    ParityError on NaN or other infinities in either, another number of outputs, or another shape.
    """
    if len(outputs) != len(reference):
        raise ParityError(f"the model has {len(outputs)} outputs and its reference {len(reference)}")
    if set(outputs) != set(reference):
        reference = dict(zip(outputs, reference.values(), strict=True))
    found = [_of_one(name, output, reference[name]) for name, output in outputs.items()]
    return Agreement(
        error=max((one.error for one in found), default=0.0),
        float_error=max((one.float_error for one in found), default=0.0),
        distance=max((one.distance for one in found), default=0.0),
        equal=min((one.equal for one in found), default=1.0),
    )


def same(outputs: dict[str, npt.NDArray[Any]], again: dict[str, npt.NDArray[Any]]) -> bool:
    """Of two runs with the same inputs: whether they gave the same, but for how parallel sums round."""
    return all(
        one.shape == again[name].shape
        and np.allclose(one.astype(np.float64), again[name].astype(np.float64), rtol=1e-3, atol=1e-6, equal_nan=True)
        for name, one in outputs.items()
    )


def judge(found: Agreement, precision: str) -> None:
    """Raises ParityError where the agreement is not good enough for ``precision``."""
    limit, least = TOLERANCE[precision], LEAST_EQUAL[precision]
    if found.equal < least:
        accepted = f"accepted for {precision}: from {100 * least:g} %"
        share = f"{100 * found.equal:.3g} % of the integers"
        raise ParityError(f"output is wrong: {share} are those of the reference; {accepted}")
    accepted = f"accepted for {precision}: up to {limit:g}"
    if precision == "int8" and found.distance > limit:
        raise ParityError(f"output is wrong: relative L2 error {found.distance:.2g} to the reference; {accepted}")
    if precision != "int8" and found.float_error > limit:
        raise ParityError(f"output is wrong: relative error {found.float_error:.2g} to the reference; {accepted}")


def _of_one(name: str, output: npt.NDArray[Any], expected: npt.NDArray[Any]) -> Agreement:
    if output.shape != expected.shape:
        shapes = f"{list(output.shape)} and its reference {list(expected.shape)}"
        raise ParityError(f"output {name} has the shape {shapes}")
    got, want = output.astype(np.float64).ravel(), expected.astype(np.float64).ravel()
    endless = np.isinf(want) & (got == want)
    if not endless.all():
        got[endless] = want[endless] = 0.0
    for who, values in (("the reference of output", want), ("output", got)):
        bad = int(np.count_nonzero(~np.isfinite(values)))
        if bad:
            raise ParityError(f"{bad} of {values.size} values of {who} {name} are NaN or infinite")
    if want.size == 0:
        return Agreement()
    with np.errstate(over="ignore"):
        error = float(np.abs(got - want).max()) / (float(np.abs(want).max()) or 1.0)
    if _decides(expected.dtype):
        return Agreement(error=error, equal=float(np.mean(output == expected)))
    with np.errstate(over="ignore"):
        off, norm = float(np.linalg.norm(got - want)), float(np.linalg.norm(want))
    return Agreement(error=error, float_error=error, distance=_distance(off, norm))


def _distance(off: float, norm: float) -> float:
    """Infinite where there is nothing to compare with, and where squares overflow."""
    if not off:
        return 0.0
    return off / norm if norm and np.isfinite(off) else np.inf


def _decides(dtype: np.dtype[Any]) -> bool:
    return dtype.kind == "b" or (dtype.kind in "iu" and dtype.itemsize > 1)
