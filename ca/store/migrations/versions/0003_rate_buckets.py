"""How often somebody may ask."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "rate_buckets",
        sa.Column("subject", sa.LargeBinary(32), primary_key=True),
        sa.Column("full_at", sa.BigInteger, nullable=False),
    )
