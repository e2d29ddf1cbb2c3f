"""What a model is fed with when it is timed: random, of the right type, shape and range, never zeros.

Zeros are refused because they are not typical: sparse kernels and denormals make them faster or slower than data.
"""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from profiles.errors import InputError

Arrays = dict[str, npt.NDArray[Any]]

_PIECE = 16384  # random values drawn at once
# What numpy raises on an .npz that is damaged, encrypted, or compressed by a method that Python does not know.
_UNREADABLE = (OSError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error)


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """One input of a model. ``dims``: a number, or a name where the model leaves the size open."""

    name: str
    dtype: str  # numpy's name, as "float32"
    dims: tuple[int | str, ...]


def shapes_of(inputs: Sequence[Input], batch: int, shapes: Mapping[str, Sequence[int]]) -> dict[str, tuple[int, ...]]:
    """The shape of each input: as given in ``shapes``, else the model's. The first dimension is that of the batch:
    where no shape is given, or one that begins with 1, it is what the model fixes, or else ``batch``.

    Raises InputError on an unknown name, a shape that contradicts the model, an open dimension that nothing fixes, and
    a batch above 1 that is not that of a shape, or for a model whose batch is fixed to something else.
    """
    known = {tensor.name for tensor in inputs}
    for name in shapes:
        if name not in known:
            raise InputError(f"--shape {name}: the model has no such input; it has: {', '.join(sorted(known))}")
    lacking = [tensor for tensor in inputs if tensor.name not in shapes and _open(tensor)]
    if lacking:
        left = ", ".join(f"{tensor.name} [{_dims(tensor)}]" for tensor in lacking)
        example = " ".join(f"--shape {tensor.name}={_example(tensor)}" for tensor in lacking)
        raise InputError(f"the model leaves dimensions open: {left}; give sizes, such as {example}")
    found = {tensor.name: _shape(tensor, batch, shapes.get(tensor.name)) for tensor in inputs}
    _check_batch(inputs, batch)
    return found


def random_inputs(inputs: Sequence[Input], shapes: Mapping[str, tuple[int, ...]], seed: int) -> Arrays:
    """Standard normal floats, small integers, random booleans. Wide integers are 1: a valid index of any table, that of
    two token types included, and what a mask holds that hides nothing; those of 8 and 16 bits are 1 to 9."""
    generator = np.random.default_rng(seed)
    return {tensor.name: _random(tensor, shapes[tensor.name], generator) for tensor in inputs}


def read_npz(path: Path, inputs: Sequence[Input], batch: int | None = None) -> Arrays:
    """Arrays of an .npz file for all inputs, by name: whole, or with ``batch`` so many samples along the first axis as
    are run at once, which is ``batch`` or what the model fixes. Raises InputError where one is missing, too short, or
    of another type or shape, and on a batch as ``shapes_of`` does.
    """
    try:
        loaded = np.load(path, allow_pickle=False)
        if not isinstance(loaded, np.lib.npyio.NpzFile):
            raise InputError(f"{path}: given one array without a name; accepted: an .npz file, as np.savez writes it")
        with loaded as file:
            arrays = {name: file[name] for name in file.files}
    except _UNREADABLE as error:
        raise InputError(f"{path}: not a readable .npz file of plain arrays: {error}") from None
    if batch is not None:
        _check_batch(inputs, batch)
        arrays |= _first_samples(arrays, inputs, batch, path)
    return check(arrays, inputs, str(path))


def check(arrays: Arrays, inputs: Sequence[Input], where: str) -> Arrays:
    """The arrays that the model asks for. Raises InputError where one is missing, or of another type or shape."""
    for tensor in inputs:
        array = arrays.get(tensor.name)
        if array is None:
            raise InputError(f"{where}: no array named {tensor.name!r}; it has: {', '.join(sorted(arrays)) or 'none'}")
        fits = len(array.shape) == len(tensor.dims) and all(
            isinstance(dim, str) or dim == size for dim, size in zip(tensor.dims, array.shape, strict=True)
        )
        if array.dtype != tensor.dtype or not fits:
            given = f"{array.dtype}{list(array.shape)}"
            raise InputError(f"{where}: {tensor.name}: given {given}; accepted: {tensor.dtype}[{_dims(tensor)}]")
    return {tensor.name: np.require(arrays[tensor.name], requirements="C") for tensor in inputs}


