"""The ids of signed requests, each spent once."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "spent_requests",
        sa.Column("id", sa.LargeBinary(16), primary_key=True),
        sa.Column("time", sa.BigInteger, nullable=False, index=True),
    )
