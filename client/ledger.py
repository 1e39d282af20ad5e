"""Whether a certificate is on the CA's ledger, and the ledger only grew (invariant 3).

    certificate ──hash of what was signed──▶ leaf ──inclusion──▶ checkpoint
                                                                   ▲    ▲
               what this machine saw before ──consistency──────────┘    │
                              online key of the verified roots ──SSHSIG─┘

A CA that signs without putting it on record, or shows different ledgers to different
people, is found out here: each answer carries proofs, and nothing is believed without
them. What is refused comes with evidence, since two signed checkpoints that cannot both
be true prove it to anyone.
"""

import hashlib
from collections.abc import Mapping

from ca import bundle, checkpoint, merkle, wire
from ca.certificate import parse_certificate, parse_line
from ca.checkpoint import Checkpoint, LogProof
from ca.errors import BadRequest, Malformed
from ca.leaf import Leaf, parse_leaf
from ca.values import dataclass
from client import ssh_keygen
from client.failure import BadAnswer, LedgerUntrue
from client.messages import LedgerProof
from client.trust import active

_KIND = "user-certificate"


@dataclass(frozen=True, slots=True)
class Seen:
    """A checkpoint that was verified: never again believe less than this."""

    note: str
    """The checkpoint as a signed note."""
    signature: str
    """An armoured SSHSIG over the note's text, which `ssh-keygen` can verify again."""

    @property
    def checkpoint(self) -> Checkpoint:
        """What it says; raises `Malformed`."""
        return checkpoint.parse_checkpoint(self._text)

    @property
    def _text(self) -> bytes:
        return checkpoint.parse_note(self.note.encode()).text

    def files(self, name: str) -> dict[str, bytes]:
        """Return it as files for somebody else to judge."""
        return {
            f"{name}.note": self.note.encode(),
            f"{name}.txt": self._text,
            f"{name}.txt.sig": self.signature.encode(),
        }


@dataclass(frozen=True, slots=True)
class Proved:
    """What was learned of the ledger."""

    seen: Seen
    """To remember, and to send with the next request."""
    warning: str | None = None
    """What a person must hear once."""


def verify(
    proof: LedgerProof, certificate: str, *, roots: bundle.Roots, before: Seen | None
) -> Proved:
    """Verify that the certificate, as one line, is on the ledger of verified roots.

    `before` is what was remembered, whose note went with the request. Raises
    `LedgerUntrue` or `Untrusted`, and `BadAnswer` for what is no proof at all.
    """
    to_be_signed, serial = _signed(certificate)
    leaf, log_proof, consistency = _parse(proof)
    now = log_proof.checkpoint
    _verify_signature(log_proof, proof.checkpoint_signature, roots)
    seen = Seen(
        checkpoint.render_note(log_proof.note).decode(), proof.checkpoint_signature
    )
    answered = {
        **seen.files("answered"),
        "certificate.pub": f"{certificate}\n".encode(),
        "certificate.tlog-proof": proof.proof.encode(),
        "certificate.leaf": wire.decode_base64(proof.leaf),
    }
    _require_origin(now, roots, answered)
    _require_leaf(leaf, to_be_signed, serial, answered)
    _require_included(log_proof, answered, serial=serial - roots.serial_base)
    if before is None:
        return Proved(seen)
    evidence = {**answered, **before.files("remembered")}
    if before.checkpoint.origin != now.origin:
        return Proved(seen, _closed(before.checkpoint, now, roots, evidence))
    _require_growth(before.checkpoint, now, consistency, evidence)
    return Proved(seen)


def _signed(certificate: str) -> tuple[bytes, int]:
    """Return the bytes that the CA key signed, and the serial in them."""
    try:
        blob = parse_line(certificate)
        says, signature = parse_certificate(blob)
    except BadRequest as error:
        raise BadAnswer(f"what came is no certificate: {error.detail}") from error
    return blob[: -len(wire.string(signature))], says.serial


