"""Image sets in IDX files, as MNIST and Fashion-MNIST come: finding, fetching, reading, splitting.

Each is four files, ``train-images-idx3-ubyte``, ``train-labels-idx1-ubyte`` and the same with ``t10k-``, each with
``.gz`` or without.
"""

from __future__ import annotations

import gzip
import hashlib
import math
import os
import urllib.request
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nas.data import Dataset
from profiles import files
from profiles.errors import InputError, UnavailableError

KINDS = ("images-idx3-ubyte", "labels-idx1-ubyte")
_CLASSES = 10
_TIMEOUT_S = 30
_LARGEST = 1 << 31  # bytes of one uncompressed file; MNIST's largest has 47 million


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """``sha256``: of the compressed files, by name without ``.gz``. ``mirrors``: URLs, tried in this order."""

    name: str
    mirrors: Sequence[str]
    sha256: Mapping[str, str]


def load_idx(source: Source, folder: str | None, download: bool) -> Dataset:
    """x (n, 1, height, width) in 0..1, 10 classes.

    With the train files: their first 5/6 train (50,000 of 60,000), the rest validates, and the t10k files test. With
    the t10k files alone: their first 4/5 train (8,000 of 10,000), the rest validates, and there is no test split. In
    file order, so that everyone's split is the same.

    Raises InputError on files that are missing while ``download`` is off, or that cannot be used, and UnavailableError
    where no mirror answers.
    """
    if folder is not None and not isinstance(folder, str):
        raise InputError(f"data.dir: given {folder!r}; accepted: a folder")
    place = Path(folder).expanduser() if folder else Path.home() / ".cache" / "hwnas" / source.name
    if all(_present(place, f"t10k-{kind}") for kind in KINDS) and not any(_present(place, f"train-{k}") for k in KINDS):
        x, y = _pair(place, "t10k")
        cut = len(x) * 4 // 5
        return _dataset((x[:cut], y[:cut]), (x[cut:], y[cut:]), (x[:0], y[:0]))
    missing = [
        f"{part}-{kind}" for part in ("train", "t10k") for kind in KINDS if not _present(place, f"{part}-{kind}")
    ]
    if missing and not download:
        raise InputError(
            f"data.dir: {place} has no {missing[0]}; accepted: a folder with the four files of {source.name} "
            "(or the two of t10k), or data.download = true"
        )
    for name in missing:
        fetch(source, name, place)
    x, y = _pair(place, "train")
    cut = len(x) * 5 // 6
    return _dataset((x[:cut], y[:cut]), (x[cut:], y[cut:]), _pair(place, "t10k"))


def fetch(source: Source, name: str, folder: Path) -> None:
    """Download ``name``.gz into ``folder``, from the first mirror that has the right bytes.

    Raises UnavailableError with every mirror's failure, and where the file cannot be written.
    """
    failures = []
    for mirror in source.mirrors:
        url = f"{mirror.rstrip('/')}/{name}.gz"
        try:
            with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as answer:
                content = answer.read(_LARGEST)
        except (OSError, ValueError) as error:
            failures.append(f"{url}: {error}")
            continue
        if hashlib.sha256(content).hexdigest() != source.sha256[name]:
            failures.append(f"{url}: wrong checksum")
            continue
        try:
            files.write_bytes(folder / f"{name}.gz", content)
        except OSError as error:
            raise UnavailableError(f"data.dir: {folder}: cannot be written: {error}") from error
        return
    mirrors = "; ".join(failures)
    raise UnavailableError(f"{folder} has no {name}, and no mirror of {source.name} has: {mirrors}; see data.dir")


def read_idx(path: Path, dimensions: int) -> npt.NDArray[np.uint8]:
    """The array of unsigned bytes in an IDX file, ``.gz`` or not. Raises InputError; allocates only what is there."""
    header_bytes = 4 + 4 * dimensions
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            header = file.read(header_bytes)
            shape = tuple(np.frombuffer(header[4:], dtype=">u4").tolist()) if len(header) == header_bytes else ()
            if header[:4] != bytes([0, 0, 8, dimensions]) or not all(shape) or math.prod(shape) > _LARGEST:
                accepted = f"an IDX file of unsigned bytes with {dimensions} dimensions"
                raise InputError(f"{path}: given a header of {header.hex()}; accepted: {accepted}")
            content = file.read(math.prod(shape) + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: cannot be read: {error}") from error
    if len(content) != math.prod(shape):
        given = "more" if len(content) > math.prod(shape) else f"{len(content):,}"
        raise InputError(f"{path}: truncated or damaged: {math.prod(shape):,} bytes announced, {given} there")
    return np.frombuffer(content, dtype=np.uint8).reshape(shape)


def _present(folder: Path, name: str) -> Path | None:
    for path in (folder / name, folder / f"{name}.gz"):
        if os.path.isfile(path):
            return path
    return None


def _pair(folder: Path, part: str) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    images, labels = (
        _read(folder, f"{part}-{kind}", dimensions) for kind, dimensions in zip(KINDS, (3, 1), strict=True)
    )
    if len(images) != len(labels):
        raise InputError(f"data.dir: {folder}: {part}: {len(images):,} images, but {len(labels):,} labels")
    if labels.max() >= _CLASSES:
        raise InputError(f"data.dir: {folder}: {part}: given a label {labels.max()}; accepted: 0 to {_CLASSES - 1}")
    return (images / np.float32(255)).astype(np.float32)[:, None], labels.astype(np.int64)


def _read(folder: Path, name: str, dimensions: int) -> npt.NDArray[np.uint8]:
    path = _present(folder, name)
    if path is None:
        raise InputError(f"data.dir: {folder} has no {name}")
    return read_idx(path, dimensions)


def _dataset(train: Any, val: Any, test: Any) -> Dataset:
    if not len(train[0]) or not len(val[0]):
        raise InputError(f"data.dir: too few images: {len(train[0])} to train, {len(val[0])} to validate")
    return Dataset(
        x_train=train[0],
        y_train=train[1],
        x_val=val[0],
        y_val=val[1],
        x_test=test[0],
        y_test=test[1],
        task="classification",
        outputs=_CLASSES,
    )
