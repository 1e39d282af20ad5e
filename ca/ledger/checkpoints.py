"""Checkpoints of this CA's log: signed with the online key, and known again.

Each is signed twice over the same text: as a C2SP note, for monitors, and as an SSHSIG,
so that a laptop needs `ssh-keygen` only. Ed25519 signs a text in one way, so that any
process can sign the checkpoint of a committed ledger again: none has to be kept.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache

from ca import ssh_signature, wire
from ca.checkpoint import (
    Checkpoint,
    Note,
    NoteKey,
    open_checkpoint,
    parse_note,
    render_checkpoint,
    render_note,
)
from ca.errors import Malformed, Misconfigured, SignatureInvalid
from ca.merkle import CompactTree
from ca.signing_key import SigningKey
from ca.store import Seen

NAMESPACE = "daypass-checkpoint"
"""Of the SSHSIG over a checkpoint's text."""

_TYPE = "ssh-ed25519"


@dataclass(frozen=True)
class SignedCheckpoint:
    """A checkpoint with both signatures."""

    checkpoint: Checkpoint
    note: Note
    armour: str
    """The SSHSIG over `note.text`."""

    @cached_property
    def rendered(self) -> bytes:
        """The note as it is published."""
        return render_note(self.note)


class Recogniser:
    """Knows the checkpoints of one log. Thread-safe."""

    def __init__(self, origin: str, *, trusted: Iterable[bytes]) -> None:
        """`trusted` are the blobs of all online keys that the roots list."""
        self.origin = origin
        self._trusted = tuple(
            (_note_key(origin, blob), blob) for blob in trusted if _is_ed25519(blob)
        )
        self._recognise = lru_cache(maxsize=512)(self._recognise_anew)

    def recognise(self, note: bytes) -> Seen:
        """Return what a checkpoint says that an online key signed for this log.

        Raises `Malformed`, also for one of another log or key.
        """
        return self._recognise(note)

    def _recognise_anew(self, data: bytes) -> Seen:
        try:
            return self._open(parse_note(data))
        except SignatureInvalid as error:
            raise Malformed("the checkpoint is not signed as it says") from error

    def _open(self, note: Note) -> Seen:
        names = {(signature.name, signature.key_id) for signature in note.signatures}
        for key, blob in self._trusted:
            if (key.name, key.key_id) in names:
                checkpoint = open_checkpoint(note, key, verify=_verifier(blob))
                ours = Note(note.text, (key.claim(note.signature_by(key)),))
                return Seen(checkpoint.size, checkpoint.root, render_note(ours))
        raise Malformed(
            f"not a checkpoint of {self.origin} by an online key in the roots"
        )


class CheckpointSigner(Recogniser):
    """Signs checkpoints of one log, and recognises them. Thread-safe."""

    def __init__(
        self,
        origin: str,
        online_key: SigningKey,
        *,
        trusted: Iterable[bytes],
        closed: Iterable[str] = (),
    ) -> None:
        """`closed` are the logs that this one follows on, by their origins."""
        trusted = tuple(trusted)
        super().__init__(origin, trusted=trusted)
        self._online_key = online_key
        self.key = _note_key(origin, online_key.blob)
        """What a monitor is configured with."""
        self.closed = tuple(Recogniser(name, trusted=trusted) for name in closed)
        """Their checkpoints stop nobody, and are put on record."""

    def sign(self, tree: CompactTree) -> SignedCheckpoint:
        """Sign the checkpoint of a tree that is committed."""
        checkpoint = Checkpoint(self.origin, tree.size, tree.root)
        text = render_checkpoint(checkpoint)
        reader = wire.Reader(self._online_key.sign(text))
        reader.text()
        note = Note(text, (self.key.claim(reader.string()),))
        armour = self._online_key.sign_message(NAMESPACE, text)
        return SignedCheckpoint(checkpoint, note, armour)


def _is_ed25519(blob: bytes) -> bool:
    return wire.Reader(blob).text() == _TYPE


def _note_key(origin: str, blob: bytes) -> NoteKey:
    """Return a key of ours as notes know it (RFC 8709 section 4 has the blob)."""
    reader = wire.Reader(blob)
    if reader.text() != _TYPE:
        raise Misconfigured(
            "the online key is not an Ed25519 key, and only those sign checkpoints",
            hint="name another online_key, and list it in the roots",
        )
    return NoteKey(origin, reader.string())


def _verifier(blob: bytes) -> Callable[[bytes, bytes], None]:
    def verify(signature: bytes, text: bytes) -> None:
        framed = wire.text(_TYPE) + wire.string(signature)
        ssh_signature.verify(blob, framed, text)

    return verify
