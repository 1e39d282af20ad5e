"""`ca-admin ledger recover`: take lost entries back, and let the signers go on.

What cannot be had back means a new log. Which log a CA has is in its roots, so that is
done in two steps, and the root key signs in between (`ca.ledger.new_log`).
"""

import getpass
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from ca import bundle
from ca.admin.command import (
    DONE,
    Options,
    Output,
    Parser,
    add_common,
    agreed,
    config_file,
)
from ca.admin.files import replace_file
from ca.admin.ledger.keys import read_checkpoints
from ca.admin.ledger.source import verify_signed
from ca.authority import checkpoint_signer, open_ledger
from ca.bundle import Roots
from ca.config import Config, load_config
from ca.errors import CAError, Conflict, Misconfigured
from ca.krl import Runs
from ca.ledger import CheckpointSigner, HighWater, Ledger
from ca.ledger.new_log import OldLog, begin, closes, plan, spelled
from ca.ledger.recovery import Copy, adopt_head, recover
from ca.mirror import Mirror
from ca.signing_key import SigningKey, open_key
from ca.store import Forgotten, Recovered, Seen, Store
from ca.trust import SignedRoots, load_roots
from ca.trust.published import PublishedKRL, forgotten_in, prove_published


def add_arguments(parser: Parser) -> None:
    """Say what may be typed behind `recover`."""
    parser.add_argument("folder", metavar="DIR", nargs="?", type=Path)
    parser.add_argument("--new-log", metavar="FILE", type=Path)
    parser.add_argument(
        "--checkpoint", metavar="FILE", type=Path, action="append", default=[]
    )
    krl = parser.add_mutually_exclusive_group()
    krl.add_argument("--krl", metavar="FILE", type=Path)
    krl.add_argument("--no-krl", action="store_true")
    parser.add_argument("--yes", action="store_true")
    add_common(parser)


def run(options: Options, output: Output) -> int:
    """Take lost entries back from a copy in DIR; let signers go on.

    With `--new-log` write the text of roots that name a new log. When the roots in
    place close the one in the database, begin the new one.
    """
    mirror = None if options.folder is None else Mirror(options.folder)
    with _opened(options, options.checkpoint) as opened:
        # First: what is asked of the operator is asked where something is missing.
        opened.old_log(mirror).stop_if_behind()
        if options.new_log is not None:
            _plan(opened, mirror, options.new_log, output)
            return DONE
        forgotten = _forgotten(options, opened.roots, opened.store)
        _confirm_blocks(opened, options, output)
        if closes(opened.roots, opened.store.log_head()):
            _begin(opened, mirror, forgotten, output)
        else:
            _take_back(opened, mirror, forgotten, output)
    return DONE


@dataclass(frozen=True, slots=True)
class _Opened:
    """What a recovery needs of a CA, whole or not: no key but the online key."""

    config: Config
    signed_roots: SignedRoots
    online_key: SigningKey
    store: Store
    brought: Sequence[Path] = ()
    """Files with checkpoints that others have."""

    @property
    def roots(self) -> Roots:
        """What the roots in place say."""
        return self.signed_roots.roots

    def ledger(self) -> Ledger:
        """Open the log that the roots name."""
        return open_ledger(self.config, self.store, self.roots, self.online_key)

    def known(self, signer: CheckpointSigner) -> list[Seen]:
        """Return the checkpoints that others have."""
        return [
            seen
            for file in self.brought
            for seen in read_checkpoints(file, signer.recognise)
        ]

    def old_log(
        self, mirror: Mirror | None, forgotten: Forgotten | None = None
    ) -> OldLog:
        """Return the log that the database holds, which roots may have closed."""
        origin = self.store.log_head().origin or self.roots.log_origin
        signer = checkpoint_signer(self.roots, self.online_key, origin=origin)
        known = self.known(signer)
        if mirror is not None:
            known.append(signer.recognise(_note(mirror)))
        high_water = HighWater(self.config.high_water_file, recognise=signer.recognise)
        return OldLog(self.store, signer, high_water, known, forgotten or Forgotten())


@contextmanager
def _opened(options: Options, brought: Sequence[Path] = ()) -> Iterator[_Opened]:
    config = load_config(config_file(options))
    online_key = open_key(config.online_key)
    roots = load_roots(config.roots_file)
    store = Store.open(config.database_url, password_file=config.database_password_file)
    try:
        yield _Opened(config, roots, online_key, store, brought)
    finally:
        store.close()


@contextmanager
def opened_ledger(options: Options) -> Iterator[tuple[Store, Ledger]]:
    """Open the ledger as it is, whole or not, without the other keys."""
    with _opened(options) as opened:
        yield opened.store, opened.ledger()


