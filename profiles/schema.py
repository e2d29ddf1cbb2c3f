"""The tables of a store. A change here needs a step in ``profiles.migrations`` and the new ``VERSION``; a test holds
the two together.

Rows are only ever added, but for ``controllers``. Each carries a random ``token``: a row whose commit was not
confirmed, since the connection was lost, is not added twice.
"""

from __future__ import annotations

import sqlalchemy as sa

VERSION = "2"

metadata = sa.MetaData()

profiles = sa.Table(
    "profiles",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("time", sa.String(32), nullable=False),
    sa.Column("study", sa.String(128), index=True),
    sa.Column("trial", sa.Integer),
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("digest", sa.String(64), nullable=False, index=True),
    sa.Column("target", sa.String(128), nullable=False, index=True),
    sa.Column("fingerprint", sa.String(64), nullable=False, index=True),
    sa.Column("record", sa.LargeBinary, nullable=False),  # zlib of the JSON with raw times
    sa.Column("token", sa.String(40)),  # none: a row of version 1
    sa.Index("ix_profiles_token", "token", unique=True),
)

events = sa.Table(
    "events",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("time", sa.String(32), nullable=False),
    sa.Column("study", sa.String(128), nullable=False, index=True),
    sa.Column("trial", sa.Integer),
    sa.Column("kind", sa.String(32), nullable=False),
    sa.Column("data", sa.Text, nullable=False),
    sa.Column("seq", sa.Integer, nullable=False),  # 1, 2, ... within the study: what makes its history one line
    sa.Column("token", sa.String(40)),
    sa.Index("ix_events_seq", "study", "seq", unique=True),
    sa.Index("ix_events_token", "token", unique=True),
)

comparisons = sa.Table(
    "comparisons",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("time", sa.String(32), nullable=False),
    sa.Column("base", sa.String(64), nullable=False, index=True),  # digests
    sa.Column("other", sa.String(64), nullable=False, index=True),
    sa.Column("target", sa.String(128), nullable=False),
    sa.Column("verdict", sa.String(16), nullable=False),
    sa.Column("record", sa.LargeBinary, nullable=False),  # zlib of the JSON with raw times
    sa.Column("token", sa.String(40)),
    sa.Index("ix_comparisons_token", "token", unique=True),
)

references = sa.Table(
    "references",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("time", sa.String(32), nullable=False),
    sa.Column("clock", sa.String(64), nullable=False, index=True),  # profiles.store.clock_of(...)
    sa.Column("calibration_ms", sa.Float, nullable=False),
    sa.Column("token", sa.String(40)),
    sa.Index("ix_references_token", "token", unique=True),
)

controllers = sa.Table(
    "controllers",
    metadata,
    sa.Column("study", sa.String(128), primary_key=True),
    sa.Column("name", sa.String(255), primary_key=True),
    sa.Column("beat", sa.Integer, nullable=False),  # counts up while the controller lives
)
