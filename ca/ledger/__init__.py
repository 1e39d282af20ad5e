"""The ledger: every certificate is on record first, and anyone can check.

    entry         what one holds: a leaf for everybody, a record for a few
    batches       how many share one commit
    checkpoints   how the log's state is signed, and known again
    high_water    what this signer remembers of it, whatever happens to the database
    log           `Ledger`, which has all of that
    answer        the proof, as an answer carries it
    recovery      when the ledger and what is remembered of it disagree
    new_log       when what is missing cannot be had back

Read `log` first.
"""

from ca.ledger.answer import closed_in, ledger_proof, require_proved, seen_by
from ca.ledger.checkpoints import NAMESPACE, CheckpointSigner, SignedCheckpoint
from ca.ledger.entry import EntryKind, canonical_json, place_of
from ca.ledger.high_water import HighWater
from ca.ledger.log import Ledger, Proved

__all__ = [
    "NAMESPACE",
    "CheckpointSigner",
    "EntryKind",
    "HighWater",
    "Ledger",
    "Proved",
    "SignedCheckpoint",
    "canonical_json",
    "closed_in",
    "ledger_proof",
    "place_of",
    "require_proved",
    "seen_by",
]
