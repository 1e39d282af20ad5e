"""What each append executes, handed to the driver as it is.

SQLAlchemy would make more of each statement, its values and its rows than the database
itself does. Ours are what both drivers take and give: integers, text, bytes. It still
has the connection, the transaction and the errors.
"""

from collections.abc import Sequence
from functools import cache
from itertools import chain
from typing import Any, NoReturn

import sqlalchemy as sa

_MARKS = {"qmark": "?", "pyformat": "%s"}
"""What stands for a value, by PEP 249's name for it: SQLite's, and PostgreSQL's."""

_LISTS = {int: "bigint[]", str: "text[]", bytes: "bytea[]"}
"""PostgreSQL's lists of the values that we write."""

_MOST_ROWS = 500
"""In one statement: SQLite takes 32,766 values at most."""


def rows(
    connection: sa.Connection, wanted: sa.Select[Any]
) -> Sequence[tuple[Any, ...]]:
    """Return what a statement selects that was made once, and takes no values."""
    return execute(connection, _spelled(wanted, connection.dialect))


def update(connection: sa.Connection, column: sa.Column[Any], value: Any) -> None:
    """Set a column in all rows of its table."""
    execute(connection, _update(column, connection.dialect), (value,))


def insert(
    connection: sa.Connection, table: sa.Table, rows: Sequence[tuple[Any, ...]]
) -> None:
    """Insert rows whose values are in the order of the table's columns."""
    _put(connection, table, rows, "")


def replace(
    connection: sa.Connection, table: sa.Table, rows: Sequence[tuple[Any, ...]]
) -> None:
    """Insert rows, or put them in the place of those with the same key."""
    _put(connection, table, rows, _replacing(table, connection.dialect))


def select(
    connection: sa.Connection,
    table: sa.Table,
    *,
    keyed: int,
    keys: Sequence[tuple[Any, ...]],
) -> Sequence[tuple[Any, ...]]:
    """Return the rows whose first `keyed` columns are one of `keys`.

    A join: SQLite would read all of the table for an IN over several columns.
    """
    if not keys:
        return []
    begin, end = _select(table, keyed, connection.dialect)
    wanted, values = _given(connection, table, keys)
    return execute(connection, f"{begin}{wanted}{end}", values)


def execute(
    connection: sa.Connection, statement: str, values: Sequence[Any] = ()
) -> Sequence[tuple[Any, ...]]:
    """Execute a statement as the driver wants it; return the rows that it gives."""
    cursor = connection.connection.cursor()
    try:
        connection.dialect.do_execute(cursor, statement, values)
        rows = cursor.fetchall() if cursor.description else ()
        cursor.close()
    except BaseException as error:  # noqa: BLE001 (all are raised again)
        _fail(connection, error, statement, cursor)
    return rows


def _put(
    connection: sa.Connection,
    table: sa.Table,
    rows: Sequence[tuple[Any, ...]],
    end: str,
) -> None:
    """Insert rows, many in one statement, which ends as said.

    For one statement a row, each would go to the server by itself; and Python gives way
    to another thread at each.
    """
    begin = _insert(table, connection.dialect)
    for first in range(0, len(rows), _MOST_ROWS):
        some, values = _given(connection, table, rows[first : first + _MOST_ROWS])
        execute(connection, f"{begin}{some}{end}", values)


def _given(
    connection: sa.Connection, table: sa.Table, rows: Sequence[tuple[Any, ...]]
) -> tuple[str, Sequence[Any]]:
    """Return what stands for rows in a statement, and the values to go with it.

    The rows are of the table's first columns. PostgreSQL is given a list for each
    column: so the statement is the same for any number, and planned once.
    """
    width = len(rows[0])
    if connection.dialect.name == "postgresql":
        lists = [list(values) for values in zip(*rows, strict=True)]
        return _unnested(table, width), lists
    one = f"({', '.join('?' * width)})"
    return f"VALUES {', '.join([one] * len(rows))}", tuple(chain.from_iterable(rows))


def _fail(
    connection: sa.Connection, error: BaseException, statement: str, cursor: Any
) -> NoReturn:
    """Raise what SQLAlchemy raises, once it has given up a connection that broke."""
    # It has no public name for this, and nothing else does all of it.
    connection._handle_dbapi_exception(error, statement, None, cursor, None)  # noqa: SLF001


@cache
def _spelled(wanted: sa.Select[Any], dialect: sa.Dialect) -> str:
    return str(wanted.compile(dialect=dialect))


@cache
def _update(column: sa.Column[Any], dialect: sa.Dialect) -> str:
    name = dialect.identifier_preparer.quote(column.name)
    mark = _MARKS[dialect.paramstyle]
    return f"UPDATE {column.table.name} SET {name} = {mark}"  # noqa: S608 (names of our own)


@cache
def _insert(table: sa.Table, dialect: sa.Dialect) -> str:
    """Return what stands before the rows."""
    return f"INSERT INTO {table.name} ({_names(table, dialect)}) "


@cache
def _unnested(table: sa.Table, width: int) -> str:
    # `%b`: in binary, as psycopg has it; bytes would be twice as long in text.
    types = [_LISTS[column.type.python_type] for column in table.columns][:width]
    marks = ", ".join(f"%b::{type_}" for type_ in types)
    return f"SELECT * FROM unnest({marks})"  # noqa: S608 (types, as above)


@cache
def _replacing(table: sa.Table, dialect: sa.Dialect) -> str:
    quote = dialect.identifier_preparer.quote
    key = ", ".join(quote(c.name) for c in table.primary_key)
    others = (quote(c.name) for c in table.columns if not c.primary_key)
    changes = ", ".join(f"{name} = excluded.{name}" for name in others)
    # Both engines know it by these words, and SQLAlchemy by none of its own.
    return f" ON CONFLICT ({key}) DO UPDATE SET {changes}"


@cache
def _select(table: sa.Table, keyed: int, dialect: sa.Dialect) -> tuple[str, str]:
    """Return what stands before the values and behind them."""
    quote = dialect.identifier_preparer.quote
    key = [quote(column.name) for column in table.columns][:keyed]
    matches = " AND ".join(f"{table.name}.{name} = wanted.{name}" for name in key)
    names = ", ".join(f"{table.name}.{quote(c.name)}" for c in table.columns)
    return (
        f"WITH wanted ({', '.join(key)}) AS (",
        f") SELECT {names} FROM wanted JOIN {table.name} ON {matches}",  # noqa: S608
    )


def _names(table: sa.Table, dialect: sa.Dialect) -> str:
    return ", ".join(dialect.identifier_preparer.quote(c.name) for c in table.columns)
