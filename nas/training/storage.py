"""A folder by URL, through which a training job and its controller pass files where they share no file system.

    [train]
    storage = "s3://lab/hwnas"      # any URL that fsspec knows; the package for it is here and where jobs run

Every job has a folder of its own there, named by its ticket; each file has one writer.

    STORAGE/<ticket>/candidate.json, script.py      from the controller; without the first, nobody wants the job
    STORAGE/<ticket>/job/...                        from the job: what ``outcome.is_read`` says, result.json last

Credentials are the package's affair: the environment, a profile, the machine's role. Nothing that is read there is
executed, and no name that is found there leads out of the folder it is copied to.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import fsspec  # type: ignore[import-untyped]

from profiles import files
from profiles.errors import InputError, UnavailableError, one_line
from profiles.urls import shown

CANDIDATE, SCRIPT, JOB = "candidate.json", "script.py", "job"
_DEEPEST = 8  # folders within a job's


@dataclass(frozen=True, slots=True)
class Storage:
    """``system``: fsspec's file system; ``root``: the folder in its terms. Names are relative to that, and of files
    below it. Errors of all methods are the system's own, of any class.
    """

    url: str
    system: Any
    root: str

    def put(self, path: Path, name: str) -> None:
        place = f"{self.root}/{name}"
        try:
            self.system.put_file(str(path), place)
        except FileNotFoundError:
            self._make_folders(place.rpartition("/")[0])
            self.system.put_file(str(path), place)

    def get(self, name: str, path: Path) -> None:
        """Whole and on the disk, or not at all. Raises FileNotFoundError."""
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            self.system.get_file(f"{self.root}/{name}", str(beside))
            files.sync(beside)
            os.replace(beside, path)
            files.sync(path.parent)
        finally:
            beside.unlink(missing_ok=True)

    def has(self, name: str) -> bool:
        self.system.invalidate_cache()
        try:
            self.system.info(f"{self.root}/{name}")
        except FileNotFoundError:
            return False
        return True

    def found(self, folder: str) -> dict[str, str]:
        """Files below ``folder``, by their names in it, each with a mark that changes when it is written anew."""
        self.system.invalidate_cache()
        return dict(self._files(f"{self.root}/{folder}", "", _DEEPEST))

    def remove(self, folder: str) -> None:
        if not folder.strip("/."):
            raise ValueError("no folder to remove")
        with contextlib.suppress(FileNotFoundError):
            self.system.rm(f"{self.root}/{folder}", recursive=True)

    def _files(self, place: str, prefix: str, deepest: int) -> Iterator[tuple[str, str]]:
        """By ``ls``, which says when the storage does not answer; fsspec's ``find`` then finds nothing."""
        try:
            entries = self.system.ls(place, detail=True)
        except FileNotFoundError:
            return
        for about in entries:
            whole = str(about["name"]).rstrip("/")
            name = whole.rpartition("/")[2]
            if about.get("islink") or not whole.endswith(f"{place.strip('/')}/{name}"):  # or the folder's own entry
                continue
            if about["type"] == "file":
                yield prefix + name, repr(sorted(about.items(), key=str))
            elif deepest:
                yield from self._files(f"{place}/{name}", f"{prefix}{name}/", deepest - 1)

    def _make_folders(self, place: str) -> None:
        """All but the first, which may be a bucket: a bucket that is missing is a mistake."""
        parts = place.split("/")
        first = 2 if place.startswith("/") else 1
        for number in range(first, len(parts)):
            with contextlib.suppress(FileExistsError):
                self.system.mkdir("/".join(parts[: number + 1]), create_parents=False)


def open_storage(url: str) -> Storage:
    """Connects to nothing yet, with most file systems.

    Raises InputError on what is no such URL, UnavailableError where its package is missing or cannot be used.
    """
    accepted = "a URL that fsspec knows and whose files others can read, such as s3://bucket/folder"
    scheme, found, rest = url.partition("://")
    local = scheme in ("file", "local")
    if not found or "::" in url or scheme in ("memory", "http", "https") or (local and not rest.startswith("/")):
        raise InputError.of("study", "train.storage", shown(url), accepted)
    with contextlib.suppress(ValueError):
        if urlsplit(url).password is not None:
            reason = "a URL without a password, which the command lines of jobs would show"
            raise InputError.of("study", "train.storage", shown(url), reason)
    try:
        system, root = fsspec.core.url_to_fs(url.rstrip("/"))
    except ValueError:
        raise InputError.of("study", "train.storage", shown(url), accepted) from None
    except ImportError as error:
        raise UnavailableError(f"train.storage {shown(url)}: {' '.join(str(error).split())}") from error
    except Exception as error:
        raise UnavailableError(f"train.storage {shown(url)}: {one_line(error)}") from error
    return Storage(url=url.rstrip("/"), system=system, root=str(root).rstrip("/"))
