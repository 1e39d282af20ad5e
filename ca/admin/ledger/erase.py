"""`ca-admin ledger erase-record`: take the personal part of an entry away, for ever.

The leaf stays, with the hashes of what was there, so everything still verifies. That
it is erased is put on the ledger first, as an entry of its own.
"""

import getpass
from datetime import UTC, datetime

from ca.admin.command import DONE, Options, Output, Parser, add_common, config_file
from ca.authority import open_authority
from ca.certificate import parse_to_be_signed
from ca.config import load_config
from ca.errors import Conflict, NotFound
from ca.ledger import EntryKind
from ca.store import Entry, Store


def add_arguments(parser: Parser) -> None:
    """Say what may be typed behind `erase-record`."""
    parser.add_argument("number", metavar="INDEX", type=int)
    parser.add_argument("--serial", action="store_true")
    add_common(parser)


def run(options: Options, output: Output) -> int:
    """Erase it, unless its certificate may still open something."""
    authority = open_authority(load_config(config_file(options)))
    now = datetime.now(UTC)
    try:
        entry = _find(authority.store, options.number, by_serial=options.serial)
        named = f"{'serial' if options.serial else 'entry'} {options.number}"
        _refuse_live(entry, named, now=now)
        index = entry.index - authority.store.log_head().serial_base
        proved = authority.ledger.append(
            None,
            kind=EntryKind.ADMINISTRATION,
            record={
                "v": 1,
                "act": "erase-record",
                # Of a log that was closed the serial is all that still tells.
                "index": index if index >= 0 else None,
                "serial": str(entry.serial),
                "by": getpass.getuser(),
            },
            now=now,
        )
        authority.store.erase(entry.index)
    finally:
        authority.store.close()
    output.result(
        {"erased": options.number, "index": proved.proof.index},
        f"erased the record of {named}; entry {proved.proof.index} says so",
    )
    output.note("backups still have it")
    return DONE


def _find(store: Store, number: int, *, by_serial: bool) -> Entry:
    if by_serial:
        found, what = store.entry_by_serial(number), "certificate with serial"
    else:
        entries = store.entries(number, 1) if 0 <= number < 1 << 62 else []
        found, what = next(iter(entries), None), "entry at index"
    if found is None:
        raise NotFound(f"there is no {what} {number} on the ledger")
    return found


def _refuse_live(entry: Entry, named: str, *, now: datetime) -> None:
    """Raise `Conflict` while what is on record may still be needed."""
    if entry.serial is None:
        raise Conflict(f"{named} is about no certificate, and stays as it is")
    if entry.to_be_signed is None:
        raise Conflict(f"the record of {named} was erased before")
    ends = parse_to_be_signed(entry.to_be_signed).valid_before
    if now.timestamp() < ends:
        until = datetime.fromtimestamp(ends, UTC).isoformat()
        raise Conflict(
            f"the certificate of {named} lasts until {until}",
            hint="its record can be erased after that",
        )
