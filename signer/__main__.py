"""`ca-signer`: serve the CA over HTTP."""

import argparse
import os
import sys
from pathlib import Path

from ca.authority import open_authority
from ca.config import load_config
from ca.errors import CAError, Misconfigured
from signer.memory import keep_memory
from signer.request_log import log_as_json

HELP = """\
usage: ca-signer serve [--config FILE]

Serve the certificate authority that FILE (or $DAYPASS_CONFIG) configures.

examples:
  ca-signer serve --config /etc/daypass/daypass.toml
  kill -HUP PID     take the policy file as it is now

exit codes: 0 done, 1 failed, 2 misuse
"""


def main(argv: list[str] | None = None) -> int:
    """Run the command; return its exit code."""
    arguments = sys.argv[1:] if argv is None else argv
    if arguments in (["--help"], ["-h"], []):
        sys.stdout.write(HELP)
        return 0 if arguments else 2
    options = _parser().parse_args(arguments)
    try:
        config_file = _config_file(options.config)
        keep_memory()
        serve(config_file)
    except CAError as error:
        sys.stderr.write(f"ca-signer: error: {error.detail}\n")
        if error.hint:
            sys.stderr.write(f"ca-signer: hint: {error.hint}\n")
        return 1
    return 0


def serve(config_file: Path) -> None:
    """Check that everything opens, then serve until told to stop."""
    # Imported here: it takes longer than all the rest, and --help needs none of it.
    from signer.serve import Server  # noqa: PLC0415

    config = load_config(config_file)
    # Once in the parent, so that a mistake is said once, in words, before any worker.
    authority = open_authority(config)
    authority.store.close()
    log_as_json()
    Server(authority).run()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="ca-signer", add_help=False)
    parser.add_argument("command", choices=["serve"])
    parser.add_argument("--config")
    return parser


def _config_file(option: str | None) -> Path:
    name = option or os.environ.get("DAYPASS_CONFIG")
    if not name:
        raise Misconfigured(
            "no configuration is named", hint="ca-signer serve --config FILE"
        )
    return Path(name)


if __name__ == "__main__":
    sys.exit(main())