def _forgotten(options: Options, roots: Roots, store: Store) -> Forgotten:
    """Return what a published KRL revokes, and the database may have forgotten.

    Raises `Misconfigured` where nobody said, and something was ever published.
    """
    newest = store.newest_current()
    if options.krl is not None:
        published = _published(options.krl, roots)
        if newest is not None and published.version < newest.version:
            raise Conflict(
                f"{options.krl} is older than what this database has published itself",
                hint="take it from a host that has asked since",
            )
        return forgotten_in(published, roots)
    if newest is not None and not options.no_krl and store.log_head().stopped:
        raise Misconfigured(
            "what was revoked since, the database may have forgotten",
            hint="bring the newest KRL, which any host has: --krl FILE; or --no-krl,"
            " if nothing was revoked",
        )
    return Forgotten()


def _published(file: Path, roots: Roots) -> PublishedKRL:
    """Read a KRL, proved by the file `current` beside it, as hosts have both."""
    current = file.with_name("current")
    try:
        return prove_published(current.read_bytes(), file.read_bytes(), roots=roots)
    except OSError as error:
        raise Misconfigured(
            f"cannot read {error.filename}: {error.strerror}",
            hint="copy revoked.krl and current from a host's /etc/ssh/daypass",
        ) from error
    except CAError as error:
        raise Misconfigured(f"{file} is not proved: {error.detail}") from error


def _confirm_blocks(opened: _Opened, options: Options, output: Output) -> None:
    """Have the operator look at the blocks: those made since are forgotten."""
    if opened.store.log_head().stopped is None:
        return
    blocks = [one for one in opened.store.blocks() if one.lifted_index is None]
    output.note("blocked, as the database has it:")
    for block in blocks:
        output.note(f"  {block.target.kind} {block.target.name}")
    if not blocks:
        output.note("  nobody")
    output.note("hosts that were forgotten since are registered again: hosts list")
    if not options.yes and not agreed("go on, and block who is missing afterwards?"):
        raise Conflict("the blocks were not confirmed, and nothing is changed")


def _note(mirror: Mirror) -> bytes:
    note = mirror.note()
    if note is None:
        raise Misconfigured(
            f"there is no copy of a ledger in {mirror.folder}",
            hint="name the folder of: ca-admin ledger monitor, or export",
        )
    return note


# --- Take entries back --------------------------------------------------------------


def _take_back(
    opened: _Opened, mirror: Mirror | None, forgotten: Forgotten, output: Output
) -> None:
    ledger, store = opened.ledger(), opened.store
    before = store.log_head().tree.size
    copy = Copy(known=opened.known(ledger.signer))
    if mirror is not None:
        known = [*copy.known, ledger.signer.recognise(_note(mirror))]
        copy = Copy(list(mirror.log().new_leaves(before)), before, known)
    recovered = recover(
        ledger,
        store,
        copy,
        forgotten=forgotten,
        by=getpass.getuser(),
        now=datetime.now(UTC),
    )
    _report(recovered, output)


def _report(recovered: Recovered, output: Output) -> None:
    size, back = recovered.growth.tree.size, recovered.entries
    first = size - 1 - len(back)
    # What a block or a host's registration did is lost with its record.
    others = [
        {"index": first + at, "kind": entry.kind}
        for at, entry in enumerate(back)
        if entry.serial is None
    ]
    lines = [f"the ledger has {size} entries, and signers issue again"]
    lines += [
        f"came back without its record: entry {one['index']}, {one['kind']}; do it"
        " again if it still holds"
        for one in others
    ]
    lines += [_revoked(recovered.revoked)] if recovered.revoked else []
    output.result(
        {
            "size": size,
            "taken_back": len(back),
            "revoked_serials": spelled(recovered.revoked),
            "without_record": others,
        },
        "\n".join(lines),
    )
    _say_tokens(output)


def _revoked(runs: Runs) -> str:
    said = ", ".join(f"{a}" if a == b else f"{a} to {b}" for a, b in runs)
    return f"revoked, since nobody knows whose they are: serials {said}"


def _say_tokens(output: Output) -> None:
    output.note(
        "ID tokens and join tokens from before this moment buy nothing any more"
    )


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


def _begin(
    opened: _Opened, mirror: Mirror | None, forgotten: Forgotten, output: Output
) -> None:
    # A signer has no use for the signature, but here it is what changes the log.
    text, armour = bundle.split_signed(opened.signed_roots.document)
    verify_signed(text, armour, bundle.ROOTS_NAMESPACE, [opened.roots.root_key])
    old = opened.old_log(mirror, forgotten)
    begun = begin(old, opened.roots, by=getpass.getuser(), now=datetime.now(UTC))
    # Now that the database holds what the roots name.
    adopt_head(opened.ledger(), opened.store)
    output.result(
        {
            "closed": begun.closed,
            "origin": begun.origin,
            "serial_base": str(begun.serial_base),
            "revoked_serials": spelled(begun.forgotten.serials),
        },
        f"{begun.closed} is closed, {begun.origin} begins, and signers that have these"
        " roots issue again\n" + _revoked(begun.forgotten.serials),
    )
    _say_tokens(output)
    output.note(
        "on each other signer's machine: put the roots in place, then"
        " ca-admin ledger adopt-head"
    )
