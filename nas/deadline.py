"""Calls of libraries that have no deadline of their own."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")


def within(seconds: float, call: Callable[[], T]) -> T:
    """What ``call`` returns or raises, from a thread of its own. One that takes longer is left to itself, and may still
    do what it was to do. Raises TimeoutError.
    """
    answer: Future[T] = Future()

    def run() -> None:
        try:
            answer.set_result(call())
        except BaseException as error:  # for the caller, whatever it is
            answer.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    try:
        return answer.result(seconds)
    except TimeoutError:
        if answer.done():  # just now; or the error is the call's own
            return answer.result()
        raise TimeoutError(f"no answer within {seconds:g} s") from None
