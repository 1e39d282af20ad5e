"""What is revoked, who is blocked."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Make the tables, and the mark by which signers know of a change."""
    op.add_column("ledger_head", sa.Column("revocation_mark", sa.BigInteger))
    op.create_table(
        "revoked_serials",
        sa.Column("serial", sa.String(20), primary_key=True),
        sa.Column("ca_key", sa.LargeBinary, nullable=False),
        sa.Column("ends", sa.BigInteger, nullable=False),
        _entry_index(),
    )
    op.create_table(
        "revoked_ca_keys",
        sa.Column("ca_key", sa.LargeBinary, primary_key=True),
        _entry_index(),
        sa.Column("time", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "blocks",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("issuer", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        _entry_index(),
        sa.Column("lifted_index", sa.BigInteger, sa.ForeignKey("entries.index")),
    )
    hosts = sa.text("kind = 'host-certificate'")
    op.create_index(
        "entries_of_hosts",
        "entries",
        ["index"],
        sqlite_where=hosts,
        postgresql_where=hosts,
    )


def _entry_index() -> sa.Column[int]:
    entry = sa.ForeignKey("entries.index")
    return sa.Column("entry_index", sa.BigInteger, entry, nullable=False)
