"""What is printed where nobody reads any more: ``hwnas devices list | head -1``."""

from __future__ import annotations

import os
import select
from collections.abc import Iterator
from contextlib import contextmanager

_PRINTED_TO = (1, 2)  # the descriptors of stdout and stderr


@contextmanager
def reader_may_go() -> Iterator[None]:
    """Whatever is printed in the block is flushed at its end; where the reader has gone, the rest of it is dropped.

    Raises BrokenPipeError where the pipe is another one, OSError where stdout cannot be written, as on a full disk.
    """
    try:
        yield
        if error := unwritten():
            raise error
    except BrokenPipeError:
        if not reader_gone():
            raise
    except OSError:
        unwritten()  # what is left of it would be an error of its own at the next flush
        raise


def unwritten() -> OSError | None:
    """Why what was printed could not be written; it is dropped then, and so is what follows. ``None``: it is."""
    try:
        print(end="", flush=True)
    except BrokenPipeError as error:
        return error
    except OSError as error:
        _drop(1)
        return OSError(error.errno, error.strerror, "stdout")
    return None


def reader_gone() -> bool:
    """Whether nobody reads stdout or stderr any more; such a one leads nowhere from here on, so that neither the next
    line nor Python's flush at its exit fails.
    """
    gone = [descriptor for descriptor in _PRINTED_TO if _is_gone(descriptor)]
    for descriptor in gone:
        _drop(descriptor)
    return bool(gone)


def _drop(descriptor: int) -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)


def _is_gone(descriptor: int) -> bool:
    poll = select.poll()
    poll.register(descriptor, 0)  # errors are told without being asked for
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))
