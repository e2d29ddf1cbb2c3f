"""Bring the tables of a store to this version: on opening, by alembic, each step in ``versions``.

A new store takes the same way as an old one. One without a version is of the days before there was one, version 1.
"""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa

from profiles.errors import InputError
from profiles.schema import VERSION

VERSION_TABLE = "hwnas_schema"
_FIRST = ("profiles", "events", "comparisons", "references")  # of version 1
_LOCK = 0x68776E6173  # any number that all hwnas take


def bring_up_to_date(connection: sa.Connection) -> None:
    """Inside one transaction: the whole way or nothing. Of several that open a store at once, one does it.

    Raises InputError where a newer hwnas has been here.
    """
    if _marked(connection) == VERSION:
        return
    _alone(connection)
    version = _version(connection)
    if version == VERSION:
        return
    if version is not None and (not version.isdigit() or int(version) > int(VERSION)):
        raise InputError(
            f"given tables of version {version}, which a newer hwnas made; accepted: up to version {VERSION};"
            " install that hwnas, or choose another store"
        )
    _upgrade(connection, version)


def _version(connection: sa.Connection) -> str | None:
    """``None``: a database without tables of these names. Raises InputError where some are there and not all."""
    if marked := _marked(connection):
        return marked
    inspector = sa.inspect(connection)
    there = [name for name in _FIRST if inspector.has_table(name)]
    if there and len(there) < len(_FIRST):
        raise InputError(
            f"given a database in which another program has the table {', '.join(there)}; accepted: a database or"
            " schema of its own"
        )
    return "1" if there else None


def _marked(connection: sa.Connection) -> str | None:
    """The version as it is written down; ``None`` where it is not."""
    if not sa.inspect(connection).has_table(VERSION_TABLE):
        return None
    found: str | None = connection.execute(sa.text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar()
    return found


def _alone(connection: sa.Connection) -> None:
    """Until the end of the transaction."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    elif connection.dialect.name == "postgresql":
        connection.execute(sa.text(f"SELECT pg_advisory_xact_lock({_LOCK})"))


def _upgrade(connection: sa.Connection, version: str | None) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.attributes["connection"] = connection
    if version is not None and not sa.inspect(connection).has_table(VERSION_TABLE):
        command.stamp(config, version)
    command.upgrade(config, VERSION)
