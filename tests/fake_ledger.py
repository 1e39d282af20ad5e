"""A small ledger that proves anything about itself, and can be made to lie.

    ledger = FakeLedger(keys)
    ledger.record(certificate_line, known_note)      # an answer's part `ledger`
    del ledger.leaves[30:]                           # it went backwards
    ledger.leaves[3] = b"another"                    # it was rewritten
    ledger.tamper = lambda proof: proof.update(leaf="")

Its tree is made anew for each question, so entries may be changed and taken away.
"""

import hashlib
from base64 import b64encode
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_ssh_private_key

from ca import checkpoint, merkle
from ca.certificate import parse_line
from ca.checkpoint import Checkpoint, LogProof, Note, NoteKey
from ca.leaf import Leaf, render_leaf
from ca.merkle import CompactTree, Plan
from ca.signing_key import FileKey

ORIGIN = "ca.example.com/log/1"

_SIGNATURE_BYTES = 4 + 4 + len("ssh-ed25519") + 4 + 64
"""What an Ed25519 CA key adds to the to-be-signed bytes."""


def _leave_alone(proof: dict[str, Any]) -> object:
    return proof


class FakeLedger:
    """Leaves, and all that can be proved of them."""

    def __init__(self, keys: Path, *, origin: str = ORIGIN, size: int = 0) -> None:
        self.keys = keys
        """A folder of Ed25519 key files."""
        self.origin = origin
        self.serial_base = 0
        self.leaves = [b"entry %d" % index for index in range(size)]
        self.shown_size: int | None = None
        """Of the checkpoint in an answer, where not of all that is on record."""
        self.signed_by = "online"
        self.namespace = checkpoint.NAMESPACE
        self.tamper = _leave_alone
        """Changes what `record` answers."""

    @property
    def next_serial(self) -> int:
        """Which serial the next certificate must have."""
        return self.serial_base + len(self.leaves) + 1

    def record(self, line: str, known: str | None) -> dict[str, Any]:
        """Put a certificate on record; return the part `ledger` of the answer."""
        to_be_signed = parse_line(line)[:-_SIGNATURE_BYTES]
        self.leaves.append(self.leaf(to_be_signed, serial=self.next_serial))
        note = self.note(self.shown_size)
        size = checkpoint.parse_checkpoint(note.text).size
        index = len(self.leaves) - 1
        proof: dict[str, Any] = {
            "leaf": b64encode(self.leaves[index]).decode(),
            "proof": self.render_proof(min(index, size - 1), note),
            "checkpoint_signature": self.armour(note),
            "a_field_of_a_later_version": True,
        }
        if known is not None:
            old = checkpoint.parse_checkpoint(
                checkpoint.parse_note(known.encode()).text
            )
            if old.origin == self.origin and old.size <= size:
                proof["consistency"] = self.consistency(old.size, size)
        self.tamper(proof)
        return proof

    def leaf(self, to_be_signed: bytes, *, serial: int) -> bytes:
        """Return the leaf of a certificate."""
        return render_leaf(
            Leaf(
                kind="user-certificate",
                time=1795330000,
                serial=serial,
                to_be_signed_sha256=hashlib.sha256(to_be_signed).hexdigest(),
                record_sha256=hashlib.sha256(b"a record").hexdigest(),
            )
        )

    def note(self, size: int | None = None) -> Note:
        """Return the checkpoint of its first `size` entries, of all by default."""
        size = len(self.leaves) if size is None else size
        (root,) = self.hashes(merkle.plan_root(size))
        text = checkpoint.render_checkpoint(Checkpoint(self.origin, size, root))
        key = self._key()
        name = NoteKey(self.origin, key.public_key().public_bytes_raw())
        return Note(text, (name.claim(key.sign(text)),))

    def armour(self, note: Note) -> str:
        """Return the SSHSIG over the text of a checkpoint."""
        return FileKey(self._key()).sign_message(self.namespace, note.text)

    def render_proof(self, index: int, note: Note) -> str:
        """Return the proof that an entry is in the tree of a checkpoint."""
        size = checkpoint.parse_checkpoint(note.text).size
        hashes = self.hashes(merkle.plan_inclusion(index, size))
        return checkpoint.render_proof(LogProof(index, hashes, note)).decode()

    def consistency(self, old_size: int, new_size: int) -> list[str]:
        """Return base64 of the proof that the tree only grew."""
        hashes = self.hashes(merkle.plan_consistency(old_size, new_size))
        return [b64encode(value).decode() for value in hashes]

    def hashes(self, plan: Plan) -> tuple[bytes, ...]:
        """Return what was planned, from the leaves as they are now."""
        _tree, completed = CompactTree().extend(map(merkle.leaf_hash, self.leaves))
        nodes = {(level, position): value for level, position, value in completed}
        return plan.hashes(nodes.__getitem__)

    def _key(self) -> Ed25519PrivateKey:
        content = (self.keys / self.signed_by).read_bytes()
        key = load_ssh_private_key(content, None)
        assert isinstance(key, Ed25519PrivateKey)
        return key
