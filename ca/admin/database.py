"""`ca-admin db upgrade`: run the migrations. Nothing else ever does."""

import math
from pathlib import Path

from ca.admin.command import DONE, Options, Output, Parser, add_common, config_file
from ca.config import load_config
from ca.store.engine import open_engine, translated, writing
from ca.store.tables import schema_of

HELP = """\
usage: ca-admin db upgrade [--config FILE] [--json]

Bring the database to the schema of this program, in one transaction. Stop the signer
and make a backup first: there is no other way back.

examples:
  ca-admin db upgrade --config /etc/daypass/daypass.toml

exit codes: 0 done, 1 failed and nothing changed, 2 misuse
"""


def add_arguments(parser: Parser) -> None:
    """Say what may be typed behind `db`."""
    parser.add_argument("action", choices=["upgrade"])
    add_common(parser)


def run(options: Options, output: Output) -> int:
    """Run the migrations, and say from where to where."""
    config = load_config(config_file(options))
    before, after = migrate(
        config.database_url, password_file=config.database_password_file
    )
    text = f"database schema {before} -> {after}"
    output.result({"before": before, "after": after}, text)
    return DONE


def migrate(
    url: str, *, password_file: Path | None = None, create: bool = False
) -> tuple[str, str]:
    """Run the migrations in one transaction; return the schema before and after."""
    # Imported here: it takes longer than all that any other command does.
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config as AlembicConfig  # noqa: PLC0415

    # As long as it takes: no request waits for it.
    engine = open_engine(
        url, password_file=password_file, create=create, seconds=math.inf
    )
    try:
        with translated(), writing(engine) as connection:
            before = schema_of(connection)
            alembic = AlembicConfig()
            alembic.set_main_option("script_location", "ca.store:migrations")
            alembic.attributes["connection"] = connection
            command.upgrade(alembic, "head")
            return before, schema_of(connection)
    finally:
        engine.dispose()
