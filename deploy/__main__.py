"""`ca-deploy`: what a host needs in order to trust the CA."""

import argparse
import sys

from ca.errors import CAError
from client.api import CA, exit_code, parse_pin

HELP = """\
usage: ca-deploy render URL --pin SHA256:…

Print the lines of a host's TrustedUserCAKeys file: the user CA keys in the trust
bundle of the CA at URL, once the root key with that fingerprint has vouched for them.
Nothing is printed unless all of them are proved.

examples:
  ca-deploy render https://ca.example.com --pin SHA256:… > trusted_user_ca_keys

exit codes: 0 done, 1 failed, 2 misuse, 7 CA unreachable
"""


def main(argv: list[str] | None = None) -> int:
    """Run the command; return its exit code."""
    arguments = sys.argv[1:] if argv is None else argv
    if arguments in (["--help"], ["-h"], []):
        sys.stdout.write(HELP)
        return 0 if arguments else 2
    options = _parser().parse_args(arguments)
    try:
        sys.stdout.write(render(options.url, pin=options.pin))
    except CAError as error:
        sys.stderr.write(f"ca-deploy: error: {error.detail}\n")
        if error.hint:
            sys.stderr.write(f"ca-deploy: hint: {error.hint}\n")
        return exit_code(error)
    return 0


def render(url: str, *, pin: str) -> str:
    """Return the lines of a `TrustedUserCAKeys` file, each with its newline."""
    with CA(url) as authority:
        bundle = authority.bundle(parse_pin(pin))
    return "".join(f"{key}\n" for key in bundle.roots.user_ca_keys())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="ca-deploy")
    commands = parser.add_subparsers(dest="command", required=True)
    rendered = commands.add_parser("render")
    rendered.add_argument("url", metavar="URL")
    rendered.add_argument("--pin", required=True, metavar="SHA256:…")
    return parser


if __name__ == "__main__":
    sys.exit(main())
