"""What the job system starts: runs a training script, and writes down how it ended.

    python -m nas.training.job CANDIDATE_JSON OUT_DIR SCRIPT [--die-with PID] [--ticket TEXT --app-id TEXT]

SCRIPT is a file, or "default": that of hwnas as it is installed where the job runs.

    OUT_DIR/job.json      pid of this supervisor, process group of the training, host, start, the scheduler's id
    OUT_DIR/stdout.log    bounded, see joblog.py
    OUT_DIR/stderr.log
    OUT_DIR/result.json   once it ended: exit code, signal, wall and CPU time, the last lines it wrote

The training is a process group of its own, so that all of it can be stopped, continued and ended. SIGTERM to this
process asks the group to end, and kills it after a grace; what the training leaves running is killed too. The training
dies with this process, and with ``--die-with`` both die with that process, stopped or not; no result is written then.

With ``--ticket`` it ends at once, and writes nothing, where OUT_DIR/ticket holds another text: a controller that was
killed while it submitted a job has forgotten that one, and a later controller has submitted another.

Standard library only: this is up in some 50 ms, and sleeps while the training says nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import resource
import selectors
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from nas.lifeline import die_with_parent, start_ticks
from nas.training.joblog import JobLog
from profiles import files
from profiles.clock import utc_now

DEFAULT = "default"
OURS = Path(__file__).with_name("train.py")  # the script that this stands for
GRACE_S = 3.0
_DRAIN_BYTES = 16 << 20  # read at most after the end: something that escaped the group may write for ever


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="nas.training.job")
    parser.add_argument("candidate", type=Path)
    parser.add_argument("out_dir", type=Path)
    parser.add_argument("script", type=Path)
    parser.add_argument("--die-with", type=int, metavar="PID", help="end when this parent process is gone")
    parser.add_argument("--grace", type=float, default=GRACE_S, metavar="S", help="from SIGTERM to SIGKILL")
    parser.add_argument("--ticket", help="do nothing where OUT_DIR/ticket says otherwise")
    parser.add_argument("--app-id", help="what the scheduler calls this job")
    options = parser.parse_args(arguments)
    if options.ticket is not None and files.read_text(options.out_dir / "ticket") != options.ticket:
        print(f"{options.out_dir}: not this job's: another one took its place, or this node lacks it", file=sys.stderr)
        return 1
    script = OURS if str(options.script) == DEFAULT else options.script
    # Ours is no place to look for modules: a space or data set of the user's may be called as a file beside it.
    python = [sys.executable, "-P"] if script == OURS else [sys.executable]
    command = [*python, str(script), str(options.candidate), str(options.out_dir)]
    return _Job(command, options.out_dir, options.die_with, options.grace, options.app_id).run()


class _Job:
    def __init__(
        self, command: list[str], out_dir: Path, controller: int | None, grace_s: float, app_id: str | None
    ) -> None:
        self._command = command
        self._out_dir = out_dir
        self._controller = controller
        self._grace_s = grace_s
        self._app_id = app_id
        self._selector = selectors.DefaultSelector()
        self._asked_to_end = False
        self._kill_at: float | None = None

    def run(self) -> int:
        """The training's exit code, 128 + signal as shells have it."""
        self._catch_signals()
        if self._controller is not None:
            die_with_parent(self._controller, signal.SIGCONT)  # which also continues a supervisor that was stopped
            if os.getppid() != self._controller:
                return 1  # before anything is written: the folder may be another job's by now
        self._out_dir.mkdir(parents=True, exist_ok=True)
        self._stdout, self._stderr = JobLog(self._out_dir / "stdout.log"), JobLog(self._out_dir / "stderr.log")
        begun = time.monotonic()
        child = self._start()
        status, usage = self._wait(child)
        wall_s = time.monotonic() - begun
        _signal_group(child.pid, signal.SIGKILL)  # whatever the training left behind
        self._drain()
        lines = self._stderr.close() or self._stdout.close()
        self._stdout.close()
        code = os.waitstatus_to_exitcode(status)
        result = {
            "schema": 1,
            "exit_code": code if code >= 0 else None,
            "signal": signal.Signals(-code).name if code < 0 else None,
            "cancelled": self._asked_to_end,
            "wall_s": wall_s,
            "cpu_s": usage.ru_utime + usage.ru_stime,
            "last_lines": lines,
            "end": utc_now(),
        }
        for name in ("weights.pt", "metrics.json"):  # on the disk before the file that says that they are complete
            with contextlib.suppress(OSError), open(self._out_dir / name, "rb") as file:
                os.fsync(file.fileno())
        files.write_json(self._out_dir / "result.json", result)
        return code if code >= 0 else 128 - code

    def _catch_signals(self) -> None:
        """A signal only wakes the loop: what it means is decided there."""
        self._wake, write = os.pipe()
        for end in (self._wake, write):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCONT, signal.SIGCHLD):
            signal.signal(number, lambda *_: None)
        self._selector.register(self._wake, selectors.EVENT_READ)

    def _start(self) -> subprocess.Popen[bytes]:
        supervisor = os.getpid()
        child = subprocess.Popen(
            self._command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
            process_group=0,
            preexec_fn=lambda: die_with_parent(supervisor),
        )
        for pipe, log in ((child.stdout, self._stdout), (child.stderr, self._stderr)):
            if pipe is not None:
                os.set_blocking(pipe.fileno(), False)
                self._selector.register(pipe, selectors.EVENT_READ, log)
        job = {
            "schema": 1,
            "pid": supervisor,
            "pid_ticks": start_ticks(supervisor),
            "pgid": child.pid,
            "pgid_ticks": start_ticks(child.pid),
            "host": socket.gethostname(),
            "start": utc_now(),
            "app_id": self._app_id,
        }
        files.write_json(self._out_dir / "job.json", job)
        return child

    def _wait(self, child: subprocess.Popen[bytes]) -> tuple[int, resource.struct_rusage]:
        """Copy its output and pass signals on until it ends: wait status and resource usage."""
        while True:
            pid, status, usage = os.wait4(child.pid, os.WNOHANG)
            if pid:
                return status, usage
            timeout = None if self._kill_at is None else max(0.0, self._kill_at - time.monotonic())
            for key, _ in self._selector.select(timeout):
                if key.data is None:
                    self._handle_signals(child.pid)
                else:
                    self._copy(key)
            if self._kill_at is not None and time.monotonic() >= self._kill_at:
                _signal_group(child.pid, signal.SIGKILL)
                self._kill_at = None

    def _handle_signals(self, group: int) -> None:
        caught = set(os.read(self._wake, 4096))
        # SIGCONT comes from the kernel also when only the thread that started us has ended.
        if signal.SIGCONT in caught and self._controller is not None and os.getppid() != self._controller:
            _signal_group(group, signal.SIGKILL)
            os._exit(1)
        if caught & {signal.SIGTERM, signal.SIGINT, signal.SIGHUP} and not self._asked_to_end:
            self._asked_to_end = True
            self._kill_at = time.monotonic() + self._grace_s
            _signal_group(group, signal.SIGTERM)
            _signal_group(group, signal.SIGCONT)  # a stopped one would not hear it

    def _copy(self, key: selectors.SelectorKey) -> int:
        """One read of a pipe into its log: bytes read, 0 at the end of the pipe or where nothing is there."""
        try:
            data = os.read(key.fd, 1 << 16)
        except BlockingIOError:
            return 0
        if not data:
            self._selector.unregister(key.fileobj)
        key.data.write(data)
        return len(data)

    def _drain(self) -> None:
        """What the pipes still hold. Does not wait for their end: a process that escaped may keep them open."""
        for key in [key for key in self._selector.get_map().values() if key.data is not None]:
            total = 0
            while total < _DRAIN_BYTES and (count := self._copy(key)):
                total += count


def _signal_group(group: int, number: signal.Signals) -> None:
    # It may be gone, or (macOS) only its zombies are left.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
