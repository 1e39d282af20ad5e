"""`ca-admin ledger recover`: take lost entries back, and let the signers go on.

What cannot be had back means a new log. Which log a CA has is in its roots, so that is
done in two steps, and the root key signs in between (`ca.ledger.new_log`).
"""

import getpass
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from ca import bundle
from ca.admin.command import DONE, Options, Output, Parser, add_common, config_file
from ca.admin.files import replace_file
from ca.admin.ledger.source import verify_signed
from ca.authority import checkpoint_signer, open_ledger
from ca.bundle import Roots
from ca.config import Config, load_config
from ca.errors import Misconfigured
from ca.ledger import HighWater, Ledger
from ca.ledger.new_log import OldLog, begin, closes, plan
from ca.ledger.recovery import adopt_head, recover
from ca.mirror import Mirror
from ca.signing_key import SigningKey, open_key
from ca.store import Entry, Store
from ca.trust import SignedRoots, load_roots


def add_arguments(parser: Parser) -> None:
    """Say what may be typed behind `recover`."""
    parser.add_argument("folder", metavar="DIR", nargs="?", type=Path)
    parser.add_argument("--new-log", metavar="FILE", type=Path)
    add_common(parser)


def run(options: Options, output: Output) -> int:
    """Take lost entries back from a copy in DIR; let signers go on.

    With `--new-log` write the text of roots that name a new log. When the roots in
    place close the one in the database, begin the new one.
    """
    mirror = None if options.folder is None else Mirror(options.folder)
    with _opened(options) as opened:
        if options.new_log is not None:
            _plan(opened, mirror, options.new_log, output)
        elif closes(opened.roots, opened.store.log_head()):
            _begin(opened, mirror, output)
        else:
            _take_back(opened, mirror, output)
    return DONE


@dataclass(frozen=True, slots=True)
class _Opened:
    """What a recovery needs of a CA, whole or not: no key but the online key."""

    config: Config
    signed_roots: SignedRoots
    online_key: SigningKey
    store: Store

    @property
    def roots(self) -> Roots:
        """What the roots in place say."""
        return self.signed_roots.roots

    def ledger(self) -> Ledger:
        """Open the log that the roots name."""
        return open_ledger(self.config, self.store, self.roots, self.online_key)

    def old_log(self, mirror: Mirror | None) -> OldLog:
        """Return the log that the database holds, which roots may have closed."""
        origin = self.store.log_head().origin or self.roots.log_origin
        signer = checkpoint_signer(self.roots, self.online_key, origin=origin)
        known = [] if mirror is None else [signer.recognise(_note(mirror))]
        high_water = HighWater(self.config.high_water_file, recognise=signer.recognise)
        return OldLog(self.store, signer, high_water, known)


@contextmanager
def _opened(options: Options) -> Iterator[_Opened]:
    config = load_config(config_file(options))
    online_key = open_key(config.online_key)
    roots = load_roots(config.roots_file)
    store = Store.open(config.database_url, password_file=config.database_password_file)
    try:
        yield _Opened(config, roots, online_key, store)
    finally:
        store.close()


@contextmanager
def opened_ledger(options: Options) -> Iterator[tuple[Store, Ledger]]:
    """Open the ledger as it is, whole or not, without the other keys."""
    with _opened(options) as opened:
        yield opened.store, opened.ledger()


def _note(mirror: Mirror) -> bytes:
    note = mirror.note()
    if note is None:
        raise Misconfigured(
            f"there is no copy of a ledger in {mirror.folder}",
            hint="name the folder of: ca-admin ledger monitor, or export",
        )
    return note


# --- Take entries back --------------------------------------------------------------


def _take_back(opened: _Opened, mirror: Mirror | None, output: Output) -> None:
    ledger, store = opened.ledger(), opened.store
    before = store.log_head().tree.size
    leaves: list[bytes] = []
    known = None
    if mirror is not None:
        known = ledger.signer.recognise(_note(mirror))
        leaves = list(mirror.log().new_leaves(before))
    recovered = recover(
        ledger, store, leaves, first=before, known=known, now=datetime.now(UTC)
    )
    _report(recovered.entries, recovered.growth.tree.size, output)


def _report(entries: tuple[Entry, ...], size: int, output: Output) -> None:
    serials = [str(entry.serial) for entry in entries if entry.serial is not None]
    lines = [f"the ledger has {size} entries, and signers issue again"]
    lines += [f"came back without its record: serial {serial}" for serial in serials]
    output.result(
        {"size": size, "taken_back": len(entries), "without_record": serials},
        "\n".join(lines),
    )
    _say_tokens(output)
    if serials:
        output.note("nobody knows who has these certificates: revoke them")


def _say_tokens(output: Output) -> None:
    output.note("ID tokens from before this moment buy nothing any more")


# --- A new log ----------------------------------------------------------------------


def _plan(opened: _Opened, mirror: Mirror | None, file: Path, output: Output) -> None:
    if closes(opened.roots, opened.store.log_head()):
        raise Misconfigured(
            "the roots in place name a new log already", hint="ca-admin ledger recover"
        )
    roots = plan(opened.old_log(mirror), opened.roots, now=datetime.now(UTC))
    replace_file(file, bundle.render_roots(roots))
    closed = roots.closed_logs[-1]
    document = {
        "file": str(file),
        "closed": closed.origin,
        "size": closed.size,
        "origin": roots.log_origin,
        "serial_base": str(roots.serial_base),
    }
    output.result(
        document,
        f"{file} closes {closed.origin} at {closed.size} entries and names"
        f" {roots.log_origin}, with serials above {roots.serial_base}",
    )
    output.note(
        "nothing is changed yet; have it signed:"
        f" ca-admin keys sign-roots {file} --root-key PATH"
    )


def _begin(opened: _Opened, mirror: Mirror | None, output: Output) -> None:
    # A signer has no use for the signature, but here it is what changes the log.
    text, armour = bundle.split_signed(opened.signed_roots.document)
    verify_signed(text, armour, bundle.ROOTS_NAMESPACE, [opened.roots.root_key])
    old = opened.old_log(mirror)
    begun = begin(old, opened.roots, by=getpass.getuser(), now=datetime.now(UTC))
    # Now that the database holds what the roots name.
    adopt_head(opened.ledger(), opened.store)
    output.result(
        {
            "closed": begun.closed,
            "origin": begun.origin,
            "serial_base": str(begun.serial_base),
            "lost_serials": [str(begun.lost_from), str(begun.serial_base)],
        },
        f"{begun.closed} is closed, {begun.origin} begins, and signers that have these"
        " roots issue again\n"
        f"lost for good: whatever had a serial from {begun.lost_from} to"
        f" {begun.serial_base}",
    )
    _say_tokens(output)
    output.note(
        "on each other signer's machine: put the roots in place, then"
        " ca-admin ledger adopt-head"
    )
