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
    parser.add_argument("index", metavar="INDEX", type=int)
    add_common(parser)


def run(options: Options, output: Output) -> int:
    """Erase it, unless its certificate may still open something."""
    authority = open_authority(load_config(config_file(options)))
    now = datetime.now(UTC)
    try:
        entry = _find(authority.store, options.index)
        _refuse_live(entry, options.index, now=now)
        proved = authority.ledger.append(
            None,
            kind=EntryKind.ADMINISTRATION,
            record={
                "v": 1,
                "act": "erase-record",
                "index": options.index,
                "by": getpass.getuser(),
            },
            now=now,
        )
        authority.store.erase(entry.index)
    finally:
        authority.store.close()
    output.result(
        {"erased": options.index, "index": proved.proof.index},
        f"erased the record of entry {options.index}; entry {proved.proof.index} says"
        " so",
    )
    output.note("backups still have it")
    return DONE


def _find(store: Store, index: int) -> Entry:
    found = store.entries(index, 1) if 0 <= index < 1 << 62 else []
    if not found:
        raise NotFound(f"there is no entry at index {index} on the ledger")
    return found[0]


def _refuse_live(entry: Entry, index: int, *, now: datetime) -> None:
    """Raise `Conflict` while what is on record may still be needed."""
    if entry.serial is None:
        raise Conflict(f"entry {index} is about no certificate, and stays as it is")
    if entry.to_be_signed is None:
        raise Conflict(f"the record of entry {index} was erased before")
    ends = parse_to_be_signed(entry.to_be_signed).valid_before
    if now.timestamp() < ends:
        until = datetime.fromtimestamp(ends, UTC).isoformat()
        raise Conflict(
            f"the certificate of entry {index} lasts until {until}",
            hint="its record can be erased after that",
        )
