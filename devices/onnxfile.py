"""Looks into an ONNX file without the ``onnx`` package: is it whole, and which other files does it take weights from.

An ONNX file is one protobuf message. Read here are only field numbers and lengths (https://protobuf.dev/
programming-guides/encoding) on the way to tensors: model.graph = 7, graph.node = 1, node.attribute = 5, and so on as in
onnx.proto3. Not covered: whether the graph makes sense, which is for the engine to say.
"""

from __future__ import annotations

import functools
import hashlib
import mmap
from collections.abc import Iterator
from pathlib import Path

from profiles.errors import InputError

# message -> field number -> message inside it
_INSIDE = {
    "model": {7: "graph", 25: "function"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {13: "entry"},
}
_MAX_DEPTH = 64
_VARINT, _EIGHT_BYTES, _BYTES, _FOUR_BYTES = 0, 1, 2, 5


class _Malformed(Exception):
    pass


def external_files(path: Path) -> list[Path]:
    """The files beside ``path`` that hold its weights, sorted; empty where the file holds them itself.

    Of a link, they lie beside its file, or else beside the link. They may be links, too, to where its file lies.

    Raises InputError: no such file, not an ONNX file, cut short, or weights that are missing or outside its folder.
    """
    if not path.is_file():
        raise InputError(f"{path}: there is no such model file")
    if path.suffix == ".pt2":
        return []  # a program of torch, which is always one file
    now = path.stat()
    if now.st_size == 0:
        raise InputError(f"{path}: not an ONNX file: it is empty")
    locations = _named(path, now.st_ino, now.st_mtime_ns, now.st_size)
    folders = path.resolve().parent, path.absolute().parent
    folder = next((one for one in folders if all((one / name).is_file() for name in locations)), folders[0])
    files = []
    for location in locations:
        file_path = folder / location
        stays = not Path(location).is_absolute() and ".." not in Path(location).parts
        if stays and not file_path.is_file():
            raise InputError(f"{path}: its weights are missing: there is no {location!r} beside it")
        if not stays or not any(file_path.resolve().is_relative_to(one.resolve()) for one in folders):
            raise InputError(f"{path}: its weights lie in {location!r}; accepted: files in its own folder")
        files.append(file_path)
    return files


@functools.lru_cache(maxsize=1024)
def _named(path: Path, inode: int, mtime_ns: int, size: int) -> tuple[str, ...]:
    """The names of files that a model file asks for, read once for each state of it: it is asked for in every pass."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        try:
            if not any(number == 7 and kind == _BYTES for number, kind, _, _ in _fields(data, 0, len(data))):
                raise _Malformed("it has no graph")
            return tuple(sorted({_text(data, *span) for span in _locations(data, "model", 0, len(data), 0)}))
        except _Malformed as error:
            raise InputError(f"{path}: not an ONNX file, or cut short: {error}") from None


def digest(path: Path) -> str:
    """sha256 of the file; with external weights, of the file and those, in order of name."""
    whole = hashlib.sha256()
    for part in (path, *external_files(path)):
        with part.open("rb") as file:
            while chunk := file.read(1 << 20):
                whole.update(chunk)
    return whole.hexdigest()


def size_mb(path: Path) -> float:
    """In 10^6 bytes, external weights included."""
    return sum(part.stat().st_size for part in (path, *external_files(path))) / 1e6


def _locations(data: mmap.mmap, message: str, start: int, end: int, depth: int) -> Iterator[tuple[int, int]]:
    """Spans of the values of all ``external_data`` entries whose key is "location"."""
    if depth > _MAX_DEPTH:
        raise _Malformed("graphs nested too deep")
    for number, kind, first, last in _fields(data, start, end):
        inside = _INSIDE[message].get(number)
        if inside is None or kind != _BYTES:
            continue
        if inside == "entry":
            pair = {n: (a, b) for n, k, a, b in _fields(data, first, last) if k == _BYTES}
            if 1 in pair and 2 in pair and _text(data, *pair[1]) == "location":
                yield pair[2]
        else:
            yield from _locations(data, inside, first, last, depth + 1)


def _fields(data: mmap.mmap, start: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Field number, wire type and the span of the payload, for each field of the message in ``data[start:end]``."""
    place = start
    while place < end:
        tag, place = _varint(data, place, end)
        number, kind = tag >> 3, tag & 7
        if kind == _BYTES:
            length, place = _varint(data, place, end)
        elif kind == _VARINT:
            length = _varint(data, place, end)[1] - place
        elif kind in (_EIGHT_BYTES, _FOUR_BYTES):
            length = 8 if kind == _EIGHT_BYTES else 4
        else:
            raise _Malformed(f"byte {place} is of no known kind")
        if number == 0 or place + length > end:
            raise _Malformed(f"the part at byte {place} asks for {length} bytes and {end - place} are there")
        yield number, kind, place, place + length
        place += length


def _varint(data: mmap.mmap, place: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while place < end and shift < 64:
        byte = data[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
        shift += 7
    raise _Malformed(f"it ends inside a number, at byte {place}")


def _text(data: mmap.mmap, start: int, end: int) -> str:
    return data[start:end].decode(errors="replace")
