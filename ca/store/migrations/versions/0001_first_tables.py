"""The first tables: ledger, spent tokens, published trust."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the tables in an empty database."""
    head = op.create_table(
        "ledger_head",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("serial_base", sa.BigInteger, nullable=False),
    )
    op.bulk_insert(head, [{"id": 1, "size": 0, "serial_base": 0}])
    op.create_table(
        "entries",
        sa.Column("index", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("time", sa.BigInteger, nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("serial", sa.String(20), unique=True),
        sa.Column("leaf", sa.LargeBinary, nullable=False),
        sa.Column("record", sa.LargeBinary),
        sa.Column("to_be_signed", sa.LargeBinary),
    )
    op.create_table(
        "token_uses",
        sa.Column("token_sha256", sa.LargeBinary(32), primary_key=True),
        sa.Column("use", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("request_sha256", sa.LargeBinary(32), nullable=False),
        sa.Column(
            "entry_index", sa.BigInteger, sa.ForeignKey("entries.index"), nullable=False
        ),
        sa.Column("expires", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "trust_blobs",
        sa.Column("sha256", sa.String(64), primary_key=True),
        sa.Column("content", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "trust_current",
        sa.Column("version", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("published", sa.BigInteger, nullable=False),
        sa.Column("roots_sha256", sa.String(64), nullable=False),
        sa.Column("document", sa.LargeBinary, nullable=False),
    )
