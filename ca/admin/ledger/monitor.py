"""`ca-admin ledger monitor`: follow a ledger from outside, as a security team does.

    fetch ──▶ signature ──▶ grows? ──▶ new entries ──▶ their tree is the one signed for
                                                         ──▶ copied ──▶ printed

Nothing of the CA is trusted but the pinned key. All entries are seen, so a tree that
was rewritten or forked cannot pass; what contradicts is kept as evidence.
"""

import hashlib
import sys
import time
from contextlib import closing
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

from ca.admin.command import DONE, Drift, Options, Output, Parser, Unreachable
from ca.admin.ledger.keys import open_note
from ca.admin.ledger.source import Source, Trusted
from ca.audit import SerialCheck
from ca.bundle import parse_roots, split_signed
from ca.checkpoint import Checkpoint
from ca.errors import Conflict, Malformed, NotFound, SignatureInvalid
from ca.leaf import Leaf, parse_leaf
from ca.mirror import CHECKPOINT, Mirror
from ca.tiled_log import TiledLog
from ca.tiles import WIDTH

ROOTS = "roots"
"""The newest roots seen, in the folder beside the checkpoint."""


def add_arguments(parser: Parser) -> None:
    """Say what may be typed behind `monitor`."""
    parser.add_argument("url", metavar="URL")
    parser.add_argument("folder", metavar="DIR")
    parser.add_argument("--pin")
    parser.add_argument("--key", action="append", default=[])
    parser.add_argument("--every", type=float, metavar="SECONDS")
    parser.add_argument("--json", action="store_true")


def run(options: Options, output: Output) -> int:
    """Look once, or again and again; raises `Drift` where something is wrong."""
    source = Source(options.url, pin=options.pin, keys=options.key)
    mirror = Mirror(Path(options.folder))
    with closing(source):
        while True:
            try:
                _look(source, mirror, output)
            except Unreachable as error:
                if options.every is None:
                    raise
                output.note(f"ca-admin: warning: {error.detail}")
            if options.every is None:
                return DONE
            # Whoever reads our output has it now, not when there is a page of it.
            sys.stdout.flush()
            time.sleep(options.every)


def _look(source: Source, mirror: Mirror, output: Output) -> None:
    note: bytes | None = None
    try:
        trusted = source.trusted()
        _refuse_older_roots(mirror, trusted)
        note = source.fetch(CHECKPOINT)
        if note is None:
            raise Unreachable("the log has no checkpoint", hint="is the URL right?")
        now = open_note(note, trusted.keys)
        before = mirror.checkpoint()
        _refuse_contradiction(before, now)
        _grow(source, mirror, now, note=note, roots=trusted.document)
    except NotFound as error:
        raise Unreachable(f"the log is not whole: {error.detail}") from error
    except (Conflict, Malformed, SignatureInvalid) as error:
        raise Drift(
            error.detail, hint=f"the proof is in {_keep_evidence(mirror, note)}"
        ) from error
    if trusted.expires is not None and trusted.expires <= time.time():
        # A checkpoint has no time in it; what names the roots has.
        output.note(
            "ca-admin: warning: what the CA published last has run out: it stands"
            " still, or an old state is shown"
        )
    _print_new(mirror, 0 if before is None else before.size, trusted, output)


def _refuse_older_roots(mirror: Mirror, trusted: Trusted) -> None:
    known = mirror.fetch(ROOTS)
    if known is None or trusted.roots is None:
        return
    version = parse_roots(split_signed(known)[0]).version
    if trusted.roots.version < version:
        raise Conflict("the CA's roots are older than those that were seen before")


def _refuse_contradiction(before: Checkpoint | None, now: Checkpoint) -> None:
    if before is None:
        return
    if before.origin != now.origin:
        raise Conflict(
            f"this is another ledger, {now.origin}; {before.origin} was followed until"
            " now: ask why, and follow it into another folder"
        )
    if before.size > now.size:
        raise Conflict(
            f"the ledger went backwards: it had {before.size} entries, and has"
            f" {now.size}"
        )


def _grow(
    source: Source, mirror: Mirror, now: Checkpoint, *, note: bytes, roots: bytes
) -> None:
    also = {ROOTS: roots} if roots else {}
    leaves = TiledLog(source.fetch, now.size).new_leaves(mirror.log().size)
    mirror.grow(now, leaves, also={**also, CHECKPOINT: note})


def _print_new(mirror: Mirror, first: int, trusted: Trusted, output: Output) -> None:
    wrong = []
    serials = _serial_check(mirror, trusted)
    for index, leaf in enumerate(mirror.log().new_leaves(first), start=first):
        found = list(serials.check(leaf, index))
        wrong += found
        for damage in found:
            output.result(
                {"damage": {"index": index, "what": damage.what}}, f"{damage}"
            )
        if not found:
            output.result(*_say(index, parse_leaf(leaf)))
    if wrong:
        raise Drift(
            f"{len(wrong)} new entries say what none should, first {wrong[0]}",
            hint=f"they are on the ledger, and in {mirror.folder}",
        )


def _serial_check(mirror: Mirror, trusted: Trusted) -> SerialCheck:
    if trusted.roots is not None:
        return SerialCheck(trusted.roots.serial_base)
    check = SerialCheck()
    # The first certificate on the ledger says how serials follow from places.
    for index, leaf in enumerate(islice(mirror.log().new_leaves(0), WIDTH)):
        _ = list(check.check(leaf, index))
    return check


def _say(index: int, leaf: Leaf) -> tuple[dict[str, object], str]:
    serial = None if leaf.serial is None else str(leaf.serial)
    at = datetime.fromtimestamp(leaf.time, UTC).isoformat()
    document: dict[str, object] = {
        "index": index,
        "time": leaf.time,
        "kind": leaf.kind,
        "serial": serial,
        "to_be_signed_sha256": leaf.to_be_signed_sha256,
        "record_sha256": leaf.record_sha256,
    }
    about = "" if serial is None else f" serial {serial} {leaf.to_be_signed_sha256}"
    return document, f"{index} {at} {leaf.kind}{about}"


def _keep_evidence(mirror: Mirror, shown: bytes | None) -> Path:
    """Keep the checkpoint that was shown beside the one that was known."""
    files = {"shown.note": shown, "known.note": mirror.note()}
    digest = hashlib.sha256(repr(files).encode()).hexdigest()[:12]
    folder = mirror.folder / "evidence" / digest
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        if content is not None:
            (folder / name).write_bytes(content)
    return folder
