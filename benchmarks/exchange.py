"""``hwnas store export`` and ``import``: profiles from one store to another, as a CSV file without raw times."""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks.measuring import open_store, store_of
from profiles import frames
from profiles.errors import InputError
from profiles.records import Profile, digest_of
from profiles.store import Store


def export_csv(file: Path, url: str | None, fleet: Path | None) -> None:
    if file.is_dir():
        raise InputError(f"{file}: given a folder; accepted: a file")
    with open_store(url, fleet) as store:
        found = store.profiles(raw=False)
    frames.write_csv(found, file)
    print(f"{len(found)} profiles written to {file}", file=sys.stderr)


def import_csv(file: Path, url: str | None, fleet: Path | None) -> None:
    """What the store has already is left out: the same file twice makes no second history. Raises InputError."""
    found = frames.read_csv(file)
    with Store(store_of(url, fleet)) as store:
        known = {_identity(one) for one in store.profiles(raw=False)}
        new = {key: one for one in found if (key := _identity(one)) not in known}
        # Another import may add the same ones at the same time.
        added = sum(store.add_profile(profile, once=key) for key, profile in new.items())
        print(f"{added} profiles added to {store.name}; {len(found) - added} were there already", file=sys.stderr)


def _identity(one: Profile) -> str:
    """32 characters, as ``Database.add`` takes them."""
    return digest_of([one.time, one.model, one.digest, one.target.to_dict()])[:32]
