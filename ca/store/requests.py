"""What a signed request asks of the database: a certificate's record, and to be new.

Functions on a connection; `Store` runs each in a transaction of its own.
"""

from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from ca.errors import RequestReplayed
from ca.store import tables


@dataclass(frozen=True, slots=True)
class Recorded:
    """What is left on record of a certificate."""

    leaf: bytes
    record: bytes | None
    """None once it was erased."""
    to_be_signed: bytes | None


def recorded(connection: sa.Connection, serial: int) -> Recorded | None:
    """Return what is on record of the certificate with this serial, or None."""
    entries = tables.entries.c
    row = connection.execute(
        sa.select(entries.leaf, entries.record, entries.to_be_signed).where(
            entries.serial == str(serial)
        )
    ).one_or_none()
    return None if row is None else Recorded(row.leaf, row.record, row.to_be_signed)


def spend(
    connection: sa.Connection, id_: bytes, *, time: int, forget_before: int
) -> None:
    """Put the id of a request on record; raise `RequestReplayed` if it is there.

    Insert or refuse, with nothing read before: of two at once the database lets one in.
    """
    spent = tables.spent_requests
    connection.execute(sa.delete(spent).where(spent.c.time < forget_before))
    try:
        connection.execute(sa.insert(spent).values(id=id_, time=time))
    except IntegrityError as error:
        raise RequestReplayed(
            "this request was sent before",
            hint="sign another one with an id of its own",
        ) from error
