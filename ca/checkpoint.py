"""Checkpoints of a log as C2SP signed notes, and proofs that carry one; both ways.

    note         a text and signatures over it         c2sp.org/signed-note
    checkpoint   origin, size and root of a log        c2sp.org/tlog-checkpoint
    proof        an entry's way up to a checkpoint     c2sp.org/tlog-proof

There is one spelling for each value: what is parsed is written again byte for byte.
Only type 0x01, plain Ed25519, is a key here; signatures by other keys, witnesses' among
them, are kept and ignored, as the specification demands.

The standard library cannot verify Ed25519. A reader who has a library for it gives it
to `open_checkpoint`; a laptop instead verifies the SSHSIG over `Note.text` with
`ssh-keygen` and only then calls `parse_checkpoint`.
"""

import hashlib
import re
from binascii import b2a_base64
from collections.abc import Callable
from functools import lru_cache

from ca import wire
from ca.errors import Malformed
from ca.merkle import HASH_BYTES, LARGEST_SIZE
from ca.values import dataclass

NAMESPACE = "daypass-checkpoint"
"""What an SSHSIG over a checkpoint's text is for."""

LONGEST_NOTE = 1 << 20
"""In bytes. Room for 150 signatures of the longest kind; a reader must take 16."""

_ED25519 = b"\x01"
_KEY_BYTES = 32
_SIGNATURE_BYTES = 64
_KEY_ID_BYTES = 4
_SIGNATURE_BEGINS = "\N{EM DASH} "
_PROOF_HEADER = "c2sp.org/tlog-proof@v1"

# No control characters, and no surrogates, which UTF-8 does not have.
_LINE = re.compile(r"[^\x00-\x1f\ud800-\udfff]+")
_TEXT = re.compile(r"[^\x00-\x09\x0b-\x1f\ud800-\udfff]*\n")
_NAME = re.compile(r"[^\s+\x00-\x1f\ud800-\udfff]+")
_NUMBER = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII)
_KEY_ID = re.compile(r"[0-9a-f]{8}", re.ASCII)


# --- Signed notes -----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class NoteKey:
    """Whose signature on a note counts: an Ed25519 key under a name."""

    name: str
    """For a log's key, the log's origin."""
    public_key: bytes
    """The raw 32 bytes of RFC 8032."""

    def __post_init__(self) -> None:
        _require_name(self.name)
        if len(self.public_key) != _KEY_BYTES:
            raise Malformed("not an Ed25519 public key")

    @property
    def key_id(self) -> bytes:
        """Four bytes that say which key of its name; no fingerprint to rely on."""
        hashed = self.name.encode() + b"\n" + _ED25519 + self.public_key
        return hashlib.sha256(hashed).digest()[:_KEY_ID_BYTES]

    def claim(self, signature: bytes) -> "NoteSignature":
        """Return a signature line for a raw Ed25519 signature, not verified here."""
        if len(signature) != _SIGNATURE_BYTES:
            raise Malformed("not an Ed25519 signature")
        return NoteSignature(self.name, self.key_id, signature)


@dataclass(frozen=True, slots=True)
class NoteSignature:
    """One signature line of a note, not verified."""

    name: str
    key_id: bytes
    signature: bytes

    def __post_init__(self) -> None:
        _require_name(self.name)
        if len(self.key_id) != _KEY_ID_BYTES or not self.signature:
            raise Malformed("a signature of a note is too short")


@dataclass(frozen=True, slots=True)
class Note:
    """A text and who claims to have signed it, not verified."""

    text: bytes
    """Exactly the bytes that are signed, with the final newline."""
    signatures: tuple[NoteSignature, ...]

    def __post_init__(self) -> None:
        if _TEXT.fullmatch(_decode(self.text)) is None:
            raise Malformed("the text of a note is not lines of text")
        if not self.signatures:
            raise Malformed("a note without a signature is none")

    def signature_by(self, key: NoteKey) -> bytes:
        """Return the one raw signature that `key` is said to have made.

        Raises `Malformed` for none. Also for two: not both can hold, since Ed25519
        signs a text in one way, and a note with a wrong signature by a known key is
        refused as a whole.
        """
        wanted = (key.name, key.key_id)
        found = [s.signature for s in self.signatures if (s.name, s.key_id) == wanted]
        if len(found) != 1:
            raise Malformed(f"the note has {len(found)} signatures by {key.name}")
        return found[0]


def render_key(key: NoteKey) -> str:
    """Return a verifier key, the one line that a monitor is configured with."""
    encoded = wire.encode_base64(_ED25519 + key.public_key)
    return f"{key.name}+{key.key_id.hex()}+{encoded}"


def parse_key(line: str) -> NoteKey:
    """Parse a verifier key; raise `Malformed`, also for other kinds than Ed25519."""
    name, _, rest = line.partition("+")
    key_id, _, encoded = rest.partition("+")
    data = wire.decode_base64(encoded)
    if data[:1] != _ED25519:
        raise Malformed("not an Ed25519 verifier key")
    key = NoteKey(name, data[1:])
    if _KEY_ID.fullmatch(key_id) is None or bytes.fromhex(key_id) != key.key_id:
        raise Malformed("the ID in the verifier key is not the key's")
    return key


@lru_cache(maxsize=64)  # all proofs of a batch have the same one
def render_note(note: Note) -> bytes:
    """Return a note as it is published."""
    lines = [
        f"{_SIGNATURE_BEGINS}{s.name} {wire.encode_base64(s.key_id + s.signature)}\n"
        for s in note.signatures
    ]
    return note.text + b"\n" + "".join(lines).encode()


