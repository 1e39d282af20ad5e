"""Serials whose records were lost."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0006"


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "lost_serials",
        sa.Column("first", sa.String(20), primary_key=True),
        sa.Column("last", sa.String(20), nullable=False),
        sa.Column("entry_index", sa.BigInteger, nullable=False),
    )
