"""Both kinds of database, alike to a test: made, asked, put into a configuration."""

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ca.admin import database as admin
from tests.authority import rewrite
from tests.postgres import Database as PostgresDatabase


@dataclass(frozen=True)
class SQLiteDatabase:
    """A database in a file."""

    file: Path
    password_file: None = None

    @property
    def url(self) -> str:
        """What a configuration says to reach it."""
        return f"sqlite:///{self.file}"

    def ask(self, statement: str) -> list[tuple[Any, ...]]:
        """Run one statement on a connection of its own; return its rows."""
        with closing(sqlite3.connect(self.file)) as connection, connection:
            return connection.execute(statement).fetchall()


AnyDatabase = SQLiteDatabase | PostgresDatabase


def make_sqlite(folder: Path, *, migrated: bool = True) -> SQLiteDatabase:
    """Make a database in a folder, with our tables in it if it is `migrated`."""
    made = SQLiteDatabase(folder / "daypass.db")
    if migrated:
        admin.migrate(made.url, create=True)
    else:
        made.file.touch()
    return made


def put_into(config_file: Path, database: AnyDatabase) -> None:
    """Let a configuration that `ca-admin init` made name this database."""
    words = f'url = "{database.url}"'
    if database.password_file is not None:
        words += f'\npassword_file = "{database.password_file}"'
    rewrite(config_file, {'url = "sqlite:///daypass.db"': words})
