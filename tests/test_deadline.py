"""Schedulers that do not answer in time."""

from __future__ import annotations

import threading
from queue import Queue
from types import SimpleNamespace
from typing import Any

import pytest
from torchx.specs import AppState

from nas.deadline import within
from nas.torchx_jobs import TorchxJobs


def test_what_the_call_returns_or_raises() -> None:
    def fails() -> None:
        raise KeyError("its own")

    def late() -> None:
        raise TimeoutError("its own")

    assert within(60, lambda: 7) == 7
    with pytest.raises(KeyError, match="its own"):
        within(60, fails)
    with pytest.raises(TimeoutError, match="its own"):
        within(60, late)


def test_what_takes_too_long_is_left_to_itself() -> None:
    let_go = threading.Event()
    with pytest.raises(TimeoutError, match=r"no answer within 0\.1 s"):
        within(0.1, let_go.wait)
    let_go.set()


class Runner:
    """Of TorchX, of a cluster that answers when it is let."""

    def __init__(self) -> None:
        self.asked = 0
        self.let_go = threading.Event()
        self.cancelled: Queue[str] = Queue()

    def schedule(self, request: object) -> str:
        self.let_go.wait()
        return "aws_batch://hwnas/7"

    def cancel(self, handle: str) -> None:
        self.cancelled.put(handle)

    def status(self, handle: str) -> Any:
        self.asked += 1
        self.let_go.wait()
        return SimpleNamespace(state=AppState.RUNNING, msg="")


def test_a_scheduler_that_hangs_is_left_alone_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nas.torchx_jobs._ANSWER_S", 0.1)
    monkeypatch.setattr("nas.torchx_jobs._ASK_S", -1.0)
    runner = Runner()
    words = TorchxJobs(runner, "aws_batch")  # type: ignore[arg-type]
    assert [words.word("aws_batch://hwnas/7") for _ in range(3)] == [None] * 3
    assert runner.asked == 1
    runner.let_go.set()
    word = TorchxJobs(runner, "aws_batch").word("aws_batch://hwnas/7")  # type: ignore[arg-type]
    assert word is not None and word.running and word.reason == "aws_batch: running"


def test_a_job_that_is_taken_after_its_deadline_is_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nas.torchx_jobs._ANSWER_S", 0.1)
    runner = Runner()
    with pytest.raises(TimeoutError):
        TorchxJobs(runner, "aws_batch").submit(lambda: None)  # type: ignore[arg-type, return-value]
    runner.let_go.set()
    assert runner.cancelled.get(timeout=60) == "aws_batch://hwnas/7"
