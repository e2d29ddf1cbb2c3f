"""A stream of the first NVIDIA GPU with two events on it, by the driver's library alone: no CUDA package is needed.

For engines that take a stream of ours and have no events of their own. The context is the one that CUDA's runtime uses.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable

from profiles.errors import MeasurementError

_NON_BLOCKING = 1  # does not wait for what others run on the default stream


class Stream:
    """Lives as long as the process, as the context does."""

    def __init__(self) -> None:
        """Raises OSError where there is no driver, MeasurementError where it refuses."""
        self._cuda = ctypes.CDLL("libcuda.so.1")
        device, context = ctypes.c_int(), ctypes.c_void_p()
        self._stream, self._begin, self._end = ctypes.c_void_p(), ctypes.c_void_p(), ctypes.c_void_p()
        self._call("cuInit", ctypes.c_uint(0))
        self._call("cuDeviceGet", ctypes.byref(device), ctypes.c_int(0))
        self._call("cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
        self._call("cuCtxSetCurrent", context)
        self._call("cuStreamCreate", ctypes.byref(self._stream), ctypes.c_uint(_NON_BLOCKING))
        for event in (self._begin, self._end):
            self._call("cuEventCreate", ctypes.byref(event), ctypes.c_uint(0))

    @property
    def address(self) -> int:
        """As other libraries take it (``cudaStream_t``)."""
        return int(self._stream.value or 0)

    def elapsed_ms(self, enqueue: Callable[[], object]) -> float:
        """Between an event before and one after what ``enqueue`` puts on the stream. Raises MeasurementError."""
        elapsed = ctypes.c_float()
        self._call("cuEventRecord", self._begin, self._stream)
        enqueue()
        self._call("cuEventRecord", self._end, self._stream)
        self._call("cuEventSynchronize", self._end)
        self._call("cuEventElapsedTime", ctypes.byref(elapsed), self._begin, self._end)
        return elapsed.value

    def _call(self, name: str, *arguments: object) -> None:
        code = getattr(self._cuda, name)(*arguments)
        if code:
            raise MeasurementError(f"the NVIDIA driver's {name} failed with CUresult {code}")
