"""`ca-admin`: find the command, run it, say what went wrong."""

import os
import sys
import traceback
from collections.abc import Mapping

from ca.admin import (
    backup,
    block,
    certificates,
    check,
    database,
    hosts,
    init,
    keys,
    ledger,
    policy,
    restore,
    revoke,
)
from ca.admin.command import (
    DENIED,
    DONE,
    DRIFT,
    FAILED,
    INTERRUPTED,
    MISUSE,
    UNREACHABLE,
    Command,
    Drift,
    HelpAsked,
    Misuse,
    Options,
    Output,
    Parser,
    Unreachable,
)
from ca.errors import CAError, Denied

HELP = """\
usage: ca-admin COMMAND

Look after a certificate authority, on the signer's own machine.

  init DIR        make a new CA: configuration, policy, keys, roots, database
  check-config    read configuration and policy, and print what is in force
  db upgrade      bring the database to the schema of this program
  keys            new | list | draft-roots | sign-roots: CA keys, and what is trusted
  policy          check | test | explain: who gets what, why, and is it meant so
  ledger          verify | show | export | monitor | reconcile | erase-record |
                  recover | adopt-head
  certificates    list | show: who got what
  revoke          end access now: of a person, a key, a certificate, a CA key
  block           add | list | lift: who gets nothing, whatever policy says
  hosts           list | show | forget | join-token: who has applied what
  backup DIR      copy the database while signers use it
  restore DIR     let it be such a copy again, and stop all signers until a recovery

examples:
  ca-admin init /etc/daypass --origin https://ca.example.com \\
      --issuer https://login.example.com --client-id daypass \\
      --email-domain example.com
  ca-admin check-config --config /etc/daypass/daypass.toml
  ca-admin policy explain --email ada@example.com --principal root
  ca-admin ledger verify
  ca-admin certificates list --live --principal root
  ca-admin revoke --person ada@example.com --reason 'laptop stolen' --wait

All but init read the configuration named by --config or $DAYPASS_CONFIG. Results go to
standard output, with --json as JSON; ca-admin COMMAND --help says more of each.

exit codes: 0 done, 1 failed, 2 misuse, 5 denied by policy, 7 a server unreachable,
9 what was checked does not hold, 130 interrupted
"""

COMMANDS: Mapping[str, Command] = {
    "init": init,
    "check-config": check,
    "db": database,
    "keys": keys,
    "policy": policy,
    "certificates": certificates,
    "revoke": revoke,
    "block": block,
    "hosts": hosts,
    "ledger": ledger,
    "backup": backup,
    "restore": restore,
}


_EXIT_CODES: Mapping[type[CAError], int] = {
    Misuse: MISUSE,
    Denied: DENIED,
    Unreachable: UNREACHABLE,
    Drift: DRIFT,
}


def main(argv: list[str] | None = None) -> int:
    """Run the command; return its exit code."""
    arguments = sys.argv[1:] if argv is None else argv
    if not arguments:
        sys.stdout.write(HELP)
        return MISUSE
    # Before parsing, so that a complaint about the rest is in JSON as well.
    output = Output(as_json="--json" in arguments)
    try:
        return _run(arguments, output)
    except CAError as error:
        return output.fail(error, _exit_code(error))
    except KeyboardInterrupt:
        output.note("ca-admin: interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has had enough of it: end in silence.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except Exception as error:  # noqa: BLE001 nobody at a prompt can use a traceback
        return output.fail(_fault(error), FAILED)


def _run(arguments: list[str], output: Output) -> int:
    try:
        options = parse(arguments)
        status = COMMANDS[options.command].run(options, output)
        # Here, and not when Python ends: a reader that has left is noticed in time.
        sys.stdout.flush()
    except HelpAsked as asked:
        sys.stdout.write(str(asked))
        return DONE
    return status


def parse(arguments: list[str]) -> Options:
    """Understand a command line; raise `Misuse`, or `HelpAsked`."""
    options, rest = _parser().parse_known_args(arguments)
    if rest:
        raise Misuse(
            f"unknown arguments: {' '.join(rest)}",
            hint=f"ca-admin {options.command} --help",
        )
    return options


def _parser() -> Parser:
    parser = Parser(prog="ca-admin", allow_abbrev=False)
    parser.help_text = HELP
    commands = parser.add_subparsers(dest="command", required=True)
    for name, command in COMMANDS.items():
        below = commands.add_parser(name, allow_abbrev=False)
        below.help_text = command.HELP
        command.add_arguments(below)
    return parser


def _exit_code(error: CAError) -> int:
    return next(
        (status for kind, status in _EXIT_CODES.items() if isinstance(error, kind)),
        FAILED,
    )


def _fault(error: Exception) -> CAError:
    """Describe a fault of ours by its type and place; its words may hold a secret."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return CAError(
        f"a fault in ca-admin itself: {type(error).__name__} in {last.name}",
        hint=f"report it, with this place: line {last.lineno} of {last.filename}",
    )


if __name__ == "__main__":
    sys.exit(main())
