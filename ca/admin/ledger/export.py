"""`ca-admin ledger export`: the ledger as files that any web server can serve."""

from collections.abc import Iterator
from pathlib import Path

from ca.admin.command import (
    DONE,
    Drift,
    Options,
    Output,
    Parser,
    add_common,
    config_file,
)
from ca.authority import Authority, open_authority
from ca.checkpoint import render_key
from ca.config import load_config
from ca.errors import Conflict
from ca.mirror import CHECKPOINT, Mirror

SIGNATURE = "checkpoint-signature"
_CHUNK = 4096


def add_arguments(parser: Parser) -> None:
    """Say what may be typed behind `export`."""
    parser.add_argument("folder", metavar="DIR")
    add_common(parser)


def run(options: Options, output: Output) -> int:
    """Bring the copy up to date; print the key that it can be verified with."""
    authority = open_authority(load_config(config_file(options)))
    mirror = Mirror(Path(options.folder))
    try:
        before, after = _grow(authority, mirror)
    except Conflict as error:
        raise Drift(
            f"{mirror.folder} is not a copy of this ledger: {error.detail}",
            hint="keep it: it may be right, and the ledger wrong;"
            " then: ca-admin ledger verify",
        ) from error
    finally:
        authority.store.close()
    key = render_key(authority.ledger.signer.key)
    output.result(
        {"before": before, "entries": after, "key": key},
        f"{mirror.folder}: {before} -> {after} entries\nkey {key}",
    )
    return DONE


def _grow(authority: Authority, mirror: Mirror) -> tuple[int, int]:
    signed = authority.ledger.checkpoint()
    now, before = signed.checkpoint, mirror.checkpoint()
    if before is not None and (before.origin != now.origin or before.size > now.size):
        raise Conflict(
            f"it has {before.size} entries of {before.origin}, and the ledger"
            f" {now.size} of {now.origin}"
        )
    size = 0 if before is None else before.size
    mirror.grow(
        now,
        _leaves(authority, size, now.size),
        also={SIGNATURE: signed.armour.encode(), CHECKPOINT: signed.rendered},
    )
    return size, now.size


def _leaves(authority: Authority, first: int, end: int) -> Iterator[bytes]:
    for at in range(first, end, _CHUNK):
        for entry in authority.store.entries(at, min(_CHUNK, end - at)):
            yield entry.leaf
