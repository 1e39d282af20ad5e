"""Whose signature under a checkpoint counts, and what the ledger says under it."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

from ca import ssh_signature, wire
from ca.bundle import Roots
from ca.certificate import parse_line
from ca.checkpoint import Checkpoint, NoteKey, open_checkpoint, parse_key, parse_note
from ca.errors import Malformed, Misconfigured, SignatureInvalid
from ca.ledger.high_water import notes_in

T = TypeVar("T")

_TYPE = "ssh-ed25519"


def parse_keys(lines: Iterable[str]) -> tuple[NoteKey, ...]:
    """Parse verifier keys; raise `Malformed`. All must be of one ledger."""
    keys = tuple(parse_key(line) for line in lines)
    if len({key.name for key in keys}) > 1:
        raise Malformed("the keys are not all of one ledger")
    return keys


def keys_of(roots: Roots) -> tuple[NoteKey, ...]:
    """Return the keys that sign the checkpoints of a CA's ledger."""
    blobs = (wire.Reader(parse_line(trusted.key)) for trusted in roots.online)
    return tuple(
        NoteKey(roots.log_origin, reader.string())
        for reader in blobs
        if reader.text() == _TYPE
    )


def open_note(data: bytes, keys: Iterable[NoteKey]) -> Checkpoint:
    """Return what a checkpoint says that one of the keys signed.

    Raises `SignatureInvalid`, and `Malformed` for what is no checkpoint.
    """
    note = parse_note(data)
    names = {(signature.name, signature.key_id) for signature in note.signatures}
    for key in keys:
        if (key.name, key.key_id) in names:
            return open_checkpoint(note, key, verify=_verifier(key))
    raise SignatureInvalid("the checkpoint is not signed by a key of this ledger")


def read_checkpoints(file: Path, open_: Callable[[bytes], T]) -> list[T]:
    """Return what `open_` makes of the checkpoints that somebody brought in a file.

    A note, or a signer's high-water file, of which one half may be torn. Raises
    `Misconfigured` where there is none.
    """
    try:
        notes = notes_in(file.read_bytes())
    except OSError as error:
        raise Misconfigured(f"cannot read {file}: {error.strerror}") from error
    found, wrong = [], ""
    for note in notes:
        try:
            found.append(open_(note))
        except (Malformed, SignatureInvalid) as error:
            wrong = error.detail
    if not found:
        raise Misconfigured(f"{file}: {wrong}")
    return found


def _verifier(key: NoteKey) -> Callable[[bytes, bytes], None]:
    blob = wire.text(_TYPE) + wire.string(key.public_key)

    def verify(signature: bytes, text: bytes) -> None:
        framed = wire.text(_TYPE) + wire.string(signature)
        ssh_signature.verify(blob, framed, text)

    return verify
