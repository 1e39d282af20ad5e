"""`ca-admin ledger recover`: take lost entries back, and let the signers go on."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from ca.admin.command import DONE, Options, Output, Parser, add_common, config_file
from ca.authority import open_ledger
from ca.config import load_config
from ca.errors import Misconfigured
from ca.ledger import Ledger
from ca.ledger.recovery import recover
from ca.mirror import Mirror
from ca.signing_key import open_key
from ca.store import Entry, Seen, Store
from ca.trust import load_roots


def add_arguments(parser: Parser) -> None:
    """Say what may be typed behind `recover`."""
    parser.add_argument("folder", metavar="DIR", nargs="?", type=Path)
    add_common(parser)


def run(options: Options, output: Output) -> int:
    """Take lost entries back from a copy in DIR; let signers go on."""
    with opened_ledger(options) as (store, ledger):
        before = store.log_head().tree.size
        leaves: list[bytes] = []
        known: Seen | None = None
        if options.folder is not None:
            mirror = Mirror(options.folder)
            known = ledger.signer.recognise(_note(mirror))
            leaves = list(mirror.log().new_leaves(before))
        recovered = recover(
            ledger, store, leaves, first=before, known=known, now=datetime.now(UTC)
        )
    _report(recovered.entries, recovered.growth.tree.size, output)
    return DONE


def _note(mirror: Mirror) -> bytes:
    note = mirror.note()
    if note is None:
        raise Misconfigured(
            f"there is no copy of a ledger in {mirror.folder}",
            hint="name the folder of: ca-admin ledger monitor, or export",
        )
    return note


def _report(entries: tuple[Entry, ...], size: int, output: Output) -> None:
    serials = [str(entry.serial) for entry in entries if entry.serial is not None]
    lines = [f"the ledger has {size} entries, and signers issue again"]
    lines += [f"came back without its record: serial {serial}" for serial in serials]
    output.result(
        {"size": size, "taken_back": len(entries), "without_record": serials},
        "\n".join(lines),
    )
    output.note("ID tokens from before this moment buy nothing any more")
    if serials:
        output.note("nobody knows who has these certificates: revoke them")


@contextmanager
def opened_ledger(options: Options) -> Iterator[tuple[Store, Ledger]]:
    """Open the ledger as it is, whole or not, without the other keys."""
    config = load_config(config_file(options))
    online_key = open_key(config.online_key)
    roots = load_roots(config.roots_file).roots
    store = Store.open(config.database_url, password_file=config.database_password_file)
    try:
        yield store, open_ledger(config, store, roots, online_key)
    finally:
        store.close()
