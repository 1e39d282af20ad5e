"""What an answer says of the ledger: that the certificate is on it, as a message."""

import hashlib

from ca.checkpoint import Checkpoint, parse_checkpoint, parse_note, render_proof
from ca.errors import Malformed, StoreUnavailable
from ca.leaf import parse_leaf
from ca.ledger.log import Ledger, Proved
from ca.merkle import leaf_hash, plan_consistency, verify_inclusion
from ca.messages import LedgerProof
from ca.store import Seen, Store
from ca.wire import encode_base64


def seen_by(ledger: Ledger, note: str | None) -> Seen | None:
    """Return the checkpoint that a request brought, if an online key of ours signed it.

    Only such a one may stop the signers. Raises `Malformed` for what is no checkpoint.
    """
    if note is None:
        return None
    _checkpoint(note)
    try:
        return ledger.signer.recognise(note.encode())
    except Malformed:
        # By a key that has left the roots, or of a ledger that was closed.
        return None


def closed_in(ledger: Ledger, note: str | None) -> dict[str, object]:
    """Return what goes on record of a checkpoint of a closed log that was brought.

    How far that log was, only those know who have its checkpoints.
    """
    if note is None:
        return {}
    for closed in ledger.signer.closed:
        try:
            seen = closed.recognise(note.encode(errors="replace"))
        except Malformed:
            continue
        shown = {"origin": closed.origin, "size": seen.size}
        return {"closed_log": {**shown, "checkpoint": seen.note.decode()}}
    return {}


def require_proved(proved: Proved, to_be_signed: bytes) -> None:
    """Raise `StoreUnavailable` unless the ledger's tree holds exactly these bytes.

    A row of the database says that they are on record, and could have been changed: one
    entry would then be worth two certificates (design invariant 2).
    """
    entry, tree = proved.entry, proved.signed.checkpoint
    try:
        leaf = parse_leaf(entry.leaf)
        verify_inclusion(
            leaf_hash(entry.leaf),
            proved.proof.index,
            tree.size,
            proved.proof.hashes,
            tree.root,
        )
    except Malformed as error:
        raise _damaged(entry.index) from error
    signed = hashlib.sha256(to_be_signed).hexdigest()
    if (leaf.serial, leaf.to_be_signed_sha256) != (entry.index + 1, signed):
        raise _damaged(entry.index)


def _damaged(index: int) -> StoreUnavailable:
    return StoreUnavailable(
        f"entry {index} of the ledger is damaged, so nothing is signed for it",
        hint="operator: ca-admin ledger verify",
    )


def ledger_proof(store: Store, proved: Proved, *, note: str | None) -> LedgerProof:
    """Return the proof for an answer to a request that brought `note`."""
    return LedgerProof(
        leaf=encode_base64(proved.entry.leaf),
        proof=render_proof(proved.proof).decode(),
        checkpoint_signature=proved.signed.armour,
        consistency=tuple(
            encode_base64(value) for value in _consistency(store, proved, note)
        ),
    )


def _consistency(store: Store, proved: Proved, note: str | None) -> tuple[bytes, ...]:
    if proved.consistency or note is None:
        return proved.consistency
    # What cannot be verified here proves nothing to us, but the laptop that sent it
    # knows it: online keys leave the roots, and its memory must not lock it out.
    old, new = _checkpoint(note), proved.signed.checkpoint
    if old.origin != new.origin or old.size > new.size:
        return ()
    return store.hashes(plan_consistency(old.size, new.size))


def _checkpoint(note: str) -> Checkpoint:
    return parse_checkpoint(parse_note(note.encode(errors="replace")).text)
