"""The physical baseline: a loop in C on the library that the onnxruntime wheel ships."""

from __future__ import annotations

import ctypes
import importlib.util
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from profiles.errors import MeasurementError, UnavailableError

_SOURCE = Path(__file__).parent / "call_loop.c"


def build(folder: Path) -> Path:
    """A library with that loop. Raises UnavailableError without a C compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        raise UnavailableError("the baseline needs a C compiler named cc: apt install gcc libc6-dev")
    library = folder / "call_loop.so"
    command = [compiler, "-O2", "-shared", "-fPIC", "-o", str(library), str(_SOURCE), "-ldl"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise UnavailableError(f"{_SOURCE.name} cannot be built: {done.stderr.strip().splitlines()[-1]}")
    return library


def loop(library: Path, model: Path, shape: tuple[int, ...]) -> Callable[[int], tuple[int, ...]]:
    """Loads the model, one for each process; the function gives the times of so many runs in ns.

    Raises MeasurementError.
    """
    found = ctypes.CDLL(str(library))
    for function in (found.loop_open, found.loop_times):
        function.restype = ctypes.c_char_p
    sizes = (ctypes.c_int64 * len(shape))(*shape)
    _checked(found.loop_open(str(_runtime()).encode(), str(model).encode(), sizes, ctypes.c_size_t(len(shape))))

    def times_ns(count: int) -> tuple[int, ...]:
        times = (ctypes.c_int64 * count)()
        _checked(found.loop_times(times, ctypes.c_size_t(count)))
        return tuple(times)

    return times_ns


def _checked(failed: bytes | None) -> None:
    if failed is not None:
        raise MeasurementError(f"the loop in C: {failed.decode(errors='replace')}")


def _runtime() -> Path:
    found = importlib.util.find_spec("onnxruntime")
    folders = list(found.submodule_search_locations or []) if found else []
    libraries = [path for folder in folders for path in Path(folder).glob("capi/libonnxruntime.so.*")]
    if not libraries:
        raise UnavailableError("this onnxruntime ships no libonnxruntime.so")
    return libraries[0]
