"""The tree over the ledger's leaves, the log's origin, and why signers stop."""

import sqlalchemy as sa
from alembic import op

from ca.merkle import CompactTree, leaf_hash

revision = "0004"
down_revision = "0003"

_AT_ONCE = 1000


def upgrade() -> None:
    """Make table and columns, and the nodes of the entries that are there."""
    op.add_column("ledger_head", sa.Column("origin", sa.Text))
    op.add_column("ledger_head", sa.Column("stopped", sa.Text))
    op.add_column("ledger_head", sa.Column("tokens_from", sa.BigInteger))
    nodes = op.create_table(
        "tree_nodes",
        sa.Column("level", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("position", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("hash", sa.LargeBinary(32), nullable=False),
    )
    index, leaf = sa.column("index", sa.BigInteger), sa.column("leaf", sa.LargeBinary)
    leaves = sa.select(leaf).select_from(sa.table("entries", index, leaf))
    tree = CompactTree()
    while rows := (
        op.get_bind().scalars(
            leaves.where(index >= tree.size).order_by(index).limit(_AT_ONCE)
        )
    ).all():
        tree, completed = tree.extend(map(leaf_hash, rows))
        op.bulk_insert(nodes, [node._asdict() for node in completed])
