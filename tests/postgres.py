"""A real PostgreSQL of the tests' own, from the system's package.

    with Postgres() as server:
        database = server.make_database()       # with our tables in it
        database.url, database.password_file

It listens on a Unix socket in its own folder and nowhere else. `fsync` is on, as the
service demands. Root's tests start it as `postgres`, since it refuses to run as root.
"""

import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psycopg

from ca.admin import database

OWNER = "daypass"
PATIENCE_SECONDS = 60
_TEMPLATE = "made_by_migrations"

SETTINGS: Mapping[str, str] = {
    "listen_addresses": "",
    "max_connections": "200",
    "shared_buffers": "32MB",
    "log_min_messages": "fatal",
}


@dataclass(frozen=True)
class Database:
    """A database on a server, and what a configuration says to reach it."""

    url: str
    password_file: Path
    parameters: Mapping[str, Any]
    """For a connection of the test's own."""

    def ask(self, statement: str) -> list[tuple[Any, ...]]:
        """Run one statement on a connection of its own; return its rows."""
        with self.connect(autocommit=True) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def connect(self, *, autocommit: bool = False) -> psycopg.Connection[Any]:
        """Return a connection of the test's own."""
        return psycopg.connect(**self.parameters, autocommit=autocommit)


def programs() -> Path:
    """Return the folder with the newest `initdb` and `postgres` of this machine."""
    folders = sorted(
        Path("/usr/lib/postgresql").glob("*/bin"), key=lambda f: float(f.parent.name)
    )
    if folders:
        return folders[-1]
    found = shutil.which("postgres")
    assert found, "there is no PostgreSQL; run tests/setup.sh postgres"
    return Path(found).parent


class Postgres:
    """A server in a folder of its own, which runs while the `with` block does."""

    def __init__(self, **settings: str) -> None:
        # Not pytest's folder: nobody but its owner gets into that.
        self.folder = Path(tempfile.mkdtemp(prefix="daypass-postgres-"))
        self.settings = {**SETTINGS, **settings}
        self._user = pwd.getpwnam("postgres") if os.geteuid() == 0 else None
        self._process: subprocess.Popen[bytes] | None = None
        self._password = secrets.token_urlsafe(16)
        self.password_file = self._write("password", self._password + "\n")

    def _write(self, name: str, text: str) -> Path:
        file = self.folder / name
        file.write_text(text)
        file.chmod(0o600)
        return file

    def __enter__(self) -> Self:
        """Make the files, start the server and make a database to copy."""
        try:
            self._begin()
        except BaseException:
            self._end()
            raise
        return self

    def _begin(self) -> None:
        for_initdb = self._write("password-for-initdb", self._password + "\n")
        if self._user:
            for path in (self.folder, for_initdb):
                os.chown(path, self._user.pw_uid, self._user.pw_gid)
        options = ("--no-sync", "--locale=C", "--encoding=UTF8", f"--username={OWNER}")
        self._run(
            "initdb", *options, "--auth=scram-sha-256", f"--pwfile={for_initdb}",
            f"--pgdata={self.folder}/data",
        )  # fmt: skip
        self.start()
        self._make(_TEMPLATE, "template0")
        database.migrate(self._reach(_TEMPLATE).url, password_file=self.password_file)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop the server and remove its files."""
        self._end()

    def _end(self) -> None:
        if self._process is not None:
            self.stop()
        shutil.rmtree(self.folder)

    @property
    def process_id(self) -> int:
        """Of the server's parent process, which takes the signals."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it, and return when it takes connections."""
        settings = [f"--{name}={value}" for name, value in self.settings.items()]
        where = [f"--unix_socket_directories={self.folder}"]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    programs() / "postgres",
                    "-D",
                    self.folder / "data",
                    *settings,
                    *where,
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                **self._as_user(),
            )
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not self._answers():
            assert self._process.poll() is None, (self.folder / "log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def _answers(self) -> bool:
        try:
            self._reach("postgres").ask("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop it: SIGINT as an operator would, SIGQUIT as `pg_ctl -m immediate`."""
        assert self._process is not None
        self._process.send_signal(how)
        self._process.wait(PATIENCE_SECONDS)

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Let the whole server hang: connections stand, and nothing answers."""
        children = Path(f"/proc/{self.process_id}/task/{self.process_id}/children")
        processes = [self.process_id, *map(int, children.read_text().split())]
        for process in processes:
            os.kill(process, signal.SIGSTOP)
        try:
            yield
        finally:
            for process in processes:
                os.kill(process, signal.SIGCONT)

    def ask(self, statement: str) -> list[tuple[Any, ...]]:
        """Run one statement as an administrator."""
        return self._reach("postgres").ask(statement)

    def set(self, name: str, value: str) -> None:
        """Change a setting of the running server, and wait until it holds."""
        self.ask(f"ALTER SYSTEM SET {name} = '{value}'")
        self.ask("SELECT pg_reload_conf()")
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self.ask(f"SHOW {name}") != [(value,)]:
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def make_database(self, *, migrated: bool = True) -> Database:
        """Make a database, with our tables in it if it is `migrated`."""
        name = f"d{secrets.token_hex(8)}"
        self._make(name, _TEMPLATE if migrated else "template0")
        return self._reach(name)

    def _make(self, name: str, template: str) -> None:
        self.ask(f"CREATE DATABASE {name} TEMPLATE {template}")

    def _reach(self, name: str) -> Database:
        return Database(
            url=f"postgresql+psycopg://{OWNER}@/{name}?host={self.folder}",
            password_file=self.password_file,
            parameters={
                "host": str(self.folder),
                "user": OWNER,
                "password": self._password,
                "dbname": name,
            },
        )

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [programs() / program, *arguments],
            check=True,
            stdout=subprocess.DEVNULL,
            cwd=self.folder,
            **self._as_user(),
        )

    def _as_user(self) -> dict[str, Any]:
        if self._user is None:
            return {}
        return {
            "user": self._user.pw_uid,
            "group": self._user.pw_gid,
            "extra_groups": [],
        }
