"""By which policy each process of each signer decides, as they have told of late.

A function on a connection; `Store` runs it in a transaction.
"""

from dataclasses import asdict, dataclass

import sqlalchemy as sa

from ca.store import tables


@dataclass(frozen=True, slots=True)
class PolicyInUse:
    """One process and its policy."""

    process: bytes
    """16 random bytes that it chose when it started."""
    policy_sha256: str
    changed: int
    """When the policy's file was last changed, in microseconds."""
    seen: int
    """When it told so, in Unix seconds."""


def tell(
    connection: sa.Connection, mine: PolicyInUse, *, forget_before: int
) -> list[PolicyInUse]:
    """Put on record what one process decides by; return what the others do.

    Who has not told anything since `forget_before` is forgotten.
    """
    known = tables.policies_in_use
    gone = sa.or_(known.c.seen < forget_before, known.c.process == mine.process)
    connection.execute(sa.delete(known).where(gone))
    others = connection.execute(sa.select(known)).all()
    connection.execute(sa.insert(known), [asdict(mine)])
    return [PolicyInUse(**row._mapping) for row in others]  # noqa: SLF001
