"""`ca-admin ledger show`: what is on record of a certificate, and the proof of it."""

import json
from base64 import b64encode
from collections.abc import Iterator

from ca.admin.command import (
    DONE,
    Misuse,
    Options,
    Output,
    Parser,
    add_common,
    config_file,
)
from ca.authority import Authority, open_authority
from ca.certificate import parse_to_be_signed
from ca.checkpoint import LogProof, render_proof
from ca.config import load_config
from ca.errors import NotFound
from ca.merkle import plan_inclusion
from ca.store import Entry


def add_arguments(parser: Parser) -> None:
    """Say what may be typed behind `show`."""
    parser.add_argument("number", metavar="SERIAL")
    parser.add_argument("--index", action="store_true")
    add_common(parser)


def run(options: Options, output: Output) -> int:
    """Show one entry."""
    number = _number(options.number)
    authority = open_authority(load_config(config_file(options)))
    try:
        entry = _find(authority, number, by_index=options.index)
        index = entry.index - authority.store.log_head().serial_base
        proof = _prove(authority, index) if index >= 0 else None
    finally:
        authority.store.close()
    output.result(
        {**_document(entry, index), "proof": proof}, "\n".join(_lines(entry, index))
    )
    return DONE


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(1 << 64))):
        raise Misuse(f"{text!r} is no serial", hint="ca-admin ledger --help")
    return int(text)


def _find(authority: Authority, number: int, *, by_index: bool) -> Entry:
    if by_index:
        found = next(iter(authority.store.entries(min(number, 1 << 62), 1)), None)
    else:
        found = authority.store.entry_by_serial(number)
    if found is None:
        what = "entry at index" if by_index else "certificate with serial"
        raise NotFound(f"there is no {what} {number} on the ledger")
    return found


def _prove(authority: Authority, index: int) -> str:
    signed = authority.ledger.checkpoint()
    plan = plan_inclusion(index, signed.checkpoint.size)
    proof = LogProof(index, authority.store.hashes(plan), signed.note)
    return render_proof(proof).decode()


def _document(entry: Entry, index: int) -> dict[str, object]:
    return {
        "index": index if index >= 0 else None,
        "time": entry.time,
        "kind": entry.kind,
        "serial": None if entry.serial is None else str(entry.serial),
        "leaf": b64encode(entry.leaf).decode(),
        "record": None if entry.record is None else json.loads(entry.record),
        "to_be_signed": (
            None
            if entry.to_be_signed is None
            else b64encode(entry.to_be_signed).decode()
        ),
    }


def _lines(entry: Entry, index: int) -> Iterator[str]:
    yield f"index      {index if index >= 0 else 'on a log that was closed'}"
    yield f"leaf       {entry.leaf.decode()}"
    yield f"record     {'erased' if entry.record is None else entry.record.decode()}"
    if entry.to_be_signed is not None:
        says = parse_to_be_signed(entry.to_be_signed)
        yield f"key ID     {says.key_id}"
        yield f"principals {', '.join(says.principals)}"
        yield f"valid      {says.valid_after} to {says.valid_before}"
