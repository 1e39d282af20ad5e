"""The life of a revocation. Read this first.

    RevocationRequest ──aim──▶ what is meant ──scan──▶ certificates on record
                                                            │ under the head's lock
       RevocationResponse ◀── entry, serials, blocks ◀─── and those recorded meanwhile

    aim     what is to be revoked, and who or what is blocked with it
    scan    which certificates that means, with those that were bought with them
    act     revoke, block, lift: one commit each, with who, why, when

Whatever is revoked becomes serials. To look through the certificates of a day takes a
while, so it is done before the ledger's lock is taken; under the lock only those are
looked at that came since. What is written then is in force on all signers when the lock
is let go: nothing is recorded for a person between their block and their revocation. A
certificate is revoked by its record, whether its signature was ever released or not.
"""

from ca.revoke.act import (
    block,
    block_for,
    blocks,
    blocks_for,
    lift,
    lift_for,
    operator,
    revoke,
    revoke_for,
)

__all__ = [
    "block",
    "block_for",
    "blocks",
    "blocks_for",
    "lift",
    "lift_for",
    "operator",
    "revoke",
    "revoke_for",
]
