"""Work for many devices: each piece once, whatever fails; with sessions that fail on demand."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import devices
from devices import scheduler
from devices.bundle import calibration_digest
from devices.everywhere import Key, profile_everywhere, worst
from devices.fleet import Fleet, load_fleet
from devices.lines import Work
from devices.plan import Job, Plan
from devices.scheduler import Outcome, Policy
from devices.session import connect
from profiles.errors import InputError, MeasurementError, UnavailableError
from profiles.store import Store, clock_of

QUICK = Policy(first_pause_s=0.01, patience_s=0.2)
MODEL = Path(str(devices.__file__)).parent / "calibration.onnx"


class Lab:
    """Boards as the scheduler sees them. ``faults``: board -> errors that its next pieces of work meet, in order."""

    def __init__(self) -> None:
        self.faults: dict[str, list[Exception]] = defaultdict(list)
        self.unreachable: set[str] = set()
        self.at_work: Counter[str] = Counter()
        self.overlaps: list[str] = []
        self.open: set[Any] = set()

    def connect(self, board: str, on_event: Any) -> Any:
        if board in self.unreachable:
            raise UnavailableError(f"device {board}: no route")
        return _Session(self, board)

    def work(self, key: Any, *boards: str, seconds: float = 0.001) -> Work:
        def call(session: Any) -> tuple[Any, str]:
            self.at_work[session.name] += 1
            if self.at_work[session.name] > 1:
                self.overlaps.append(session.name)
            try:
                session.stopped.wait(seconds)
                if self.faults[session.name]:
                    fault = self.faults[session.name].pop(0)
                    if not isinstance(fault, ConnectionError):
                        raise fault
                    session.abort()
                if session.stopped.is_set():
                    session.close()
                    raise UnavailableError("the connection ended")
            finally:
                self.at_work[session.name] -= 1
            return key, session.name

        return Work(key=key, boards=boards, call=call)

    def run(self, *works: Work, policy: Policy = QUICK) -> dict[Any, Outcome]:
        found = list(scheduler.run(works, self.connect, policy=policy))
        assert Counter(outcome.key for outcome in found) == Counter(work.key for work in works)
        assert self.overlaps == []
        assert self.open == set()
        return {outcome.key: outcome for outcome in found}


class _Session:
    def __init__(self, lab: Lab, name: str) -> None:
        self.name = name
        self.closed = False
        self.stopped = threading.Event()
        self._lab = lab
        lab.open.add(self)

    def abort(self) -> None:
        self.stopped.set()

    def close(self) -> None:
        self.closed = True
        self._lab.open.discard(self)


def test_each_piece_once_and_all_boards_at_work() -> None:
    lab = Lab()
    found = lab.run(*(lab.work(number, "a", "b", "c", seconds=0.005) for number in range(60)))
    assert all(outcome.value == (number, outcome.board) for number, outcome in found.items())
    assert set(Counter(outcome.board for outcome in found.values())) == {"a", "b", "c"}


def test_work_goes_to_its_own_boards_only() -> None:
    lab = Lab()
    found = lab.run(*(lab.work((board, number), board) for board in "abcd" for number in range(10)))
    assert all(outcome.board == board for (board, _), outcome in found.items())


def test_a_failed_measurement_is_tried_again_then_elsewhere_then_given_up() -> None:
    lab = Lab()
    lab.faults["a"] = [MeasurementError("once")]
    assert lab.run(lab.work(1, "a"))[1].value == (1, "a")

    lab.unreachable = {"b"}
    lab.faults["a"] = [MeasurementError("first"), MeasurementError("second")]
    threading.Timer(0.1, lab.unreachable.clear).start()
    assert lab.run(lab.work(1, "a", "b"), policy=Policy(first_pause_s=0.01))[1].value == (1, "b")

    for board in "ab":
        lab.faults[board] = [MeasurementError(f"{board} cannot")] * 2
    failed = lab.run(lab.work(1, "a", "b"))[1]
    assert isinstance(failed.error, MeasurementError)
    assert str(failed.error) == f"{failed.board} cannot"


def test_what_is_wrong_with_the_model_is_not_tried_again() -> None:
    lab = Lab()
    lab.faults["a"] = [InputError("no model")]
    assert isinstance(lab.run(lab.work(1, "a"))[1].error, InputError)


def test_what_a_board_lacks_another_may_have() -> None:
    lab = Lab()
    lab.faults["a"] = [UnavailableError("no such provider")]
    lab.faults["b"] = [UnavailableError("no such provider")]
    assert str(lab.run(lab.work(1, "a"))[1].error) == "no such provider"
    assert lab.run(lab.work(1, "a", "b"))[1].error is None


def test_a_lost_connection_is_made_anew_and_costs_nothing() -> None:
    lab = Lab()
    lab.faults["a"] = [ConnectionError()] * 5
    found = lab.run(*(lab.work(number, "a") for number in range(10)))
    assert all(outcome.error is None for outcome in found.values())
    lab.faults["a"] = [ConnectionError()] * 6  # a model that brings the board down each time
    assert str(lab.run(lab.work(1, "a"))[1].error) == "the connection ended"


def test_a_board_that_is_away_is_set_aside_and_taken_back() -> None:
    lab = Lab()
    lab.unreachable = {"a"}
    threading.Timer(0.1, lab.unreachable.clear).start()
    works = [lab.work(number, "a", "b", seconds=0.01) for number in range(60)]
    found = lab.run(*works, policy=Policy(first_pause_s=0.01))
    assert {outcome.board for outcome in found.values()} == {"a", "b"}


def test_what_only_an_absent_board_can_do_fails_with_the_reason_and_the_rest_goes_on() -> None:
    lab = Lab()
    lab.unreachable = {"a"}
    works = [lab.work(("a", number), "a") for number in range(3)] + [
        lab.work(("b", number), "b") for number in range(9)
    ]
    found = lab.run(*works, lab.work("both", "a", "b"))
    assert all(str(found["a", number].error) == "device a: no route" for number in range(3))
    assert all(found["b", number].error is None for number in range(9))
    assert found["both"].board == "b"


def test_a_board_that_cannot_even_be_asked_is_away() -> None:
    lab = Lab()

    def connect(board: str, on_event: Any) -> Any:
        if board == "a":
            raise OSError(24, "Too many open files")
        return lab.connect(board, on_event)

    works = [lab.work("a", "a"), lab.work("b", "b")]
    found = {one.key: one for one in scheduler.run(works, connect, policy=QUICK)}
    assert str(found["a"].error) == "device a: OSError: [Errno 24] Too many open files"
    assert found["b"].error is None


def test_a_crash_in_the_work_is_its_outcome() -> None:
    def crash(session: Any) -> None:
        raise ZeroDivisionError("by zero")

    found = Lab().run(Work(key=1, boards=("a",), call=crash))
    assert str(found[1].error) == "ZeroDivisionError: by zero"


@pytest.mark.parametrize("leave", ["close", "error"])
def test_who_stops_early_leaves_no_session_behind(leave: str) -> None:
    lab = Lab()
    running = scheduler.run(
        [lab.work(number, "a", seconds=60.0 if number else 0.0) for number in range(3)], lab.connect
    )
    assert next(running).key == 0
    start = time.monotonic()
    if leave == "close":
        running.close()
    else:
        with pytest.raises(ZeroDivisionError):
            running.throw(ZeroDivisionError())
    assert lab.open == set()
    assert time.monotonic() - start < 30


@pytest.mark.parametrize("runs", [True, False])
def test_ctrl_c_while_threads_are_started_is_ctrl_c(monkeypatch: pytest.MonkeyPatch, runs: bool) -> None:
    """``runs``: it may come when a thread is under way, or before."""
    start, started = threading.Thread.start, []

    def interrupted(thread: threading.Thread) -> None:
        started.append(thread)
        if runs or len(started) == 1:
            start(thread)
        if len(started) == 2:
            raise KeyboardInterrupt

    lab = Lab()
    works = [lab.work(board, board, seconds=60.0) for board in "abc"]
    monkeypatch.setattr(threading.Thread, "start", interrupted)
    with pytest.raises(KeyboardInterrupt):
        next(scheduler.run(works, lab.connect))
    assert lab.open == set()


def test_boards_wait_for_a_caller_that_is_slower_than_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler, "_AHEAD", 5)
    lab, done = Lab(), []

    def call(session: Any) -> None:
        done.append(session.name)

    running = scheduler.run([Work(key=n, boards=("a", "b"), call=call) for n in range(40)], lab.connect, policy=QUICK)
    next(running)
    time.sleep(0.3)
    assert len(done) <= 1 + 5 + 2  # taken, waiting to be taken, and one in the hands of each board
    assert len(list(running)) == 39


def test_events_come_in_the_callers_thread() -> None:
    lab, told, threads = Lab(), [], set()

    def hear(kind: str, data: dict[str, Any]) -> None:
        threads.add(threading.get_ident())
        told.append((kind, data["device"], data.get("state")))

    lab.unreachable = {"a"}
    threading.Timer(0.05, lab.unreachable.clear).start()
    list(scheduler.run([lab.work(1, "a")], lab.connect, policy=Policy(first_pause_s=0.02), on_event=hear))
    assert threads == {threading.get_ident()}
    assert told[:2] == [("board", "a", "connecting"), ("board", "a", "away")]
    assert ("board", "a", "ready") in told
    assert ("work", "a", None) in told


Make = Callable[[str], Fleet]


@pytest.fixture
def fleet(tmp_path: Path) -> Make:
    def make(targets: str) -> Fleet:
        boards = "".join(f'[devices.n{n}]\ntransport = "null"\ntime_ms = 1\npool = "pool"\n' for n in range(3))
        (tmp_path / "fleet.toml").write_text(boards + targets)
        return load_fleet(tmp_path / "fleet.toml")

    return make


def test_a_pool_shares_the_work_and_the_store_has_each_profile_once(fleet: Make, tmp_path: Path) -> None:
    lab = fleet('[targets.x]\ndevice = "pool"\nengine = "null"\n')
    jobs = []
    for number in range(12):
        path = tmp_path / f"{number}.onnx"
        path.write_bytes(MODEL.read_bytes() + b"\x52\x02%02d" % number)  # one more field: another digest
        jobs.append(Job(model=path, name=str(number)))
    with Store(tmp_path / "store.db") as store:
        running = profile_everywhere(lab, jobs, [lab.target("x")], store, label="study", plan=Plan(processes=2))
        first = [next(running) for _ in range(5)]
        running.close()  # as if the controller had been killed
        kept = len(store.profiles(study="study"))
        assert kept == len(first)
        again = list(profile_everywhere(lab, jobs, [lab.target("x")], store, label="study", plan=Plan(processes=2)))
        assert sorted(outcome.key.job for outcome in again) == list(range(12))
        profiles = store.profiles(study="study")
        assert Counter(profile.model for profile in profiles) == Counter(str(number) for number in range(12))
    assert {profile.target.device for profile in profiles} <= {"n0", "n1", "n2"}
    assert all(outcome.value.target.name == "x" for outcome in again)


def test_the_worst_of_a_pool_is_measured_on_every_board(fleet: Make, tmp_path: Path) -> None:
    lab = fleet('[targets.x]\ndevice = "pool"\nengine = "null"\nboards = "worst"\n')
    with Store(tmp_path / "store.db") as store:
        plan = Plan(processes=2)
        found = list(profile_everywhere(lab, [Job(model=MODEL, name="m")], [lab.target("x")], store, plan=plan))
    assert {outcome.key for outcome in found} == {Key("x", 0, board) for board in ("n0", "n1", "n2")}
    profiles = [outcome.value for outcome in found]
    slowest = max(profile.latency_ms_calibrated for profile in profiles)
    assert worst(profiles).latency_ms_calibrated == slowest


def test_more_boards_than_a_process_may_have_files_at_first(fleet: Make, tmp_path: Path) -> None:
    """Most systems begin with 1024, and let a process itself ask for more."""
    count, program = (
        30,
        """
