"""The proof that a host lets in whom it should: logins, on new connections.

First the operator's own way in, the one they had before. Then to each account a canary
alone is offered, a certificate of the CA that can do nothing but print a nonce. Then
one login that must fail: with a certificate that another CA signed. One only, because
sshd shuts out addresses that fail often.
"""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib import resources

import asyncssh

from ca.certificate import parse_certificate, parse_line
from deploy.canaries import Canaries, Canary
from deploy.connection import Connections
from deploy.credentials import Credential
from deploy.facts import Facts
from deploy.failure import HostKeyUnknown, HostUnreachable, LoginRefused, NotProved
from deploy.inventory import Endpoint
from deploy.root import Root

_RELOAD_SECONDS = 15
_COMMAND_SECONDS = 30
SEEN = (resources.files("deploy") / "host" / "seen.sh").read_text()
"""What prints whether sshd has logged a login; its arguments are account and serial."""


@dataclass(frozen=True, slots=True)
class Way:
    """How to come to one host."""

    connections: Connections
    endpoint: Endpoint


async def prove(
    way: Way,
    root: Root,
    facts: Facts,
    accounts: Mapping[str, tuple[str, ...]],
    canaries: Canaries,
) -> None:
    """Raise `NotProved` unless each login does what it should."""
    await prove_own(way)
    for account, principals in accounts.items():
        line = await canaries.certificate(Canary(principals, facts.connection[0]))
        await _prove_account(_Login(way, root, facts, account), line, canaries)
    if accounts:
        account, principals = next(iter(accounts.items()))
        await _prove_refusal(way, account, canaries.foreign(principals))


async def prove_own(way: Way) -> None:
    """Raise `NotProved` unless the operator can still come in as before.

    For a moment after a reload nobody listens; that is waited for.
    """
    deadline = time.monotonic() + _RELOAD_SECONDS
    while True:
        try:
            connection = await way.connections.open(way.endpoint)
        except (LoginRefused, HostUnreachable) as error:
            if isinstance(error, HostUnreachable) and time.monotonic() < deadline:
                await asyncio.sleep(0.2)
                continue
            raise NotProved(
                f"your own way in does not work any more: {error.detail}"
            ) from error
        connection.close()
        return


async def prove_host(
    way: Way, names: tuple[str, ...], host_ca_keys: tuple[str, ...]
) -> None:
    """Raise `NotProved` unless a client that knows the host CA alone knows the host."""
    for name in names:
        lines = "".join(f"@cert-authority {name} {key}\n" for key in host_ca_keys)
        endpoint = replace(way.endpoint, alias=name)
        try:
            connection = await way.connections.open(
                endpoint, known=asyncssh.import_known_hosts(lines)
            )
        except (HostKeyUnknown, HostUnreachable) as error:
            raise NotProved(
                f"a client that knows the host CA does not know {name}: {error.detail}"
            ) from error
        connection.close()


@dataclass(frozen=True, slots=True)
class _Login:
    """A login to one account of a host."""

    way: Way
    root: Root
    facts: Facts
    account: str

    @property
    def runs_commands(self) -> bool:
        """Whether it should run what a certificate says, as far as can be known."""
        forced = self.facts.value("forcecommand", self.account) != "none"
        known = self.facts.accounts.get(self.account)
        return not forced and (known is None or known.runs_commands)

    async def is_logged(self, serial: int) -> bool | None:
        """Say whether sshd has logged it; None where it logs nowhere."""
        said = await self.root.run(SEEN, (self.account, str(serial)))
        return {b"seen": True, b"unseen": False}.get(said.strip())


async def _prove_account(login: _Login, line: str, canaries: Canaries) -> None:
    account = login.account
    try:
        connection = await login.way.connections.open(
            login.way.endpoint, user=account, with_=canaries.credential(line)
        )
    except (LoginRefused, HostUnreachable) as error:
        raise NotProved(
            f"a certificate does not open {account}: {error.detail}",
            hint="the host's log of sshd says why",
        ) from error
    async with connection:
        if login.runs_commands and canaries.nonce in await _run(connection, account):
            return
    # Some shells run nothing. Then sshd's own log line is the proof; and where there is
    # no log, that it took this certificate and nothing else, as it must have.
    certificate, _ = parse_certificate(parse_line(line))
    logged = await login.is_logged(certificate.serial)
    if logged is False:
        raise NotProved(f"{account} let a certificate in, and sshd's log has another")
    if logged is None and login.runs_commands:
        raise NotProved(f"{account} can log in, and its shell runs no command")


async def _run(connection: asyncssh.SSHClientConnection, account: str) -> str:
    try:
        said = await connection.run("true", check=False, timeout=_COMMAND_SECONDS)
    except (asyncssh.Error, OSError, TimeoutError) as error:
        raise NotProved(f"{account} can log in and run nothing: {error}") from error
    return str(said.stdout)


async def _prove_refusal(way: Way, account: str, credential: Credential) -> None:
    try:
        connection = await way.connections.open(
            way.endpoint, user=account, with_=credential
        )
    except LoginRefused:
        return
    connection.close()
    raise NotProved(f"{account} also takes certificates of a CA that nobody trusts")
