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

    Raises BrokenPipeError where the pipe is another one.
    """
    try:
        yield
        print(end="", flush=True)
    except BrokenPipeError:
        if not reader_gone():
            raise


def reader_gone() -> bool:
    """Whether nobody reads stdout or stderr any more; such a one leads nowhere from here on, so that neither the next
    line nor Python's flush at its exit fails.
    """
    gone = [descriptor for descriptor in _PRINTED_TO if _is_gone(descriptor)]
    for descriptor in gone:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, descriptor)
        os.close(nowhere)
    return bool(gone)


def _is_gone(descriptor: int) -> bool:
    poll = select.poll()
    poll.register(descriptor, 0)  # errors are told without being asked for
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))
