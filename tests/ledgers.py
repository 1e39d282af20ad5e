"""A ledger of a test's own, on a database of its own.

store = new_store(tmp_path)
ledger = open_ledger(store, tmp_path / "high-water")
proved = append(ledger)
check(proved, ledger.signer.key)      # as a reader would
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from ca import checkpoint, merkle, ssh_signature, sshsig
from ca.admin import database
from ca.checkpoint import Checkpoint, NoteKey
from ca.ledger import (
    NAMESPACE,
    CheckpointSigner,
    EntryKind,
    HighWater,
    Ledger,
    Proved,
    SignedCheckpoint,
)
from ca.signing_key import FileKey
from ca.store import Seen, Store, TokenUse

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ORIGIN = "ca.example.com/log/1"
ONLINE_KEY = FileKey.generate()
RECORD = {"identity": {"email": "ada@example.com"}}


def new_store(folder: Path, name: str = "daypass") -> Store:
    """Make a database, and open it as this log's."""
    url = f"sqlite:///{folder}/{name}.db"
    database.migrate(url, create=True)
    store = Store.open(url)
    store.open_log(origin=ORIGIN, serial_base=0)
    return store


def checkpoint_signer(key: FileKey = ONLINE_KEY) -> CheckpointSigner:
    return CheckpointSigner(ORIGIN, key, trusted=[key.blob])


def open_ledger(store: Store, high_water_file: Path) -> Ledger:
    ledger = unopened_ledger(store, high_water_file)
    ledger.open()
    return ledger


def unopened_ledger(store: Store, high_water_file: Path) -> Ledger:
    signer = checkpoint_signer()
    high_water = HighWater(high_water_file, recognise=signer.recognise)
    return Ledger(store, signer=signer, high_water=high_water)


def build(serial: int) -> bytes:
    return b"to be signed %d" % serial


def append(
    ledger: Ledger,
    *,
    spends: TokenUse | None = None,
    seen: Seen | None = None,
    build: Callable[[int], bytes] | None = build,
    record: Mapping[str, object] = RECORD,
    now: datetime = NOW,
) -> Proved:
    """Put a certificate on record."""
    return ledger.append(
        build,
        kind=EntryKind.USER_CERTIFICATE,
        record=record,
        spends=spends,
        seen=seen,
        now=now,
    )


def seen_in(signed: SignedCheckpoint) -> Seen:
    """Return a checkpoint as somebody remembers it."""
    return checkpoint_signer().recognise(signed.rendered)


def check(proved: Proved, key: NoteKey) -> Checkpoint:
    """Verify all that a reader can, and return the checkpoint; raise otherwise."""
    public = Ed25519PublicKey.from_public_bytes(key.public_key)
    opened = checkpoint.open_checkpoint(proved.proof.note, key, verify=public.verify)
    signature = sshsig.parse_armour(proved.signed.armour)
    ssh_signature.verify(
        ONLINE_KEY.blob,
        signature.signature,
        sshsig.signed_data(NAMESPACE, proved.proof.note.text),
    )
    merkle.verify_inclusion(
        merkle.leaf_hash(proved.entry.leaf),
        proved.proof.index,
        opened.size,
        proved.proof.hashes,
        opened.root,
    )
    return opened
