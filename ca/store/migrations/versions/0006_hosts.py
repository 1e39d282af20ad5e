"""The registry of hosts, and join tokens."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "hosts",
        sa.Column("id", sa.String(63), primary_key=True),
        sa.Column("names", sa.Text, nullable=False),
        sa.Column("pulls", sa.Boolean, nullable=False),
        sa.Column("registered", sa.BigInteger, nullable=False),
        sa.Column("entry_index", sa.BigInteger, nullable=False),
        sa.Column("seen", sa.BigInteger, nullable=False),
        sa.Column("forgotten", sa.BigInteger),
        sa.Column("roots_version", sa.BigInteger, nullable=False),
        sa.Column("current_version", sa.BigInteger, nullable=False),
        sa.Column("alarm", sa.Text),
    )
    op.create_table(
        "host_keys",
        sa.Column("key_sha256", sa.LargeBinary(32), primary_key=True),
        sa.Column("host", sa.String(63), sa.ForeignKey("hosts.id"), nullable=False),
        sa.Column("blob", sa.LargeBinary, nullable=False),
    )
    op.create_index("ix_host_keys_host", "host_keys", ["host"])
    op.create_table(
        "join_tokens",
        sa.Column("token_sha256", sa.LargeBinary(32), primary_key=True),
        sa.Column("host", sa.String(63)),
        sa.Column("names", sa.Text, nullable=False),
        sa.Column("expires", sa.BigInteger, nullable=False),
        sa.Column("spent_by", sa.String(63)),
    )
