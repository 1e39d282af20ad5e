"""Leaves: what the ledger says in public about each of its entries, both ways.

A leaf is canonical JSON (RFC 8785), so that everybody hashes the same bytes; it holds
nothing personal. What does is hashed: the record, whose salt keeps it from being
guessed, and the bytes that a CA key signed.

    {"kind":"user-certificate","record_sha256":"…","serial":"17","time":1795330000,
     "to_be_signed_sha256":"…","v":1}

Where no certificate was made, `serial` and `to_be_signed_sha256` are left out.
"""

import re

from ca.errors import Malformed
from ca.values import dataclass

_VERSION = 1
_KIND = re.compile(r"[a-z]+(-[a-z]+)*", re.ASCII)
_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)
_SPELLING = re.compile(
    rb'\{"kind":"([a-z]+(?:-[a-z]+)*)"'
    rb',"record_sha256":"([0-9a-f]{64})"'
    rb'(?:,"serial":"(0|[1-9][0-9]{0,19})")?'
    rb',"time":(0|[1-9][0-9]{0,15})'
    rb'(?:,"to_be_signed_sha256":"([0-9a-f]{64})")?'
    rb',"v":%d\}' % _VERSION
)
"""What `render_leaf` writes: no member twice, no other order, no other version."""


@dataclass(frozen=True, slots=True)
class Leaf:
    """One leaf. What it says is believed once its hash is in a signed tree."""

    kind: str
    """What the entry is about: `user-certificate`, `revocation`, …"""
    time: int
    """When the entry was made, in Unix seconds by the signer's clock."""
    serial: int | None
    """Of the certificate; None where the entry is about something else."""
    to_be_signed_sha256: str | None
    """Hex; of the bytes that the CA key signed."""
    record_sha256: str
    """Hex; of the record, also after that was erased."""

    def __post_init__(self) -> None:
        signed = self.to_be_signed_sha256
        if (
            _KIND.fullmatch(self.kind) is None
            or not 0 <= self.time < 1 << 53
            or not 0 <= (self.serial or 0) < 1 << 64
            or (self.serial is None) != (signed is None)
            or _SHA256.fullmatch(self.record_sha256) is None
            or (signed is not None and _SHA256.fullmatch(signed) is None)
        ):
            raise Malformed("a leaf of the ledger says what none can say")


def render_leaf(leaf: Leaf) -> bytes:
    """Return the bytes whose hash is in the tree."""
    # By hand, which is several times as fast: no value has anything to escape.
    begin = f'{{"kind":"{leaf.kind}","record_sha256":"{leaf.record_sha256}"'
    end = f'"v":{_VERSION}}}'
    if leaf.serial is None:
        return f'{begin},"time":{leaf.time},{end}'.encode()
    return (
        f'{begin},"serial":"{leaf.serial}","time":{leaf.time}'
        f',"to_be_signed_sha256":"{leaf.to_be_signed_sha256}",{end}'
    ).encode()


def parse_leaf(data: bytes) -> Leaf:
    """Parse a leaf; raise `Malformed` unless it is in its one spelling."""
    found = _SPELLING.fullmatch(data)
    if found is None:
        raise Malformed("a leaf of the ledger is not in its canonical form")
    kind, record, serial, time, to_be_signed = found.groups()
    return Leaf(
        kind=kind.decode(),
        time=int(time),
        serial=None if serial is None else int(serial),
        to_be_signed_sha256=None if to_be_signed is None else to_be_signed.decode(),
        record_sha256=record.decode(),
    )
