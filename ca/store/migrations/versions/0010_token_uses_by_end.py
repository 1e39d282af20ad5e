"""Uses of tokens by when they end, so that those of one hour stand side by side."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"

_COLUMNS = ("expires", "token_sha256", "use", "request_sha256", "entry_index")


def upgrade() -> None:
    """Make the table anew, with the rows that are there."""
    op.rename_table("token_uses", "token_uses_before")
    uses = op.create_table(
        "token_uses",
        sa.Column("expires", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("token_sha256", sa.LargeBinary(32), primary_key=True),
        sa.Column("use", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("request_sha256", sa.LargeBinary(32), nullable=False),
        sa.Column(
            "entry_index",
            sa.BigInteger,
            sa.ForeignKey("entries.index"),
            nullable=False,
        ),
        sqlite_with_rowid=False,
    )
    before = sa.table("token_uses_before", *map(sa.column, _COLUMNS))
    op.execute(sa.insert(uses).from_select(_COLUMNS, sa.select(before)))
    op.drop_table("token_uses_before")
