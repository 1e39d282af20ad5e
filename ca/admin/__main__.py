"""`ca-admin`: find the command, run it, say what went wrong."""

import argparse
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from ca.admin import check, database, init
from ca.errors import CAError, Misconfigured

HELP = """\
usage: ca-admin COMMAND

Look after a certificate authority, on the signer's own machine.

  init DIR        make a new CA: configuration, policy, keys, roots, database
  check-config    read configuration and policy, and print what is in force
  db upgrade      bring the database to the schema of this program

examples:
  ca-admin init /etc/daypass --origin https://ca.example.com \\
      --issuer https://login.example.com --client-id daypass \\
      --email-domain example.com
  ca-admin check-config --config /etc/daypass/daypass.toml

All but init read the configuration named by --config or $DAYPASS_CONFIG.
Exit codes: 0 done, 1 failed, 2 misuse.
"""


def main(argv: list[str] | None = None) -> int:
    """Run the command; return its exit code."""
    arguments = sys.argv[1:] if argv is None else argv
    if arguments in (["--help"], ["-h"], []):
        sys.stdout.write(HELP)
        return 0 if arguments else 2
    options = _parser().parse_args(arguments)
    try:
        _COMMANDS[options.command](options)
    except CAError as error:
        sys.stderr.write(f"ca-admin: error: {error.detail}\n")
        if error.hint:
            sys.stderr.write(f"ca-admin: hint: {error.hint}\n")
        return 1
    return 0


def _init(options: argparse.Namespace) -> None:
    made = init.make(
        Path(options.folder),
        init.Answers(
            origin=options.origin,
            issuer_url=options.issuer,
            client_id=options.client_id,
            email_domain=options.email_domain,
        ),
    )
    sys.stdout.write(f"root key {made.root_fingerprint}\n")
    sys.stderr.write(made.next_steps)


def _check(options: argparse.Namespace) -> None:
    sys.stdout.write(check.describe(_config_file(options)))


def _upgrade(options: argparse.Namespace) -> None:
    before, after = database.upgrade(_config_file(options))
    sys.stdout.write(f"database schema {before} -> {after}\n")


_COMMANDS: Mapping[str, Callable[[argparse.Namespace], None]] = {
    "init": _init,
    "check-config": _check,
    "db": _upgrade,
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="ca-admin")
    commands = parser.add_subparsers(dest="command", required=True)
    new = commands.add_parser("init")
    new.add_argument("folder", metavar="DIR")
    new.add_argument("--origin", default="http://127.0.0.1:8440")
    new.add_argument("--issuer", default="https://login.example.com")
    new.add_argument("--client-id", default="daypass")
    new.add_argument("--email-domain", default="example.com")
    commands.add_parser("check-config").add_argument("--config")
    db = commands.add_parser("db")
    db.add_argument("action", choices=["upgrade"])
    db.add_argument("--config")
    return parser


def _config_file(options: argparse.Namespace) -> Path:
    name = options.config or os.environ.get("DAYPASS_CONFIG")
    if not name:
        raise Misconfigured(
            "no configuration is named",
            hint=f"ca-admin {options.command} --config FILE",
        )
    return Path(name)


if __name__ == "__main__":
    sys.exit(main())