import resource, sys
from pathlib import Path
from devices import scheduler
from devices.fleet import load_fleet
from devices.lines import Work
from devices.session import connect
resource.setrlimit(resource.RLIMIT_NOFILE, (80, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
fleet = load_fleet(Path(sys.argv[1]))
together = __import__("threading").Barrier(len(fleet.devices) - 1, timeout=60)
names = [name for name in fleet.devices if name != "local"]
works = [Work(key=name, boards=(name,), call=lambda session: together.wait()) for name in names]
assert not [one.error for one in scheduler.run(works, lambda name, tell: connect(fleet.devices[name], name, tell))
            if one.error]
""",
    )
    lab = tmp_path / "many.toml"
    lab.write_text("".join(f'[devices.n{n}]\ntransport = "null"\ntime_ms = 0\n' for n in range(count)))
    done = subprocess.run(
        [sys.executable, "-c", program, str(lab)], cwd=Path(__file__).parents[1], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_each_board_of_a_pool_has_a_reference_of_its_own(fleet: Make, tmp_path: Path) -> None:
    """Alike boards are not equally fast: with the same ratio to the calibration model, the slower one is the worst."""
    lab = fleet('[targets.x]\ndevice = "pool"\nengine = "null"\nboards = "worst"\n')
    wanted_ms = {"n0": 1.0, "n1": 1.2, "n2": 1.1}
    with Store(tmp_path / "store.db") as store:
        for board, time_ms in wanted_ms.items():
            target = replace(lab.target("x"), device=board)
            with connect(lab.devices[board], board) as session:
                clock = clock_of(session.fingerprint(target), target, calibration_digest())
            store.add_reference(clock, [time_ms] * 20)
        plan = Plan(processes=2)
        found = list(profile_everywhere(lab, [Job(model=MODEL, name="m")], [lab.target("x")], store, plan=plan))
    references = {one.value.target.device: one.value.calibration.reference_ms for one in found}
    assert references == wanted_ms
    assert worst([one.value for one in found]).target.device == "n1"
