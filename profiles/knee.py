"""Where more throughput begins to cost too much latency."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

_LEAST = 3  # points: two are a line


def knee(throughput: npt.ArrayLike, latency: npt.ArrayLike) -> int | None:
    """The index of the knee of latency against throughput, both of shape (n,), in any unit and any order.

    Of the points that no other beats in both, each axis scaled to 0..1: the one farthest below the straight line from
    the point of lowest latency to that of highest throughput. This is Kneedle without its smoothing: Satopaa et al.
    2011, "Finding a 'Kneedle' in a Haystack". ``None`` where fewer than three points are left, or where none lies
    below the line: then each step of throughput is as dear as the next. Noise is not looked at: a knee between two
    equal points may be either.
    """
    x, y = np.asarray(throughput, dtype=np.float64), np.asarray(latency, dtype=np.float64)
    best = _unbeaten(x, y)
    if len(best) < _LEAST:
        return None
    x, y = x[best], y[best]
    below = (x - x[0]) / (x[-1] - x[0]) - (y - y[0]) / (y[-1] - y[0])
    place = int(np.argmax(below))
    return best[place] if below[place] > 1e-9 else None


def _unbeaten(x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> list[int]:
    """Indices with more throughput or less latency than any other, by rising throughput; of equal points the first."""
    found: list[int] = []
    for index in np.lexsort((np.arange(len(x)), y, -x)):
        if not found or y[index] < y[found[-1]]:
            found.append(int(index))
    return found[::-1]
