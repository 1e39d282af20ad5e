"""How Alembic reaches the database: on the connection it is handed, nowhere else."""

from alembic import context

from ca.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"], target_metadata=metadata
)
with context.begin_transaction():
    context.run_migrations()
