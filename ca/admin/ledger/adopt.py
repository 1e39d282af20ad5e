"""`ca-admin ledger adopt-head`: let this signer begin with the ledger as it is."""

from pathlib import Path

from ca.admin.command import DONE, Options, Output, Parser, add_common
from ca.admin.ledger.keys import read_checkpoints
from ca.admin.ledger.recover import opened_ledger
from ca.ledger.recovery import adopt_head


def add_arguments(parser: Parser) -> None:
    """Say what may be typed behind `adopt-head`."""
    parser.add_argument("--checkpoint", type=Path)
    add_common(parser)


def run(options: Options, output: Output) -> int:
    """Write a new high-water file, if the ledger contains what somebody has of it."""
    with opened_ledger(options) as (store, ledger):
        known = None
        if options.checkpoint is not None:
            known = max(read_checkpoints(options.checkpoint, ledger.signer.recognise))
        checkpoint = adopt_head(ledger, store, known=known).checkpoint
        file = ledger.high_water.file
    output.result(
        {"size": checkpoint.size, "high_water_file": str(file)},
        f"{file} begins with {checkpoint.size} entries",
    )
    if known is None:
        output.note("whether entries were missing, only a checkpoint can tell")
    return DONE
