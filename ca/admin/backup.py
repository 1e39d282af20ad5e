"""`ca-admin backup`: a copy of the database, made while signers use it."""

import shutil
import tempfile
from pathlib import Path

from ca.admin.command import DONE, Options, Output, Parser, add_common, config_file
from ca.config import load_config
from ca.errors import Misconfigured
from ca.store import copies

HELP = """\
usage: ca-admin backup DIR [--config FILE] [--json]

Copy the database, whole and while signers use it, into DIR, which must not exist or be
empty; beside it configuration, policy and roots as they are. No keys are copied, and
not the high-water file: by that a restored database is known.

Holds personal data: who got which certificate. For a database on a server use what
comes with it, such as pg_dump.

examples:
  ca-admin backup /var/backups/daypass-2026-11-22

exit codes: 0 done, 1 failed and nothing copied, 2 misuse
"""

DATABASE = "daypass.db"
"""The database's name in a backup."""


def add_arguments(parser: Parser) -> None:
    """Say what may be typed behind `backup`."""
    parser.add_argument("folder", metavar="DIR", type=Path)
    add_common(parser)


def run(options: Options, output: Output) -> int:
    """Make the copy aside, then let DIR be it."""
    config = load_config(config_file(options))
    database = copies.file_of(config.database_url)
    folder: Path = options.folder
    try:
        if folder.exists() and any(folder.iterdir()):
            raise Misconfigured(
                f"{folder} is not empty, and a backup is never written over",
                hint="name a folder that does not exist",
            )
        folder.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
        try:
            copies.copy_out(database, draft / DATABASE)
            for file in (config.file, config.policy_file, config.roots_file):
                shutil.copy2(file, draft / file.name)
            draft.rename(folder)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    except OSError as error:
        raise Misconfigured(f"cannot make {folder}: {error.strerror}") from error
    output.result({"folder": str(folder)}, f"copied into {folder}")
    return DONE
