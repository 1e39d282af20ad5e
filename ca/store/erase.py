"""Take the personal part of an entry away, and leave no copy of it in the database."""

import sqlalchemy as sa

from ca.store import tables


def erase(connection: sa.Connection, index: int) -> None:
    """Erase record and to-be-signed bytes. The leaf keeps their hashes."""
    if connection.dialect.name == "sqlite":
        # Else what was there stays readable in the file until its page is used again.
        connection.exec_driver_sql("PRAGMA secure_delete = ON")
    connection.execute(
        sa.update(tables.entries)
        .where(tables.entries.c.index == index)
        .values(record=None, to_be_signed=None)
    )


def empty_write_ahead_log(engine: sa.Engine) -> None:
    """Forget SQLite's pages as they were before; other readers may delay that."""
    if engine.dialect.name != "sqlite":
        return
    connection = engine.raw_connection()
    try:
        connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")
    finally:
        connection.close()