def parse_note(data: bytes) -> Note:
    """Parse a note; raise `Malformed`. No signature is verified."""
    if len(data) > LONGEST_NOTE:
        raise Malformed(f"a note of {len(data)} bytes is too long")
    # The text may hold empty lines, so the last one parts it from the signatures.
    text, separator, signatures = data.rpartition(b"\n\n")
    if not separator or not signatures.endswith(b"\n"):
        raise Malformed("not a note: no signature lines")
    lines = _decode(signatures[:-1]).split("\n")
    return Note(text + b"\n", tuple(_parse_signature(line) for line in lines))


def _parse_signature(line: str) -> NoteSignature:
    if not line.startswith(_SIGNATURE_BEGINS):
        raise Malformed("not a signature line of a note")
    name, _, encoded = line.removeprefix(_SIGNATURE_BEGINS).partition(" ")
    data = wire.decode_base64(encoded)
    return NoteSignature(name, data[:_KEY_ID_BYTES], data[_KEY_ID_BYTES:])


# --- Checkpoints ------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a log says about itself: so many entries, with this root."""

    origin: str
    """Which log: the URL of its prefix without scheme and final slash."""
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()
    """Further lines, without a meaning for us. Kept when read; we write none."""

    def __post_init__(self) -> None:
        if not all(map(_LINE.fullmatch, (self.origin, *self.extensions))):
            raise Malformed("a line of a checkpoint is empty or not text")
        if not 0 <= self.size <= LARGEST_SIZE or len(self.root) != HASH_BYTES:
            raise Malformed("the size or root of a checkpoint is not one")


def render_checkpoint(checkpoint: Checkpoint) -> bytes:
    """Return the text of a checkpoint, to be signed."""
    root = wire.encode_base64(checkpoint.root)
    lines = (checkpoint.origin, str(checkpoint.size), root, *checkpoint.extensions)
    return "".join(line + "\n" for line in lines).encode()


@lru_cache(maxsize=64)  # all proofs of a batch have the same one
def parse_checkpoint(text: bytes) -> Checkpoint:
    """Parse the text of a checkpoint; raise `Malformed`. No signature is verified."""
    if not text.endswith(b"\n") or text.count(b"\n") < 3:  # noqa: PLR2004
        raise Malformed("a checkpoint needs three lines")
    origin, size, root, *extensions = _decode(text[:-1]).split("\n")
    return Checkpoint(
        origin=origin,
        size=_number(size),
        root=wire.decode_base64(root),
        extensions=tuple(extensions),
    )


def open_checkpoint(
    note: Note, key: NoteKey, *, verify: Callable[[bytes, bytes], object]
) -> Checkpoint:
    """Return what the log with this key says in `note`, or raise.

    `verify(signature, text)` must raise unless `key.public_key` made the signature;
    what it raises is not caught. A log signs for its own origin only.
    """
    verify(note.signature_by(key), note.text)
    checkpoint = parse_checkpoint(note.text)
    if checkpoint.origin != key.name:
        raise Malformed(f"{key.name} signed a checkpoint of {checkpoint.origin}")
    return checkpoint


# --- Proofs -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LogProof:
    """That an entry is in a log, as far as the note's signature and hashes hold."""

    index: int
    hashes: tuple[bytes, ...]
    """The inclusion proof, for `merkle.verify_inclusion` and the checkpoint."""
    note: Note
    """The checkpoint, signed."""
    extra: bytes = b""
    """Anything, authenticated by nothing; empty for none."""

    def __post_init__(self) -> None:
        if not {HASH_BYTES}.issuperset(map(len, self.hashes)):
            raise Malformed(f"a hash of a proof has not {HASH_BYTES} bytes")
        if not 0 <= self.index < LARGEST_SIZE:
            raise Malformed("the index of a proof is not one")
        parse_checkpoint(self.note.text)

    @property
    def checkpoint(self) -> Checkpoint:
        """What the note says; to be believed once its signature was verified."""
        return parse_checkpoint(self.note.text)


def render_proof(proof: LogProof) -> bytes:
    """Return a proof as text, such as a `.tlog-proof` file holds."""
    extra = (b"extra ", b2a_base64(proof.extra)) if proof.extra else ()
    begin = f"{_PROOF_HEADER}\n".encode()
    index = b"index %d\n" % proof.index
    hashes = map(b2a_base64, proof.hashes)  # each a line, with its end
    return b"".join((begin, *extra, index, *hashes, b"\n", render_note(proof.note)))


def parse_proof(data: bytes) -> LogProof:
    """Parse a proof; raise `Malformed`. Neither hashes nor signatures are verified."""
    head, _, note = data.partition(b"\n\n")
    header, *lines = _decode(head).split("\n")
    if header != _PROOF_HEADER:
        raise Malformed("not a log proof of version 1")
    extra = b""
    if lines and lines[0].startswith("extra "):
        extra = wire.decode_base64(lines.pop(0).removeprefix("extra "))
        # NOTE: no extra data has one spelling too, the missing line.
        if not extra:
            raise Malformed("a log proof announces extra data and has none")
    if not lines or not lines[0].startswith("index "):
        raise Malformed("a log proof has no index")
    return LogProof(
        index=_number(lines[0].removeprefix("index ")),
        hashes=tuple(map(wire.decode_base64, lines[1:])),
        note=parse_note(note),
        extra=extra,
    )


# --- Lines ------------------------------------------------------------------------


def _decode(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise Malformed("not UTF-8") from error


def _number(line: str) -> int:
    if _NUMBER.fullmatch(line) is None:
        raise Malformed("not a decimal number")
    return int(line)


def _require_name(name: str) -> None:
    if _NAME.fullmatch(name) is None:
        raise Malformed("the name of a note's key is empty or has a space or plus")
