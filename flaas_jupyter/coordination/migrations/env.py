"""Alembic's environment: it works on the connection that `Database.migrate` gives it."""

from alembic import context

from flaas_jupyter.coordination.tables import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    render_as_batch=True,  # SQLite changes a table by making it anew
    compare_type=True,
)
with context.begin_transaction():
    context.run_migrations()
