"""A run folder: what lies where, and the lock that keeps a second search out of it.

study.toml  study.db  trials/<index>/  front/<trial>.onnx  trials.csv  pareto.csv  report.html

With a database elsewhere (``nas.run_store``), ``store.json`` takes the place of ``study.db``.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from profiles.clock import utc_now
from profiles.errors import InputError, UnavailableError

FULL = (errno.ENOSPC, errno.EDQUOT)
_LEAST_FREE = 1 << 20  # bytes


@dataclass(frozen=True, slots=True)
class RunFolder:
    path: Path

    @property
    def study(self) -> Path:
        return self.path / "study.toml"

    @property
    def database(self) -> Path:
        return self.path / "study.db"

    @property
    def elsewhere(self) -> Path:
        """Names the database, where that is not ``database``."""
        return self.path / "store.json"

    @property
    def transfer(self) -> Path:
        """What other runs say, as it was when the search began."""
        return self.path / "transfer.json"

    @property
    def begun(self) -> bool:
        """Whether it has a store."""
        return self.database.is_file() or self.elsewhere.is_file()

    @property
    def front(self) -> Path:
        return self.path / "front"

    def trial(self, index: int) -> TrialFolder:
        return TrialFolder(self.path / "trials" / str(index))

    def scout(self, digest: str) -> TrialFolder:
        """Of a candidate that is measured and not trained; see ``nas.scouting``."""
        return TrialFolder(self.path / "scouts" / digest[:16])

    def check_room(self, reason: str, job: Path | None = None) -> None:
        """Raises UnavailableError where a step failed for ``reason`` and a full disk is behind it: its own, or none.

        ``job``: the folder of a training, removed then: what is left of it says only that, and a resumed search trains
        it again.
        """
        if is_full(reason) or shutil.disk_usage(self.path).free < _LEAST_FREE:
            if job is not None:
                shutil.rmtree(job, ignore_errors=True)
            raise UnavailableError(f"{self.path}: no space left: {reason}")


def is_full(reason: str) -> bool:
    """Whether a step that failed for this had no room on a disk."""
    return any(os.strerror(number) in reason for number in FULL)


@dataclass(frozen=True, slots=True)
class TrialFolder:
    """One trial's files, each the result of one step: a step whose file is there need not be done again."""

    path: Path

    @property
    def candidate(self) -> Path:
        return self.path / "candidate.json"

    @property
    def untrained(self) -> Path:
        return self.path / "untrained.onnx"

    @property
    def trained(self) -> Path:
        return self.path / "trained.onnx"

    @property
    def converted(self) -> Path:
        """The trained network in the precision of its first target, where that is not fp32."""
        return self.path / "converted.onnx"

    @property
    def fp32(self) -> Path:
        """The trained network; the untrained one where its accuracy came from a table."""
        return self.trained if self.trained.exists() else self.untrained

    @property
    def shipped(self) -> Path:
        return self.converted if self.converted.exists() else self.fp32

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.json"

    @property
    def job(self) -> Path:
        """Where the training job writes; each attempt and each confirming seed has a folder of its own."""
        return self.path / "job"

    def retry(self, attempt: int) -> Path:
        return self.job if attempt == 0 else self.path / f"job-{attempt}"

    def profile(self, target: str) -> Path:
        return self.path / f"profile-{target}.json"

    def confirmed(self, target: str) -> Path:
        """The profile of the file that ships, without raw times; those are in the store."""
        return self.path / f"confirmed-{target}.json"

    def confirm(self, seed: int, closing: int = 0) -> Path:
        """``closing``: see ``nas.closing.folder_of``."""
        return self.path / (f"confirm-{seed}-{closing}" if closing else f"confirm-{seed}")


@contextmanager
def as_it_was(folder: RunFolder) -> Iterator[None]:
    """Bad input that only shows after the search has begun, and before its first trial, leaves no study behind: what
    is mended would be refused as another one. A database elsewhere is left alone.
    """
    new = not folder.begun
    try:
        yield
    except InputError:
        if new and not folder.elsewhere.is_file() and not any(folder.path.glob("trials/*")):
            for path in (folder.study, folder.transfer, *folder.path.glob("study.db*")):
                path.unlink(missing_ok=True)
        raise


@contextmanager
def locked(path: Path, *, shared: bool = False) -> Iterator[None]:
    """Hold the folder while a search runs. The lock dies with its process, however that ends.

    ``shared``: beside others that share it, each a controller of the same study.

    Raises InputError where another search holds it (naming it), or the folder cannot be written; UnavailableError where
    the disk is full.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        handle = os.open(path / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise _unwritable(path, error) from None
    try:
        try:
            fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(handle, 200).decode(errors="replace").strip() or "another search"
            raise InputError(f"{path} is in use by {holder}; wait for it, or choose another --out") from None
        except OSError as error:
            raise UnavailableError(f"--out {path}: its file system has no locks (flock): {error.strerror}") from None
        holder = f"process {os.getpid()} on {os.uname().nodename} since {utc_now()}\n"
        try:
            os.ftruncate(handle, 0)
            os.pwrite(handle, holder.encode(), 0)
        except OSError as error:
            raise _unwritable(path, error) from None
        yield
    finally:
        os.close(handle)


def _unwritable(path: Path, error: OSError) -> Exception:
    if error.errno in FULL:
        return UnavailableError(f"--out {path}: {error.strerror}; make room, or choose another --out")
    return InputError(f"--out {path}: {error.strerror}; accepted: a folder that can be written")
