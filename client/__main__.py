"""`ca-login`: find the command, run it, and end with its exit code.

Starts fast: only `sys` is imported here, and then only what the command needs.
"""

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ca.errors import CAError
    from client.terminal import Terminal

    Command = Callable[[list[str], Terminal], int]


def main(argv: list[str] | None = None) -> int:
    """Run `ca-login` with these arguments; return the exit code."""
    arguments = sys.argv[1:] if argv is None else argv
    # First stage: a command that ssh runs at every connection branches off here,
    # before anything is imported.
    if arguments and arguments[0] in {"check", "ensure"}:
        from client import usable  # noqa: PLC0415 see above

        answer = usable.answer(arguments[0], arguments[1:])
        if answer is not None:
            return _end(answer) if argv is None else answer
    if argv is not None:
        return _run(arguments)
    import gc  # noqa: PLC0415 see above

    # A tenth of a sign-in would go into looking for garbage that it does not make.
    gc.disable()
    return _end(_run(arguments))


def _end(status: int) -> int:
    """End at once: what was said is flushed, and taking Python down takes time."""
    import os  # noqa: PLC0415 loaded long since

    os._exit(status)


def _run(arguments: list[str]) -> int:
    """Run a command, and turn whatever leaves it into words and an exit code."""
    from ca.errors import CAError  # noqa: PLC0415 see above
    from client.failure import FAILED, INTERRUPTED  # noqa: PLC0415
    from client.terminal import Terminal  # noqa: PLC0415

    terminal = Terminal()
    try:
        return _dispatch(arguments, terminal)
    except CAError as error:
        return terminal.fail(error)
    except KeyboardInterrupt:
        terminal.say("interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        _drop_output()
        return FAILED
    except Exception as error:  # noqa: BLE001 nobody at a prompt can use a traceback
        return terminal.fail(_fault(error, terminal))


def _dispatch(arguments: list[str], terminal: "Terminal") -> int:
    from client.arguments import HelpAsked  # noqa: PLC0415

    named = bool(arguments) and not arguments[0].startswith("-")
    command = _find(arguments[0] if named else "", terminal)
    try:
        return command(arguments[1:] if named else arguments, terminal)
    except HelpAsked as asked:
        terminal.help(str(asked))
        return 0


_MODULES = {
    "": "login",
    "setup": "setup",
    "check": "check",
    "ensure": "ensure",
    "ssh-config": "ssh_config",
    "ssh": "connect",
    "sftp": "connect",
    "scp": "connect",
    "exec": "connect",
    "doctor": "doctor",
    "why": "why",
    "export": "export",
    "status": "status",
    "logout": "logout",
}
"""Each command, and the module that is it."""


def _find(name: str, terminal: "Terminal") -> "Command":
    """Second stage: import the one module whose command it is."""
    if name not in _MODULES:
        from client.failure import Misuse  # noqa: PLC0415

        terminal.step(f"find the command {name!r}")
        raise Misuse("there is no such command", hint="ca-login --help")
    # importlib takes longer than this.
    module = __import__(f"client.{_MODULES[name]}", fromlist=["run"])
    found: Command = getattr(module, "COMMANDS", {}).get(name) or module.run
    return found


def _drop_output() -> None:
    """Let Python end in silence when whoever read our output has had enough of it."""
    import os  # noqa: PLC0415 only ever here

    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _fault(error: Exception, terminal: "Terminal") -> "CAError":
    """Describe a fault of ours by its type and place; its words may hold a secret."""
    import traceback  # noqa: PLC0415 only ever here

    from ca.errors import CAError  # noqa: PLC0415

    frames = traceback.extract_tb(error.__traceback__)
    for frame in frames:
        terminal.detail(f"{frame.filename}:{frame.lineno} in {frame.name}")
    return CAError(
        f"a fault in ca-login itself: {type(error).__name__} in {frames[-1].name}",
        hint="report it, with what the same command says with -v",
    )


if __name__ == "__main__":
    sys.exit(main())
