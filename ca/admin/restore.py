"""`ca-admin restore`: let the database be an older one again, and stop all signers."""

from pathlib import Path

from ca.admin.backup import DATABASE
from ca.admin.command import DONE, Options, Output, Parser, add_common, config_file
from ca.config import load_config
from ca.store import copies

HELP = """\
usage: ca-admin restore DIR | --stop [--config FILE] [--json]

Let the database be what ca-admin backup put into DIR, and stop all signers: it lacks
what was signed since. Configuration, policy and roots stay as they are; keys were never
copied. Nothing is issued until ca-admin ledger recover.

  --stop        only stop all signers: for a database on a server, which was restored
                with pg_restore or the like, before any signer is started again

examples:
  ca-admin restore /var/backups/daypass-2026-11-22
  ca-admin restore --stop

exit codes: 0 done, 1 failed and nothing changed, 2 misuse
"""


def add_arguments(parser: Parser) -> None:
    """Say what may be typed behind `restore`."""
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("folder", metavar="DIR", nargs="?", type=Path)
    what.add_argument("--stop", action="store_true")
    add_common(parser)


def run(options: Options, output: Output) -> int:
    """Put the copy back, stopped."""
    config = load_config(config_file(options))
    if options.stop:
        copies.stop(config.database_url, password_file=config.database_password_file)
    else:
        database = copies.file_of(config.database_url)
        copies.put_back(options.folder / DATABASE, database)
    output.result(
        {"restored": not options.stop, "stopped": True},
        "the ledger is stopped"
        if options.stop
        else f"restored from {options.folder}, and the ledger is stopped",
    )
    output.note("next: ca-admin ledger recover, with a newer copy of the ledger in DIR")
    return DONE
