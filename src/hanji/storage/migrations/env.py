"""How alembic runs migrations here: on the connection, and in the transaction, that it is handed."""

from __future__ import annotations

from alembic import context

from hanji.storage.migrate import VERSION_TABLE

context.configure(
    connection=context.config.attributes["connection"],
    version_table=VERSION_TABLE,
    render_as_batch=True,  # SQLite cannot alter most of a table
)
with context.begin_transaction():
    context.run_migrations()
