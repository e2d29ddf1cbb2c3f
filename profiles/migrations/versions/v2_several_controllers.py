"""Each row once (``token``), each study's history one line (``seq``), and who works on it (``controllers``)."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "2"
down_revision = "1"

_NUMBER = """
UPDATE events SET seq = numbered.place
FROM (SELECT id, row_number() OVER (PARTITION BY study ORDER BY id) AS place FROM events) AS numbered
WHERE events.id = numbered.id
"""


def upgrade() -> None:
    for table in ("profiles", "events", "comparisons", "references"):
        op.add_column(table, sa.Column("token", sa.String(40)))
        op.create_index(f"ix_{table}_token", table, ["token"], unique=True)
    op.add_column("events", sa.Column("seq", sa.Integer))
    op.execute(_NUMBER)
    with op.batch_alter_table("events") as events:
        events.alter_column("seq", existing_type=sa.Integer, nullable=False)
    op.create_index("ix_events_seq", "events", ["study", "seq"], unique=True)
    op.create_table(
        "controllers",
        sa.Column("study", sa.String(128), primary_key=True),
        sa.Column("name", sa.String(255), primary_key=True),
        sa.Column("beat", sa.Integer, nullable=False),
    )
