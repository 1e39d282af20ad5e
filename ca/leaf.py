"""Leaves: what the ledger says in public about each of its entries, both ways.

A leaf is canonical JSON (RFC 8785), so that everybody hashes the same bytes; it holds
nothing personal. What does is hashed: the record, whose salt keeps it from being
guessed, and the bytes that a CA key signed.

    {"kind":"user-certificate","record_sha256":"…","serial":"17","time":1795330000,
     "to_be_signed_sha256":"…","v":1}

Where no certificate was made, `serial` and `to_be_signed_sha256` are left out.
"""

import json
import re

from ca.errors import Malformed
from ca.values import dataclass

_VERSION = 1
_OF_ALL = frozenset({"kind", "record_sha256", "time", "v"})
_OF_CERTIFICATES = _OF_ALL | {"serial", "to_be_signed_sha256"}
_KIND = re.compile(r"[a-z]+(-[a-z]+)*", re.ASCII)
_SERIAL = re.compile(r"0|[1-9][0-9]{0,19}", re.ASCII)
_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)


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
        hashes = (
            [self.record_sha256] if signed is None else [self.record_sha256, signed]
        )
        if (
            _KIND.fullmatch(self.kind) is None
            or not 0 <= self.time < 1 << 53
            or not 0 <= (self.serial or 0) < 1 << 64
            or (self.serial is None) != (signed is None)
            or not all(map(_SHA256.fullmatch, hashes))
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
    try:
        members = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise Malformed("a leaf of the ledger is not JSON") from error
    if not isinstance(members, dict) or members.keys() not in (
        _OF_ALL,
        _OF_CERTIFICATES,
    ):
        raise Malformed("a leaf of the ledger has other members than it should")
    leaf = Leaf(
        kind=_text(members["kind"]),
        time=members["time"] if type(members["time"]) is int else -1,
        serial=_serial(members["serial"]) if "serial" in members else None,
        to_be_signed_sha256=(
            _text(members["to_be_signed_sha256"]) if "serial" in members else None
        ),
        record_sha256=_text(members["record_sha256"]),
    )
    # One spelling: no member twice, no other order, no other version.
    if render_leaf(leaf) != data:
        raise Malformed("a leaf of the ledger is not in its canonical form")
    return leaf


def _serial(value: object) -> int:
    if _SERIAL.fullmatch(_text(value)) is None:
        raise Malformed("the serial in a leaf is not a decimal number")
    return int(_text(value))


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise Malformed("a member of a leaf is not text")
    return value