def _shape(tensor: Input, batch: int, given: Sequence[int] | None) -> tuple[int, ...]:
    if given is not None:
        first = tensor.dims[0] if len(tensor.dims) > 1 and len(given) > 1 else None  # a vector has no batch
        if first is not None and given[0] == 1:
            given = (batch if isinstance(first, str) else first, *given[1:])
        elif batch > 1 and isinstance(first, str) and given[0] != batch:
            sizes = "x".join(map(str, given))
            raise InputError(f"--shape {tensor.name}={sizes}: given a batch of {batch}; accepted: of 1 or {batch} here")
        fits = len(given) == len(tensor.dims) and all(
            size >= (position == 0) and (isinstance(dim, str) or dim == size)  # an empty cache of a decoder: 1x0x64
            for position, (dim, size) in enumerate(zip(tensor.dims, given, strict=True))
        )
        if not fits:
            sizes = "x".join(map(str, given))
            raise InputError(f"--shape {tensor.name}={sizes}: accepted: a shape that fits [{_dims(tensor)}]")
        return tuple(given)
    if tensor.dims[:1] == (0,):
        raise InputError(f"input {tensor.name} [{_dims(tensor)}]: accepted: a first dimension above 0")
    return tuple(batch if isinstance(dim, str) else dim for dim in tensor.dims)


def _first_samples(arrays: Arrays, inputs: Sequence[Input], batch: int, path: Path) -> Arrays:
    """Those that are longer than what is run at once, cut, and copied so that the rest is freed."""
    known = [one for one in inputs if one.dims and one.name in arrays and arrays[one.name].ndim == len(one.dims)]
    found = {one.name: arrays[one.name][: one.dims[0]].copy() for one in known if isinstance(one.dims[0], int)}
    open_ones = [one for one in known if isinstance(one.dims[0], str)]
    samples = sample_names(open_ones, arrays)
    if samples:
        length = len(arrays[samples[0]])
        if length < batch:
            raise InputError(f"{path}: {samples[0]}: given {length} samples; accepted: from {batch}, the batch")
        found |= {name: arrays[name][:batch].copy() for name in samples}
    elif batch > 1 and open_ones and batch not in {len(arrays[one.name]) for one in open_ones}:
        given = ", ".join(f"{len(arrays[one.name])} of {one.name}" for one in open_ones)
        raise InputError(f"{path}: given {given}; accepted with a batch of {batch}: as many samples of each")
    return found


def sample_names(inputs: Sequence[Input], arrays: Arrays) -> list[str]:
    """Of ``inputs``, which have an open first axis, those whose first axis is that of samples: where all but vectors
    are equally long, these, and the vectors of that length, such as lengths or masks. Else none.
    """
    wide = [one.name for one in inputs if len(one.dims) > 1]
    lengths = {len(arrays[name]) for name in wide}
    if len(lengths) != 1:
        return []
    vectors = [one.name for one in inputs if len(one.dims) == 1]
    return wide + [name for name in vectors if len(arrays[name]) in lengths]


def _check_batch(inputs: Sequence[Input], batch: int) -> None:
    first = [tensor.dims[0] for tensor in inputs if tensor.dims]
    if batch > 1 and not first:
        raise InputError(f"batch: given {batch}; accepted: 1, since no input of the model has a first dimension")
    if batch > 1 and all(isinstance(dim, int) and dim != batch for dim in first):
        raise InputError(f"batch: given {batch}; accepted: {first[0]}, to which the model fixes it")


def _random(tensor: Input, shape: tuple[int, ...], generator: np.random.Generator) -> npt.NDArray[Any]:
    try:
        dtype = np.dtype(tensor.dtype)
    except (TypeError, ValueError):
        dtype = np.dtype(object)
    if dtype.kind == "f":
        return _in_pieces(shape, dtype, generator.standard_normal)
    if dtype.kind in "iu" and dtype.itemsize >= 4:
        return np.ones(shape, dtype)
    if dtype.kind in "iub":
        low, high = (0, 2) if dtype.kind == "b" else (1, 10)
        return _in_pieces(shape, dtype, lambda count: generator.integers(low, high, size=count))
    raise InputError(
        f"input {tensor.name} is of the type {tensor.dtype}: no random values for it; give --inputs FILE.npz"
    )


def _in_pieces(
    shape: tuple[int, ...], dtype: np.dtype[Any], draw: Callable[[int], npt.NDArray[Any]]
) -> npt.NDArray[Any]:
    """What ``draw`` gives takes 8 bytes an element: taken at once, it would count as memory of the model."""
    values = np.empty(math.prod(shape), dtype)
    for start in range(0, values.size, _PIECE):
        part = values[start : start + _PIECE]
        part[:] = draw(part.size)
    return values.reshape(shape)


def _open(tensor: Input) -> bool:
    """Whether something but the batch is left open."""
    return any(isinstance(dim, str) for dim in tensor.dims[1:])


def _example(tensor: Input) -> str:
    usual = (1, 3, 224, 224) if len(tensor.dims) == 4 else (1, *(128 for _ in tensor.dims[1:]))
    return "x".join(str(size if isinstance(dim, str) else dim) for dim, size in zip(tensor.dims, usual, strict=True))


def _dims(tensor: Input) -> str:
    return ", ".join(map(str, tensor.dims))
