"""The generator's process, seen from the search: ask without waiting, tell, stop and continue it.

A generation that fails or takes too long does not hold up the search: a random candidate takes its place, with the
reason, and the process is started again with everything that is known. After three failures in a row it stays off. A
generator that cannot be made at all is an error of the search: see ``warm``.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from devices.transports import readable
from nas.generate import DEFAULT_GENERATOR, AskTell
from nas.lifeline import die_with_parent
from profiles.errors import HwnasError, InputError, UnavailableError

_FAILURES = 3
_TICK_S = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    choices: dict[str, Any]
    source: str  # which generator, and why another one than asked for
    seconds: float  # from asking to answer, without the time the process stood still


class Proposals:
    """``known`` gives all results so far, in the form that ``AskTell.tell`` takes; it is called at each (re)start."""

    def __init__(
        self,
        spec: Mapping[str, Any],
        seed: int,
        *,
        known: Callable[[], list[dict[str, Any]]],
        timeout_s: float,
        log: Path,
    ) -> None:
        self._spec, self._seed, self._known = dict(spec), seed, known
        self._timeout_s, self._log = timeout_s, log
        self._process: subprocess.Popen[bytes] | None = None
        self._buffer, self._unsent = b"", b""
        self._awaited: list[str] = []  # commands without an answer, oldest first
        self._asked_at: float | None = None
        self._asked_for = "ask"  # or "scout"
        self._scouted_out = False
        self._complaint: str | None = None
        self._stopped_at: float | None = None
        self._failures = 0
        self._broken: str | None = None  # why the process's next answer could not be trusted
        self._unmade: HwnasError | None = None  # why there is no generator to ask
        self._exhausted = False
        self._start()

    @property
    def asked(self) -> bool:
        """A proposal is on its way."""
        return self._asked_at is not None

    @property
    def exhausted(self) -> bool:
        """The space holds no further candidate."""
        return self._exhausted

    @property
    def scouted_out(self) -> bool:
        """There will be no further candidate to be scouted."""
        return self._scouted_out

    def complaint(self) -> str | None:
        """Why nothing more is scouted, where that is a failure; told once."""
        found, self._complaint = self._complaint, None
        return found

    def ask(self) -> None:
        self._asked_at, self._asked_for = time.monotonic(), "ask"
        self._send({"cmd": "ask", "n": 1})

    def scout(self) -> None:
        """Ask for a candidate that is worth measuring without a training; its source will be "scouting"."""
        self._asked_at, self._asked_for = time.monotonic(), "scout"
        self._send({"cmd": "scout"})

    def tell(self, result: Mapping[str, Any]) -> None:
        self._send({"cmd": "tell", "results": [result]})

    def warm(self) -> None:
        """Have the generator made and wait for it, at most ``timeout_s``; to be called once, before anything is asked.

        Raises InputError or UnavailableError where it cannot be made. A process that fails otherwise, is too slow, or
        is started again later ends no search: a random candidate takes the place of its next answer.
        """
        self._send({"cmd": "warm"})
        until = time.monotonic() + self._timeout_s
        while self._awaited and self._broken is None and time.monotonic() < until:
            self.wait(_TICK_S)
            self.poll()
        if self._unmade is not None:
            raise self._unmade

    def wait(self, timeout_s: float) -> None:
        """Return when there may be an answer, or after ``timeout_s``."""
        # Of a broken one nothing more is awaited; the pipe of one that has ended would be there to be read for ever.
        if self._process is None or self._process.stdout is None or self._broken is not None or not self._awaited:
            time.sleep(0 if self.asked else timeout_s)
            return
        readable(self._process.stdout, timeout_s)

    def poll(self) -> Proposal | None:
        """The proposal asked for, once it is there; the last resort where the process failed or is too slow."""
        found = self._read()
        if isinstance(found, str):  # also of a result it could not take in while nothing was asked
            self._broken = self._broken or found
        elif found is not None and self._broken is None:
            return found
        if self._asked_at is None:
            return None
        reason = self._broken
        if reason is None and self._process is None:
            reason = f"it failed {self._failures} times"
        elif reason is None and time.monotonic() - self._asked_at > self._timeout_s:
            reason = f"no answer within {self._timeout_s:g} s"
        return None if reason is None else self._instead(reason)

    def stop(self) -> None:
        """Stand still (SIGSTOP) while something is measured. The time does not count as the generator's."""
        if self._process is not None and self._stopped_at is None:
            self._process.send_signal(signal.SIGSTOP)
            self._stopped_at = time.monotonic()

    def go_on(self) -> None:
        if self._process is not None and self._stopped_at is not None:
            self._process.send_signal(signal.SIGCONT)
        if self._asked_at is not None and self._stopped_at is not None:
            self._asked_at += time.monotonic() - self._stopped_at
        self._stopped_at = None

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    pipe.close()
            self._process = None
        self._awaited, self._stopped_at, self._broken = [], None, None
        self._buffer, self._unsent = b"", b""

    def _start(self) -> None:
        if self._failures >= _FAILURES:
            return
        controller = os.getpid()
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "nas.generate"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
                start_new_session=True,  # Ctrl-C is for the controller alone
                # Here and not in the process itself: it may be stopped before it gets that far.
                preexec_fn=lambda: die_with_parent(controller),
            )
        if self._process.stdin is not None:
            os.set_blocking(self._process.stdin.fileno(), False)
        self._send({"cmd": "init", "spec": self._spec, "seed": self._seed})
        results = self._known()
        if results:
            self._send({"cmd": "tell", "results": results})

    def _send(self, request: Mapping[str, Any]) -> None:
        if self._process is None or self._process.stdin is None:
            return
        self._awaited.append(request["cmd"])
        self._unsent += json.dumps(request).encode() + b"\n"
        self._flush()

    def _flush(self) -> None:
        """As much as the pipe takes: a process that does not read must not hold up the search."""
        if self._process is None or self._process.stdin is None or not self._unsent:
            return
        try:
            while self._unsent:
                self._unsent = self._unsent[os.write(self._process.stdin.fileno(), self._unsent) :]
        except BlockingIOError:
            return
        except BrokenPipeError:
            self._unsent = b""  # poll() finds the process ended and says why

    def _read(self) -> Proposal | str | None:
        """Take in all answers. A proposal, or why there will be none, or ``None``: nothing to say yet."""
        self._flush()
        while self._process is not None and self._process.stdout is not None:
            if not readable(self._process.stdout, 0):
                return None
            data = os.read(self._process.stdout.fileno(), 1 << 16)
            if not data:
                return f"the generator's process ended (exit {self._process.wait()}), see {self._log}"
            *lines, self._buffer = (self._buffer + data).split(b"\n")
            outcomes = [outcome for line in lines if (outcome := self._answered(line)) is not None]
            if outcomes:  # of several the first says why the others are wrong
                return outcomes[0]
        return None

    def _answered(self, line: bytes) -> Proposal | str | None:
        try:
            answer = json.loads(line)
        except ValueError:
            return f"the generator's process wrote {line[:80]!r} instead of an answer"
        command = self._awaited.pop(0) if self._awaited else ""
        if "error" in answer:
            if command in ("init", "warm") and "exit_code" in answer:
                bad_input = answer["exit_code"] == InputError.exit_code
                unmade = (InputError if bad_input else UnavailableError)(answer["error"])
                self._unmade = self._unmade or unmade  # of several the first says why the others are wrong
            return str(answer["error"])
        if command not in ("ask", "scout") or self._asked_at is None:
            return None
        if not answer["configs"]:
            self._asked_at = None
            if command == "ask":
                self._exhausted = True
            else:
                self._scouted_out = True
            return None
        self._failures = 0
        seconds, self._asked_at = time.monotonic() - self._asked_at, None
        return Proposal(choices=answer["configs"][0], source=answer["sources"][0], seconds=seconds)

    def _instead(self, reason: str) -> Proposal | None:
        """A random candidate, and a new process for the next one. In place of one to be scouted: none any more."""
        self.close()
        self._failures += 1
        seconds, self._asked_at = time.monotonic() - (self._asked_at or 0.0), None
        if self._asked_for == "scout":
            self._scouted_out, self._complaint = True, f"nothing more is scouted: {reason}"
            self._start()
            return None
        last_resort = AskTell(self._spec | {"generator": "random", "options": {}}, self._seed + self._failures)
        try:
            last_resort.tell(self._known())
            found = last_resort.ask_with_sources(1)
        except HwnasError as error:
            raise HwnasError(f"{reason}; and the random generator: {error}") from error
        self._start()
        if not found:
            self._exhausted = True
            return None
        choices, _ = found[0]
        given_up = ", which stays off from now on" if self._failures >= _FAILURES else ""
        source = f"random ({self._spec.get('generator', DEFAULT_GENERATOR)} failed: {reason}{given_up})"
        self.tell({"config": choices, "status": "pending"})
        return Proposal(choices=choices, source=source, seconds=seconds)


def results_of(trials: Sequence[Any], metrics: Sequence[str]) -> list[dict[str, Any]]:
    """What the generator is told of ``nas.journal.Trial`` records: the modelled ``metrics`` only.

    An early-stopped trial counts as what it could have reached at best, which is dominated already. Of one that is
    measured and not trained, or failed after that, what was measured counts as that of a scout does.
    """
    found = []
    for trial in trials:
        status = _STATUS.get(trial.state, "pending")
        known = trial.hoped | trial.metrics if status == "done" else trial.metrics
        values = {name: known[name] for name in metrics if name in known}
        sems = {name: trial.sems[name] for name in values if name in trial.sems}
        told = {"config": trial.choices, "values": values, "sems": sems}
        if status == "done":
            found.append({**told, "status": status})
            continue
        found.append({**told, "status": status, "values": {}, "sems": {}})
        if values:
            found.append({**told, "status": "scouted"})
    return found


_STATUS = {"failed": "failed", "completed": "done", "gated": "done", "early_stopped": "done"}
