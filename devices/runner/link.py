"""A device behind the plain adb client: files there and back, and a conversation with the runner.

``adb shell`` ends with status 0 when the transport dies, so nothing counts but what ends with a word of ours: a final
record of the runner, or ``hwnas done`` of a shell.
"""

from __future__ import annotations

import contextlib
import re
import secrets
import shlex
import subprocess
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from devices import protocol
from devices.protocol import Record
from devices.transfer import key_of, parts_of, placed, sha256
from profiles.errors import UnavailableError

VERSION = 3  # of the requests and of what the figures mean, as in runner.c
_SILENCE_S, _BEAT_S = 30.0, 10.0
_PUSH_S, _SHELL_S = 600.0, 30.0
_KEPT_DAYS = 1


class Lost(UnavailableError):
    """The device, or the way to it, is gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """As ``devices.transports.adb`` reads it from a fleet file."""

    adb: str
    serial: str | None
    runner: str
    library: str
    folder: str


class Link:
    """For one thread. ``pid``: of the runner, on the device; ``folder``: where things are kept there."""

    def __init__(self, setting: Setting) -> None:
        """Raises UnavailableError where the device or a file is missing, or the runner is another version's."""
        self._setting = setting
        self.folder = setting.folder
        self._client = [setting.adb, *(["-s", setting.serial] if setting.serial else [])]
        self._last_id = 0
        self._lines = protocol.Lines()
        self._records: list[Record] = []
        self._writing = threading.Lock()
        runner, library = self._programs()
        words = f"exec {shlex.quote(runner)} {shlex.quote(library)} {shlex.quote(setting.folder)}"
        self._process = subprocess.Popen(
            [*self._client, "shell", "-T", words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
        )
        hello = self.ask("hello", _SILENCE_S)
        if hello.get("version") != VERSION:
            raise UnavailableError(
                f"{setting.runner}: built from another version of hwnas; build it anew: docs/fleet.md"
            )
        self.pid = int(hello["pid"])
        threading.Thread(target=self._beat, daemon=True).start()

    def ask(self, *words: object, on_event: Callable[[Record], None] | None = None) -> Record:
        """The final record of one request. Raises what the runner answers, and Lost."""
        self._last_id += 1
        self._write(self._last_id, *words)
        while True:
            record = self._next()
            if record.get("id") != self._last_id:
                continue
            if "event" in record:
                if on_event:
                    on_event(record)
            elif "error" in record:
                raise protocol.error(record["error"])
            else:
                return record

    def put(self, path: Path, beside: Sequence[Path] = ()) -> str:
        """The path on the device of an equal ``path``, with those ``beside`` it (in or below its folder) beside it."""
        path = placed(path, beside)
        parts = parts_of(path, beside)
        key = key_of({name: sha256(part) for name, part in parts.items()})
        place = f"{self.folder}/files/{key}"
        if not self.ask("have", place)["have"]:  # asked each time: what nobody asks for during a day is removed
            arriving = f"{self.folder}/files/{key}.part-{self.pid}"
            try:
                for name, part in parts.items():
                    self._push(part, f"{arriving}/{name}")
            except UnavailableError:
                self.shell(f"rm -rf {shlex.quote(arriving)}")
                raise
            self.ask("keep", arriving, place)
        return f"{place}/{path.name}"

    def get(self, there: str, path: Path) -> None:
        self._adb("pull", there, str(path), limit_s=_PUSH_S)

    def shell(self, words: str) -> str:
        """What ``words`` print there. Raises Lost where they did not come to their end."""
        done = self._adb("shell", "-T", f"{words}\necho hwnas done", limit_s=_SHELL_S)
        text, end, _ = done.rpartition("hwnas done")
        if not end:
            raise Lost("adb: the shell of the device ended early")
        return text

    def _programs(self) -> tuple[str, str]:
        """Runner and library on the device, brought there where they are missing; what is old makes room."""
        bin_folder, places = f"{self.folder}/bin", []
        for given, name in ((self._setting.runner, "hwnas-runner"), (self._setting.library, "libonnxruntime.so")):
            path = Path(given)
            if not path.is_file():
                raise UnavailableError(f"{given}: there is no such file; how to make it: docs/fleet.md")
            places.append((path, f"{bin_folder}/{sha256(path)[:16]}-{name}"))
        folders = " ".join(shlex.quote(f"{self.folder}/{name}") for name in ("files", "run"))
        asked = "\n".join(f"[ -x {shlex.quote(place)} ] && echo hwnas-has {shlex.quote(place)}" for _, place in places)
        old = f"find {folders} -mindepth 1 -maxdepth 1 -mtime +{_KEPT_DAYS - 1} -exec rm -r {{}} + 2>/dev/null"
        found = self.shell(f"mkdir -p {shlex.quote(bin_folder)} {folders}\n{asked}\n{old}")
        for path, place in places:
            if f"hwnas-has {place}" not in found:
                arriving = f"{place}.part-{secrets.token_hex(4)}"  # another session may bring it, too
                try:
                    self._push(path, arriving)
                except UnavailableError:
                    self.shell(f"rm -f {shlex.quote(arriving)}")
                    raise
                self.shell(f"chmod 755 {shlex.quote(arriving)} && mv {shlex.quote(arriving)} {shlex.quote(place)}")
        return places[0][1], places[1][1]

    def _push(self, path: Path, place: str) -> None:
        try:
            self._adb("push", str(path), place, limit_s=_PUSH_S)
        except UnavailableError as error:
            if "No space left" in str(error):
                size = path.stat().st_size
                folder = self.folder
                raise UnavailableError(
                    f"the disk of the device is full: no room for {size} bytes in {folder}"
                ) from None
            raise

    def _adb(self, *words: str, limit_s: float) -> str:
        command = [*self._client, *words]
        try:
            done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=limit_s, check=False)
        except FileNotFoundError:
            raise Lost(f"there is no {self._setting.adb}; Debian has it as adb") from None
        except subprocess.TimeoutExpired:
            raise Lost(f"adb {words[0]}: no answer within {limit_s:g} s") from None
        said = " ".join((done.stderr or done.stdout).decode(errors="replace").split())
        if words[0] != "shell" and done.returncode:
            raise UnavailableError(f"adb {words[0]}: {said}")
        if words[0] == "shell" and done.returncode and b"hwnas done" not in done.stdout:
            raise Lost(said or f"adb ended with status {done.returncode}")
        return done.stdout.decode(errors="replace")

    def _write(self, *words: object) -> None:
        line = "\t".join(re.sub(r"[\t\r\n]+", " ", str(word)) for word in words) + "\n"
        try:
            with self._writing:
                if self._process.stdin:
                    protocol.write_all(self._process.stdin.fileno(), line.encode())
        except OSError:
            raise self._ended() from None

    def _next(self) -> Record:
        while not self._records:
            data = self._process.stdout.read(1 << 20) if self._process.stdout else b""
            if not data:
                raise self._ended()
            self._records += [record for line in self._lines.feed(data) if (record := protocol.parse(line))]
        return self._records.pop(0)

    def _ended(self) -> Lost:
        status = self._process.wait()
        return Lost(f"the runner ended with status {status}" if status else "the connection to the device was cut")

    def _beat(self) -> None:
        pause = threading.Event()
        with contextlib.suppress(Lost):
            while not pause.wait(_BEAT_S):
                self._write(0, "beat")
