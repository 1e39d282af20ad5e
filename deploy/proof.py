"""The proof that a host lets in whom it should: logins, on new connections.

For each account a canary alone is offered, a certificate of the CA that can do nothing
but print a nonce. Then the operator's own way in, the one they had before. Then one
login that must fail: with a certificate that another CA signed. One only, because sshd
shuts out addresses that fail often.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import asyncssh

from deploy.connection import Connections, Credential
from deploy.facts import Facts
from deploy.failure import HostKeyUnknown, HostUnreachable, LoginRefused, NotProved
from deploy.inventory import Endpoint

_FRESH_SECONDS = 240
"""Canaries live ten minutes at most; far from that, new ones are asked for."""

_RELOAD_SECONDS = 15


@dataclass(frozen=True, slots=True)
class Canary:
    """A certificate to ask for."""

    principals: tuple[str, ...]
    source: str
    """The operator's address, as the host sees it."""


Mint = Callable[[str, Sequence[Canary], str], Sequence[str]]
"""Asks the CA: a public key's line, what to certify it for, the nonce; gives lines."""


@dataclass(slots=True)
class Canaries:
    """The canaries of one run: one key, one nonce, one request for all of them."""

    mint: Mint
    nonce: str
    _key: asyncssh.SSHKey = field(
        default_factory=lambda: asyncssh.generate_private_key("ssh-ed25519"), repr=False
    )
    _wanted: dict[Canary, None] = field(default_factory=dict)
    _lines: Mapping[Canary, str] = field(default_factory=dict)
    _made: float = 0.0
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    def expect(
        self, plan_accounts: Mapping[str, tuple[str, ...]], facts: Facts
    ) -> None:
        """Note what a host will need, so that the one request asks for it, too."""
        for principals in plan_accounts.values():
            self._wanted[Canary(principals, facts.connection[0])] = None

    def prepare(self) -> None:
        """Ask the CA now for all that was noted, before any host is touched.

        Raises what the CA refuses with: somebody who may have none changes nothing.
        """
        if self._wanted:
            self._ask()

    async def credential(self, canary: Canary) -> Credential:
        """Return a canary; asks the CA for all of them when it has to."""
        async with self._turn:
            stale = time.monotonic() - self._made > _FRESH_SECONDS
            if stale or canary not in self._lines:
                self._wanted[canary] = None
                await asyncio.to_thread(self._ask)
        return self._pair(asyncssh.import_certificate(self._lines[canary]))

    def foreign(self, principals: tuple[str, ...]) -> Credential:
        """Return the same certificate as another CA would sign it."""
        stranger = asyncssh.generate_private_key("ssh-ed25519")
        certificate = stranger.generate_user_certificate(
            self._key,
            "daypass-stranger",
            principals=list(principals),
            valid_before="+10m",
        )
        return self._pair(certificate)

    def _ask(self) -> None:
        asked = tuple(self._wanted)
        public = self._key.export_public_key().decode().strip()
        made = self.mint(public, asked, self.nonce)
        self._lines = dict(zip(asked, made, strict=True))
        self._made = time.monotonic()

    def _pair(self, certificate: asyncssh.SSHCertificate) -> Credential:
        # asyncssh would offer the bare key after the certificate: a second failure.
        pairs = asyncssh.load_keypairs([(self._key, certificate)])
        return Credential(tuple(pairs[:1]))


@dataclass(frozen=True, slots=True)
class Way:
    """How to come to one host."""

    connections: Connections
    endpoint: Endpoint


async def prove(
    way: Way, facts: Facts, accounts: Mapping[str, tuple[str, ...]], canaries: Canaries
) -> None:
    """Raise `NotProved` unless each login does what it should."""
    await _wait_for(way)
    for account, principals in accounts.items():
        await _prove_account(way, facts, account, principals, canaries)
    await prove_own(way)
    if accounts:
        account, principals = next(iter(accounts.items()))
        await _prove_refusal(way, account, canaries.foreign(principals))


async def _wait_for(way: Way) -> None:
    """Return when sshd listens: for a moment after a reload it does not."""
    deadline = time.monotonic() + _RELOAD_SECONDS
    while True:
        try:
            connection = await way.connections.open(way.endpoint)
        except HostUnreachable:
            if time.monotonic() > deadline:
                return  # What comes next says it better.
            await asyncio.sleep(0.2)
        except LoginRefused:
            return
        else:
            connection.close()
            return


async def prove_own(way: Way) -> None:
    """Raise `NotProved` unless the operator can still come in as before."""
    try:
        connection = await way.connections.open(way.endpoint)
    except (LoginRefused, HostUnreachable) as error:
        raise NotProved(
            f"your own way in does not work any more: {error.detail}"
        ) from error
    connection.close()


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


async def _prove_account(
    way: Way,
    facts: Facts,
    account: str,
    principals: tuple[str, ...],
    canaries: Canaries,
) -> None:
    credential = await canaries.credential(Canary(principals, facts.connection[0]))
    try:
        connection = await way.connections.open(
            way.endpoint, user=account, with_=credential
        )
    except (LoginRefused, HostUnreachable) as error:
        raise NotProved(
            f"a certificate does not open {account}: {error.detail}",
            hint="the host's log of sshd says why",
        ) from error
    async with connection:
        if not _runs_commands(facts, account):
            return  # That sshd let it in is the proof: its shell would print nothing.
        try:
            said = await connection.run("true", check=False, timeout=30)
        except (asyncssh.Error, OSError, TimeoutError) as error:
            raise NotProved(f"{account} can log in and run nothing: {error}") from error
    if canaries.nonce not in str(said.stdout):
        raise NotProved(f"{account} can log in, and its shell runs no command")


def _runs_commands(facts: Facts, account: str) -> bool:
    forced = facts.value("forcecommand", account) != "none"
    known = facts.accounts.get(account)
    return not forced and (known is None or known.runs_commands)


async def _prove_refusal(way: Way, account: str, credential: Credential) -> None:
    try:
        connection = await way.connections.open(
            way.endpoint, user=account, with_=credential
        )
    except LoginRefused:
        return
    connection.close()
    raise NotProved(f"{account} also takes certificates of a CA that nobody trusts")
