"""Serials whose records were lost."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0006"


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "lost_serials",
        sa.Column("first", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("last", sa.BigInteger, nullable=False),
        sa.Column("entry_index", sa.BigInteger, nullable=False),
    )
