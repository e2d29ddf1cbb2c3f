"""Where a run's events and profiles are kept: ``study.db`` in its folder, or a database that ``store.json`` names.

    {"url": "postgresql+psycopg://ann@db.lab/hwnas", "study": "digits-3f9a2c1b"}

The study's name in that database is its own, so that two people may search ``digits`` side by side. The password is
written nowhere: who reads the run later gives it as libpq takes it, in PGPASSWORD or ``~/.pgpass``.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from pathlib import Path

from nas.folder import RunFolder
from profiles import files
from profiles.database import in_a_file, without_password
from profiles.errors import InputError
from profiles.store import Store
from profiles.urls import place_of


def open_store(
    folder: RunFolder, study: str, given: str | None = None, say: Callable[[str], object] | None = None
) -> tuple[Store, str]:
    """The store of a run, and the study's name in it. ``given``: a URL or a file, where it is to be elsewhere.

    Raises InputError where the run's events lie in another store or would be nowhere, and what ``Store`` does.
    """
    if given is None and not folder.elsewhere.is_file():
        return Store(folder.database, say), study
    url = None if given is None else _url(given)
    if url is not None and folder.database.is_file():
        raise InputError(
            f"--store: {folder.path} has its own, study.db; go on without --store, or choose another --out"
        )
    if url is not None and not folder.elsewhere.is_file():
        Store(url).close()  # what cannot be opened is not written down
        _write_once(folder.elsewhere, {"url": without_password(url)[0], "study": f"{study}-{secrets.token_hex(4)}"})
    there = files.read_json(folder.elsewhere)
    if not isinstance(there, dict) or not {"url", "study"} <= there.keys():
        raise InputError(f"{folder.elsewhere}: accepted: a JSON object with url and study, as a search writes it")
    if url is not None and without_password(url)[0] != there["url"]:
        raise InputError(
            f"--store: {folder.path} was begun with {there['url']}; go on with that, or choose another --out"
        )
    return Store(url or there["url"], say), there["study"]


def served(folder: RunFolder, given: str | None = None) -> bool:
    """Whether ``open_store`` gives one on a database server, which takes several controllers at once."""
    there = files.read_json(folder.elsewhere)
    url = _url(given) if given is not None else there.get("url", "") if isinstance(there, dict) else ""
    return bool(url) and not url.startswith("sqlite")


def _url(given: str) -> str:
    place = place_of(given)
    if isinstance(place, str):
        return in_a_file(place)
    if any(letter in given for letter in "?%#"):  # which mean something else in the URL that store.json holds
        raise InputError(f"--store: given {given}; accepted: a path without ?, % and #, or a URL")
    return f"sqlite:///{place.absolute()}"


def _write_once(path: Path, value: dict[str, str]) -> None:
    """Of several that start at once, one writes it."""
    own = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    files.write_json(own, value)
    try:
        os.link(own, path)
    except FileExistsError:
        pass
    finally:
        own.unlink()
