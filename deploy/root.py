"""Root on a host: scripts, by way of sudo or doas where the login is not root's.

Scripts go to `/bin/sh` on its standard input, because the account's own shell may be
any: of the command line it has to understand words and `"$SSH_CONNECTION"`, no more.
"""

import asyncio
import secrets
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import asyncssh

from deploy.connection import reason
from deploy.failure import HostUnreachable, NotRoot, PasswordNeeded, StepFailed

_LONGEST_OUTPUT = 16 << 20
_RUN_SECONDS = 120.0
"""For one script."""

_SH = "/bin/sh -s"


@dataclass(slots=True)
class Password:
    """The operator's password for sudo, once it is known. Never asked for in here.

    Whoever asks does so between two looks at the hosts: a question must not keep the
    connections waiting that are open, nor stand in the middle of a table.
    """

    text: str | None = field(default=None, repr=False)
    refused_by: str | None = None
    """A host that did not take it. No other is tried then: accounts lock."""


class Root:
    """Root on a host, over one connection that stays open."""

    def __init__(
        self,
        connection: asyncssh.SSHClientConnection,
        name: str,
        become: str,
        password: Password,
        *,
        limit_seconds: float = _RUN_SECONDS,
    ) -> None:
        self.connection = connection
        self._name = name
        self._become = become
        self._password = password
        self._limit = limit_seconds
        self._asks = False
        """Whether sudo has been seen to want a password here."""

    async def run(self, script: str, arguments: Sequence[str] = ()) -> bytes:
        """Run a script as root; return what it printed. Raises `StepFailed`.

        `arguments` are words of letters, digits, and what no shell minds.
        """
        said = await self._in_time(script, arguments)
        if said.status != 0:
            complaint = said.err.decode(errors="replace").strip().splitlines()
            raise StepFailed(
                f"{self._name}: "
                + (complaint[-1] if complaint else f"exit {said.status}")
            )
        return said.out

    async def _in_time(self, script: str, arguments: Sequence[str]) -> "_Said":
        """Run a script; end the connection when it takes too long.

        A disk or a name server that hangs must not hold up the fleet; and what still
        runs there may never answer to anything more polite.
        """
        loop = asyncio.get_running_loop()
        began = loop.time()
        timer = loop.call_later(self._limit, self.connection.abort)
        try:
            return await self._run(script, arguments)
        except HostUnreachable as error:
            if loop.time() - began < self._limit:
                raise
            raise HostUnreachable(
                f"{self._name} has not answered for {self._limit:.0f} s"
            ) from error
        finally:
            timer.cancel()

    async def _run(self, script: str, arguments: Sequence[str]) -> "_Said":
        words = " ".join(["--", '"$SSH_CONNECTION"', *arguments])
        match self._become:
            case "root":
                return await self._shell(f"{_SH} {words}", script)
            case "doas":
                said = await self._shell(f"doas -n {_SH} {words}", script)
            case _ if self._asks:
                said = await self._with_password(words, script)
            case _:
                said = await self._shell(f"sudo -n {_SH} {words}", script)
                if _wants_password(said.err):
                    self._asks = True
                    said = await self._with_password(words, script)
        if said.status and not said.out and _is_refusal(said.err):
            raise NotRoot(
                f"{self._name}: {said.err.decode(errors='replace').strip()}",
                hint="the account must be root, or become root by sudo or doas",
            )
        return said

    async def _with_password(self, words: str, script: str) -> "_Said":
        """Answer sudo's question once; `-k`, so that it asks and nothing is cached.

        The prompt is random, so that the password goes to sudo and to nothing else:
        were it not asked for, the shell would take it for a command. And the script
        waits until the shell is there: were the password wrong, sudo would try its
        lines.
        """
        if self._password.text is None:
            raise PasswordNeeded(f"{self._name}: sudo asks for a password")
        if self._password.refused_by is not None:
            raise NotRoot(
                f"{self._name}: not tried, since {self._password.refused_by} did not "
                "take the password"
            )
        mark = f"daypass-{secrets.token_hex(8)}"
        shell = f"/bin/sh -c 'echo {mark}; exec /bin/sh -s \"$@\"' sh {words}"
        command = f"sudo -k -S -p {mark}: {shell}"
        return await self._shell(command, script, mark=mark.encode())

    async def _shell(
        self, command: str, script: str, *, mark: bytes | None = None
    ) -> "_Said":
        try:
            async with self.connection.create_process(
                command, encoding=None
            ) as process:
                if mark is not None:
                    complaint = await self._answer(process, mark)
                    if complaint is not None:
                        return _Said(1, b"", complaint)
                # Who has refused by now reads no more, and says why.
                with suppress(BrokenPipeError):
                    process.stdin.write(script.encode("utf-8", "surrogateescape"))
                process.stdin.write_eof()
                out, err = await asyncio.gather(
                    _read_all(process.stdout), _read_all(process.stderr)
                )
                await process.wait_closed()
                status = process.exit_status
        except (asyncssh.Error, OSError) as error:
            raise HostUnreachable(
                f"the connection to {self._name} broke: {reason(error)}"
            ) from error
        if status is None:
            raise HostUnreachable(f"the connection to {self._name} broke")
        return _Said(status, out, err)

    async def _answer(
        self, process: "asyncssh.SSHClientProcess[bytes]", mark: bytes
    ) -> bytes | None:
        """Give sudo the password when it asks; return its complaint if it has one."""
        text = self._password.text or ""
        asked = await _read_until(process.stderr, mark + b":")
        if not asked.endswith(mark + b":"):
            return asked
        process.stdin.write(text.encode() + b"\n")
        ready = asyncio.create_task(_read_until(process.stdout, mark + b"\n"))
        again = asyncio.create_task(_read_until(process.stderr, mark + b":"))
        await asyncio.wait({ready, again}, return_when=asyncio.FIRST_COMPLETED)
        if ready.done() and ready.result().endswith(mark + b"\n"):
            again.cancel()
            return None
        process.stdin.write_eof()
        ready.cancel()
        self._password.refused_by = self._name
        said = (await again).replace(mark + b":", b"").strip()
        return b"sudo: " + (said.splitlines() or [b"the password was not taken"])[-1]


@dataclass(frozen=True, slots=True)
class _Said:
    status: int
    out: bytes
    err: bytes


async def _read_all(reader: "asyncssh.SSHReader[bytes]") -> bytes:
    said = b""
    while more := await reader.read(1 << 16):
        said += more
        if len(said) > _LONGEST_OUTPUT:
            raise HostUnreachable("a host says more than anybody can read")
    return said


async def _read_until(reader: "asyncssh.SSHReader[bytes]", mark: bytes) -> bytes:
    """Return what came up to the mark, or all of it when there is none."""
    try:
        return await reader.readuntil(mark)
    except asyncio.IncompleteReadError as error:
        return error.partial


def _wants_password(err: bytes) -> bool:
    return b"password is required" in err or b"terminal is required" in err


def _is_refusal(err: bytes) -> bool:
    words = (b"sudo", b"doas", b"not allowed", b"not found", b"Sorry", b"denied")
    return any(word in err for word in words)


def become_of(user: str, chosen: str | None) -> str:
    """Return how to be root: as root already, by `sudo`, or by `doas`."""
    return chosen or ("root" if user == "root" else "sudo")
