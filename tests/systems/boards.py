"""Real sshd "boards" on one machine: each has network, mount and process namespaces, an address, a host key, a home, a
device lock and a core of its own. They share the kernel and the file system. Needs root and Debian's openssh-server.

with boards(4, folder) as lab:
    lab[0].device()         # as of a fleet file
    lab[0].link(up=False)
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import debian

from devices.transports.ssh import Device

HERE = Path(__file__).parent
NET = f"10.{os.getpid() % 200 + 40}.{os.getpid() // 200 % 250}"  # two labs at once do not meet


def lacking() -> str:
    """Why there can be no boards here; empty: there can. Installs sshd where that is all that is missing."""
    if reason := debian.lacking(
        ("/usr/sbin/sshd", "ssh", "ssh-keygen", "ip", "unshare", "taskset"),
        ("openssh-server", "openssh-client", "iproute2", "util-linux"),
    ):
        return reason
    if os.geteuid() != 0:
        return "network namespaces need root"
    tried = subprocess.run(["unshare", "--net", "--mount", "--pid", "--fork", "true"], capture_output=True, check=False)
    return "" if tried.returncode == 0 else "this kernel or container allows no namespaces"


@dataclass
class Board:
    """``pid``: of its init as seen from outside. Killing that ends everything on the board, as a power cut does."""

    name: str
    number: int
    state: Path
    bridge: str
    core: int
    config: Path
    root: Path | None = None  # a file system of its own, as of arm64.sh
    init: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"{NET}.{self.number + 10}"

    @property
    def home(self) -> Path:
        return self.root / "root" if self.root else self.state / "home"

    def device(self, **keys: Any) -> Device:
        return Device(**({"host": self.name, "python": sys.executable, "config": str(self.config)} | keys))

    def boot(self) -> None:
        (self.state / "linked").unlink(missing_ok=True)
        namespaces = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child"]
        self.init = subprocess.Popen(
            [*namespaces, str(HERE / "board.sh"), str(self.state), self.address, str(self.core), str(self.root or "")],
            stdin=subprocess.DEVNULL,
            stderr=(self.state / "init.log").open("ab"),
            start_new_session=True,
        )
        outside = f"hb{self.number}x{os.getpid() % 100000}"
        mac = f"02:00:00:00:76:{self.number:02x}"  # kept over reboots, as boards do
        peer = ("peer", "name", "board0", "address", mac, "netns", str(self._inside()))
        _run("ip", "link", "add", outside, "type", "veth", *peer)
        _run("ip", "link", "set", outside, "master", self.bridge, "up")
        self._outside = outside
        (self.state / "linked").touch()

    def power_cut(self) -> None:
        """All processes of the board die at once; the address answers no more."""
        if self.init:
            os.killpg(self.init.pid, signal.SIGKILL)
            self.init.wait()
            self.init = None
            subprocess.run(["ip", "link", "del", self._outside], capture_output=True, check=False)  # gone soon anyway

    def link(self, *, up: bool) -> None:
        _run("ip", "link", "set", self._outside, "up" if up else "down")

    @contextlib.contextmanager
    def little_memory(self, megabytes: int) -> Iterator[None]:
        """For those who log in meanwhile. Raises OSError where this machine lets nobody limit that."""
        base, limit = Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes"
        if not base.is_dir():
            base, limit = Path("/sys/fs/cgroup"), "memory.max"
        group = base / f"hwnas-{os.getpid()}-{self.number}"
        group.mkdir()
        try:
            (group / limit).write_text(str(megabytes * 1_000_000))
            for pid in self.processes("/usr/sbin/sshd"):
                (group / "cgroup.procs").write_text(str(pid))
            yield
        finally:
            for pid in (group / "cgroup.procs").read_text().split():
                with contextlib.suppress(OSError):  # it has ended
                    (base / "cgroup.procs").write_text(pid)
            group.rmdir()

    def run_inside(self, *command: str) -> None:
        _run("nsenter", "--target", str(self._inside()), "--mount", "--net", *command)

    def processes(self, word: str) -> list[int]:
        """Of this board, with ``word`` in their command line, as process ids of the whole machine."""
        if self.init is None:
            return []
        own = os.readlink(f"/proc/{self._inside()}/ns/net")
        found = []
        for path in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if word in (path / "cmdline").read_bytes().decode(errors="replace").replace("\0", " "):
                    if os.readlink(path / "ns" / "net") == own:
                        found.append(int(path.name))
        return found

    def wait_until_up(self, seconds: float = 20.0) -> None:
        end = time.monotonic() + seconds
        while subprocess.run(self.device().command("true"), capture_output=True, check=False).returncode:
            if time.monotonic() > end:
                raise AssertionError(f"{self.name} does not answer: {(self.state / 'sshd.log').read_text()[-500:]}")
            time.sleep(0.05)

    def _inside(self) -> int:
        """The board's init, which is the only child of unshare."""
        end = time.monotonic() + 10
        while self.init and time.monotonic() < end:
            children = Path(f"/proc/{self.init.pid}/task/{self.init.pid}/children").read_text().split()
            if children:
                return int(children[0])
            time.sleep(0.005)
        raise AssertionError("the board did not boot")


