"""By which policy each signer decides."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "policies_in_use",
        sa.Column("process", sa.LargeBinary(16), primary_key=True),
        sa.Column("policy_sha256", sa.String(64), nullable=False),
        sa.Column("changed", sa.BigInteger, nullable=False),
        sa.Column("seen", sa.BigInteger, nullable=False),
    )
