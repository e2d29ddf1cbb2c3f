"""Each row once (``token``), each study's history one line (``seq``), and who works on it (``controllers``)."""

from __future__ import annotations

from collections import Counter

import sqlalchemy as sa
from alembic import op

revision = "2"
down_revision = "1"


def _number() -> None:
    """1, 2, ... in each study. Here, since older SQLite knows neither UPDATE FROM nor windows."""
    connection, last = op.get_bind(), Counter[str]()
    rows = []
    for row in connection.execute(sa.text("SELECT id, study FROM events ORDER BY id")).all():
        last[row.study] += 1
        rows.append({"place": last[row.study], "row": row.id})
    if rows:
        connection.execute(sa.text("UPDATE events SET seq = :place WHERE id = :row"), rows)


def upgrade() -> None:
    for table in ("profiles", "events", "comparisons", "references"):
        op.add_column(table, sa.Column("token", sa.String(40)))
        op.create_index(f"ix_{table}_token", table, ["token"], unique=True)
    op.add_column("events", sa.Column("seq", sa.Integer))
    _number()
    with op.batch_alter_table("events") as events:
        events.alter_column("seq", existing_type=sa.Integer, nullable=False)
    op.create_index("ix_events_seq", "events", ["study", "seq"], unique=True)
    op.create_table(
        "controllers",
        sa.Column("study", sa.String(128), primary_key=True),
        sa.Column("name", sa.String(255), primary_key=True),
        sa.Column("beat", sa.Integer, nullable=False),
    )