def _parse(proof: LedgerProof) -> tuple[bytes, LogProof, tuple[bytes, ...]]:
    try:
        leaf = wire.decode_base64(proof.leaf)
        log_proof = checkpoint.parse_proof(proof.proof.encode())
        return leaf, log_proof, tuple(map(wire.decode_base64, proof.consistency))
    except (Malformed, UnicodeEncodeError) as error:
        raise BadAnswer(
            "the CA answered with something that proves nothing about its ledger:"
            f" {error}"
        ) from error


def _verify_signature(proof: LogProof, armour: str, roots: bundle.Roots) -> None:
    ssh_keygen.verify(
        proof.note.text,
        armour=armour,
        namespace=checkpoint.NAMESPACE,
        keys=active(roots.online),
        what="ledger's checkpoint",
    )


def _require_origin(
    now: Checkpoint, roots: bundle.Roots, answered: Mapping[str, bytes]
) -> None:
    if now.origin != roots.log_origin:
        raise LedgerUntrue(
            f"the CA proves something about the ledger {now.origin}, and its ledger"
            f" is {roots.log_origin}",
            evidence=answered,
        )


def _require_leaf(
    leaf: bytes, to_be_signed: bytes, serial: int, answered: Mapping[str, bytes]
) -> None:
    """Compare what the entry says with what was signed."""
    try:
        says = parse_leaf(leaf)
    except Malformed as error:
        raise BadAnswer(f"the CA's ledger entry makes no sense: {error}") from error
    wanted = Leaf(
        kind=_KIND,
        time=says.time,
        serial=serial,
        to_be_signed_sha256=hashlib.sha256(to_be_signed).hexdigest(),
        record_sha256=says.record_sha256,
    )
    if says != wanted:
        raise LedgerUntrue(
            "the certificate is not on the CA's ledger: the entry that it shows is"
            " about something else",
            evidence=answered,
        )


def _require_included(
    proof: LogProof, answered: Mapping[str, bytes], *, serial: int
) -> None:
    now = proof.checkpoint
    leaf_hash = merkle.leaf_hash(answered["certificate.leaf"])
    try:
        merkle.verify_inclusion(
            leaf_hash, proof.index, now.size, proof.hashes, now.root
        )
    except Malformed as error:
        raise LedgerUntrue(
            "the certificate is not on the CA's ledger: the ledger it signed for does"
            " not hold the entry that it shows",
            evidence=answered,
        ) from error
    # Design invariant 2: else one entry could stand for two certificates.
    if serial != proof.index + 1:
        raise LedgerUntrue(
            "the certificate's serial is not that of its place on the CA's ledger",
            evidence=answered,
        )


def _require_growth(
    before: Checkpoint,
    now: Checkpoint,
    consistency: tuple[bytes, ...],
    evidence: Mapping[str, bytes],
) -> None:
    if now.size < before.size:
        raise LedgerUntrue(
            f"the CA's ledger went backwards: this machine has seen {before.size}"
            f" entries, now it has {now.size}",
            evidence=evidence,
        )
    try:
        merkle.verify_consistency(
            before.size, before.root, now.size, now.root, consistency
        )
    except Malformed as error:
        raise LedgerUntrue(
            f"the CA's ledger was forked or rewritten: its {now.size} entries do not"
            f" begin with the {before.size} that this machine has seen",
            evidence=evidence,
        ) from error


def _closed(
    before: Checkpoint,
    now: Checkpoint,
    roots: bundle.Roots,
    evidence: Mapping[str, bytes],
) -> str:
    """Return the warning that the root key vouches for a new ledger, or raise."""
    for closed in roots.closed_logs:
        if closed.origin == before.origin:
            return (
                f"the CA closed its ledger {closed.origin} at {closed.size} entries,"
                f" and begins a new one, {now.origin}; this machine has seen"
                f" {before.size} of the old one: ask what happened"
            )
    raise LedgerUntrue(
        f"the CA shows another ledger, {now.origin}, and never closed {before.origin},"
        " which this machine knows",
        evidence=evidence,
    )
