"""Statements of many rows or keys, handed to the driver as they are.

SQLAlchemy would look at each value of each row. Ours are what both drivers take and
give: integers, text, bytes. It still has the connection, the transaction, the errors.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any

import sqlalchemy as sa

_MARKS = {"qmark": "?", "pyformat": "%s"}
"""What stands for a value, by PEP 249's name for it: SQLite's, and PostgreSQL's."""


def insert(
    connection: sa.Connection, table: sa.Table, rows: Sequence[tuple[Any, ...]]
) -> None:
    """Insert rows whose values are in the order of the table's columns."""
    if rows:
        connection.exec_driver_sql(_insert(table, connection.dialect), list(rows))


def select(
    connection: sa.Connection,
    table: sa.Table,
    *,
    keyed: int,
    keys: Sequence[tuple[Any, ...]],
) -> Sequence[sa.Row[Any]]:
    """Return the rows whose first `keyed` columns are one of `keys`.

    A join: SQLite would read all of the table for an IN over several columns.
    """
    if not keys:
        return []
    one = f"({', '.join([_MARKS[connection.dialect.paramstyle]] * keyed)})"
    begin, end = _select(table, keyed, connection.dialect)
    values = tuple(value for key in keys for value in key)
    statement = f"{begin} {', '.join([one] * len(keys))} {end}"
    return connection.exec_driver_sql(statement, values).all()


@cache
def _insert(table: sa.Table, dialect: sa.Dialect) -> str:
    names = _names(table, dialect)
    marks = ", ".join([_MARKS[dialect.paramstyle]] * len(table.columns))
    return f"INSERT INTO {table.name} ({names}) VALUES ({marks})"  # noqa: S608 (names of our own)


@cache
def _select(table: sa.Table, keyed: int, dialect: sa.Dialect) -> tuple[str, str]:
    """Return what stands before the values and behind them."""
    quote = dialect.identifier_preparer.quote
    key = [quote(column.name) for column in table.columns][:keyed]
    matches = " AND ".join(f"{table.name}.{name} = wanted.{name}" for name in key)
    names = ", ".join(f"{table.name}.{quote(c.name)}" for c in table.columns)
    return (
        f"WITH wanted ({', '.join(key)}) AS (VALUES",
        f") SELECT {names} FROM wanted JOIN {table.name} ON {matches}",  # noqa: S608
    )


def _names(table: sa.Table, dialect: sa.Dialect) -> str:
    return ", ".join(dialect.identifier_preparer.quote(c.name) for c in table.columns)
