"""`ca-admin db upgrade`: run the migrations. Nothing else ever does."""

from pathlib import Path

from alembic import command
from alembic.config import Config as AlembicConfig

from ca.config import load_config
from ca.store.engine import open_engine, translated, writing
from ca.store.tables import schema_of


def upgrade(config_file: Path) -> tuple[str, str]:
    """Bring the database to this program's schema; return the one before and after."""
    return migrate(load_config(config_file).database_url)


def migrate(url: str, *, create: bool = False) -> tuple[str, str]:
    """Run the migrations in one transaction; return the schema before and after."""
    engine = open_engine(url, create=create)
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
