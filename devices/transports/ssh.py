"""A machine that OpenSSH reaches, with Python 3.10 or later and numpy there.

[devices.pi5]
transport = "ssh"
host = "pi5.lab"                  # anything that ~/.ssh/config knows, user@host, jump hosts
python = "~/hwnas/bin/python"     # default: python3
folder = "~/.cache/hwnas"         # default; the agent and the models are kept there
config = "lab.ssh"                # default: your own ~/.ssh/config

The plain ssh client is used and nothing is asked: a host key that is not known, or a key that needs a passphrase and
has no agent, is an error. One connection for a whole session, and files go through it.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import subprocess
import time
from pathlib import Path
from typing import Annotated, ClassVar

import pydantic

import devices
from devices import protocol
from devices.transports import last_line, piped, readable
from profiles.errors import UnavailableError

OPTIONS = (
    "BatchMode=yes",
    "StrictHostKeyChecking=yes",
    "PasswordAuthentication=no",
    "ForwardX11=no",
    "ForwardAgent=no",
    "ClearAllForwardings=yes",  # those of the user's configuration are for logins
    "RemoteCommand=none",
    "ControlMaster=no",  # a connection that others share would end with theirs, or theirs with ours
    "ControlPath=none",
    "ConnectTimeout=10",
    "ServerAliveInterval=10",
    "ServerAliveCountMax=2",
)
_BOOT_S = 60.0  # from the connection to the agent's arrival; ssh itself gives up earlier

# What is in ssh's stderr -> what to say; {host} and {python} are filled in. The first that fits counts.
_REASONS = (
    (
        "REMOTE HOST IDENTIFICATION HAS CHANGED",
        "its host key has changed; if you know why: ssh-keygen -R {name}, then connect once with {ssh}",
    ),
    ("Host key verification failed", "its host key is not known; to see and accept it: {ssh}"),
    (r"Permission denied \(", "it accepts none of your keys: ssh-copy-id {host}"),
    ("Exec format error|cannot execute binary file", "{python} is a program for another kind of processor"),
    ("Timeout, server .* not responding", "the link is down, or the device is off"),
    ("closed by remote host|Broken pipe|Connection reset", "the ssh connection was cut"),
)
NOT_FOUND, _NOT_EXECUTABLE = 127, 126


def _host(text: str) -> str:
    if not re.fullmatch(r"[^\s-]\S*", text):
        raise ValueError("a host as ssh takes it")
    return text


class Device(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")
    shares_files: ClassVar[bool] = False

    host: Annotated[str, pydantic.AfterValidator(_host)]
    python: str = "python3"
    folder: str = "~/.cache/hwnas"
    config: Path | None = None

    def command(self, *words: str) -> list[str]:
        """What runs ``words`` there; they go through the login shell of the device."""
        options = [part for option in OPTIONS for part in ("-o", option)]
        return ["ssh", "-T", *self._file(), *options, "--", self.host, _join(words)]

    def start(self, agent: Path, stderr: int) -> subprocess.Popen[bytes]:
        process = piped(
            self.command("exec", self.python, "-u", "-c", _boot(), self.folder, agent.name, str(agent.stat().st_size)),
            stderr,
            {**os.environ, "SSH_ASKPASS_REQUIRE": "never"},  # nor is there a terminal to ask for a password on
        )
        try:
            if self._word(process, stderr) == "need" and process.stdin:
                with contextlib.suppress(BrokenPipeError):  # the next word says why
                    protocol.write_all(process.stdin.fileno(), agent.read_bytes())
                self._word(process, stderr)
        except BaseException:
            process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout):
                if stream:
                    stream.close()
            raise
        return process

    def explain(self, status: int | None, stderr: str) -> str:
        for pattern, reason in _REASONS:
            if re.search(pattern, stderr):
                name = self._known_as() if "{name}" in reason else ""
                ssh = shlex.join(["ssh", *self._file(), self.host])
                return reason.format(host=self.host, name=name, ssh=ssh, python=self.python)
        if status == NOT_FOUND:
            return f"there is no {self.python}; give its path as python, or: hwnas devices add {self.host}"
        if status == _NOT_EXECUTABLE:
            return f"{self.python} is not a program that runs there"
        return last_line(stderr)

    def _file(self) -> list[str]:
        return ["-F", os.path.expanduser(self.config)] if self.config else []

    def _known_as(self) -> str:
        """As known_hosts spells it, for a shell: ``host`` may be an alias of ssh's configuration."""
        command = ["ssh", *self._file(), "-G", "--", self.host]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        said = dict(line.split(" ", 1) for line in done.stdout.splitlines() if " " in line)
        name = said.get("hostkeyalias") or said.get("hostname") or self.host.rpartition("@")[2]
        port = said.get("port", "22")
        return name if port == "22" or "hostkeyalias" in said else shlex.quote(f"[{name}]:{port}")

    def _word(self, process: subprocess.Popen[bytes], stderr: int) -> str:
        """ "have" or "need". Raises UnavailableError with the reason why there is neither."""
        end, line = time.monotonic() + _BOOT_S, b""
        while process.stdout:
            if not readable(process.stdout, max(0.0, end - time.monotonic())):
                raise UnavailableError(f"no answer within {_BOOT_S:g} s")
            byte = process.stdout.read(1)  # one at a time: what follows the line is the agent's
            if not byte:
                break
            if byte != b"\n":
                line += byte
                continue
            word, _, reason = line.decode(errors="replace").removeprefix("hwnas ").partition(" ")
            if line.startswith(b"hwnas "):
                if word == "fails":
                    raise UnavailableError(reason)
                return word
            line = b""
        status = process.wait()
        said = os.pread(stderr, 4000, max(0, os.fstat(stderr).st_size - 4000)).decode(errors="replace")
        raise UnavailableError(self.explain(status, said) or f"ssh ended with status {status}")


def _boot() -> str:
    return (Path(str(devices.__file__)).parent / "boot.py").read_text()


def _join(words: tuple[str, ...]) -> str:
    """For a shell; a leading ~ stays one."""
    return " ".join("~/" + shlex.quote(word[2:]) if word.startswith("~/") else shlex.quote(word) for word in words)
