"""What alembic runs for each command: the steps, on the connection that ``bring_up_to_date`` gives it."""

from __future__ import annotations

from alembic import context

from profiles.migrations import VERSION_TABLE

context.configure(connection=context.config.attributes["connection"], version_table=VERSION_TABLE)
context.run_migrations()