@contextlib.contextmanager
def boards(count: int, folder: Path, root: Path | None = None) -> Iterator[list[Board]]:
    """That many boards on a bridge of their own, up and answering; ``folder`` holds keys, homes and logs. ``root``:
    the file system that they show.
    """
    bridge = f"hwnas{os.getpid() % 100000}"
    config = folder / "ssh_config"
    known, key = folder / "known_hosts", folder / "id"
    _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key))
    _run("ip", "link", "add", bridge, "type", "bridge")
    made: list[Board] = []
    try:
        _run("ip", "address", "add", f"{NET}.1/24", "dev", bridge)
        _run("ip", "link", "set", bridge, "up")
        with config.open("w") as file:
            file.write(f"UserKnownHostsFile {known}\nIdentityFile {key}\nIdentitiesOnly yes\nUser root\n")
        cores = sorted(os.sched_getaffinity(0))
        for number in range(count):
            state, core = folder / f"board{number}", cores[number % len(cores)]
            board = Board(f"board{number}", number, state, bridge, core, config, root)
            _furnish(board, key)
            with config.open("a") as file:
                file.write(f"Host {board.name}\n  HostName {board.address}\n  Port {2200 + number}\n")
            with known.open("a") as file:
                public = (board.state / "host_key.pub").read_text().split()
                file.write(f"[{board.address}]:{2200 + number} {public[0]} {public[1]}\n")
            made.append(board)
            board.boot()
        for board in made:
            board.wait_until_up()
        yield made
    finally:
        for board in made:
            board.power_cut()
        _run("ip", "link", "del", bridge)


def _furnish(board: Board, key: Path) -> None:
    board.state.mkdir()
    board.home.mkdir(exist_ok=True)
    _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(board.state / "host_key"))
    passwd = [line for line in Path("/etc/passwd").read_text().splitlines() if not line.startswith("root:")]
    (board.state / "passwd").write_text(
        "\n".join([f"root:x:0:0:root:{'/root' if board.root else board.home}:/bin/bash", *passwd]) + "\n"
    )
    shutil.copy(f"{key}.pub", board.state / "authorized_keys")
    settings = {
        "Port": 2200 + board.number,
        "ListenAddress": board.address,
        "HostKey": board.state / "host_key",
        "AuthorizedKeysFile": board.state / "authorized_keys",
        "PidFile": board.state / "sshd.pid",
        "PermitRootLogin": "prohibit-password",
        "PasswordAuthentication": "no",
        "KbdInteractiveAuthentication": "no",
        "UsePAM": "no",
        "StrictModes": "no",
        "MaxStartups": "50",
        "SetEnv": f"HWNAS_LOCK={'/tmp' if board.root else board.state}/lock OMP_NUM_THREADS=1",
        **({"ChrootDirectory": "/srv"} if board.root else {}),
    }
    (board.state / "sshd_config").write_text("".join(f"{name} {value}\n" for name, value in settings.items()))


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise AssertionError(f"{' '.join(command)}: {done.stderr.strip()}")
