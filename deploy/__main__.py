"""`ca-deploy`: find the command, run it, say what went wrong."""

import gzip
import os
import sys
import traceback
from types import ModuleType
from typing import TYPE_CHECKING

from ca.errors import CAError
from client.api import exit_code
from deploy import options as typed
from deploy import texts
from deploy.failure import Drift
from deploy.options import HelpAsked, Options
from deploy.output import Output
from deploy.render import render

if TYPE_CHECKING:
    from collections.abc import Callable

HELP = texts.MAIN

_DONE = 0
_FAILED = 1
_DRIFT = 9
_INTERRUPTED = 130

_USER_DATA_BYTES = 16384
"""What EC2 takes at most as user data."""


def main(argv: list[str] | None = None) -> int:
    """Run the command; return its exit code."""
    arguments = sys.argv[1:] if argv is None else argv
    # Before parsing, so that a complaint about the rest is in JSON as well.
    output = Output(as_json="--json" in arguments)
    try:
        return _run(typed.parse(arguments), output)
    except HelpAsked as asked:
        sys.stdout.write(str(asked))
        return _DONE
    except CAError as error:
        return output.fail(
            error, _DRIFT if isinstance(error, Drift) else exit_code(error)
        )
    except KeyboardInterrupt:
        output.note(
            "interrupted; a host that was being changed takes it back by itself"
        )
        return _INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has had enough of it: end in silence.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _FAILED
    except Exception as error:  # noqa: BLE001 nobody at a prompt can use a traceback
        return output.fail(_fault(error), _FAILED)


def _run(options: Options, output: Output) -> int:
    if options.command == "render":
        return _render(options, output)
    commands = _commands()

    command: Callable[[Options, Output], int] = {
        "plan": commands.plan,
        "apply": commands.apply,
        "verify": commands.verify,
        "rollback": commands.rollback,
        "status": commands.status,
        "authorized-keys": commands.authorized_keys,
    }[options.command]
    return command(options, output)


def _render(options: Options, output: Output) -> int:
    try:
        text = render(options)
    except ModuleNotFoundError as error:
        raise _not_installed(error) from error
    if options.format in {None, "ca-keys"}:
        output.result({"ca_keys": text.splitlines()}, text)
        return _DONE
    output.result({options.format: text}, text)
    plain, packed = len(text.encode()), len(gzip.compress(text.encode()))
    if options.format == "cloud-init" and plain > _USER_DATA_BYTES:
        output.note(
            f"{plain} bytes, {packed} by gzip: EC2 takes {_USER_DATA_BYTES} of user "
            "data, others more"
        )
    return _DONE


def _commands() -> ModuleType:
    """Import what needs packages that not everybody has who renders a file."""
    try:
        from deploy import commands  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise _not_installed(error) from error
    return commands


def _not_installed(error: ModuleNotFoundError) -> CAError:
    return CAError(
        f"{error.name} is not installed", hint="from a clone: pip install '.[deploy]'"
    )


def _fault(error: Exception) -> CAError:
    """Describe a fault of ours by its type and place; its words may hold a secret."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return CAError(
        f"a fault in ca-deploy itself: {type(error).__name__} in {last.name}",
        hint=f"report it, with this place: line {last.lineno} of {last.filename}",
    )


if __name__ == "__main__":
    sys.exit(main())
