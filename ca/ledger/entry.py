"""What an entry of the ledger holds: a leaf for everybody, a record for a few."""

import hashlib
import secrets
from collections.abc import Callable, Mapping
from datetime import datetime
from enum import StrEnum

import msgspec
from msgspec import Struct

from ca.leaf import Leaf, render_leaf
from ca.store import Entry
from ca.wire import encode_base64

_SALT_BYTES = 16

_ENCODER = msgspec.json.Encoder(order="sorted")


class EntryKind(StrEnum):
    """What an entry is about."""

    USER_CERTIFICATE = "user-certificate"
    HOST_CERTIFICATE = "host-certificate"
    REVOCATION = "revocation"
    BLOCK = "block"
    CA_KEY_CHANGE = "ca-key-change"
    ADMINISTRATION = "administration"


def canonical_json(value: Mapping[str, object]) -> bytes:
    """Encode as RFC 8785 would: the one spelling that everybody hashes.

    Holds for what we put in: ASCII member names, integers below 2^53, no floats.
    """
    return _ENCODER.encode(value)


def salted(record: Mapping[str, object]) -> bytes:
    """Encode a record with a salt, so that its hash in the leaf tells nothing of it."""
    salt = encode_base64(secrets.token_bytes(_SALT_BYTES))
    return canonical_json({**record, "salt": salt})


class Place(Struct, frozen=True):
    """Makes an entry once its index and serial are known."""

    kind: EntryKind
    time: int
    record: bytes
    build: Callable[[int], bytes] | None
    """Makes the to-be-signed bytes of a certificate from its serial."""

    def __call__(self, index: int, serial: int) -> Entry:
        """Return the entry in this place; without a serial where nothing is signed."""
        to_be_signed = None if self.build is None else self.build(serial)
        leaf = Leaf(
            kind=self.kind,
            time=self.time,
            serial=None if to_be_signed is None else serial,
            to_be_signed_sha256=None if to_be_signed is None else _sha256(to_be_signed),
            record_sha256=_sha256(self.record),
        )
        return Entry(
            index=index,
            time=self.time,
            kind=self.kind,
            serial=leaf.serial,
            leaf=render_leaf(leaf),
            record=self.record,
            to_be_signed=to_be_signed,
        )


def place_of(
    build: Callable[[int], bytes] | None,
    *,
    kind: EntryKind,
    record: Mapping[str, object],
    now: datetime,
) -> Place:
    """Return what makes an entry of a record, which is given its salt here."""
    return Place(
        kind=kind, time=int(now.timestamp()), record=salted(record), build=build
    )


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
