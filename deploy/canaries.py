"""Certificates that prove a login, and can do nothing but print a nonce.

One key and one request a run: what every host will need is noted first, and asked for
together, before any host is touched.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import asyncssh

from deploy.credentials import Credential
from deploy.facts import Facts

_FRESH_SECONDS = 240
"""Canaries live ten minutes at most; far from that, new ones are asked for."""


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

    async def certificate(self, canary: Canary) -> str:
        """Return the line of one; asks the CA for all of them when it has to."""
        async with self._turn:
            stale = time.monotonic() - self._made > _FRESH_SECONDS
            if stale or canary not in self._lines:
                self._wanted[canary] = None
                await asyncio.to_thread(self._ask)
        return self._lines[canary]

    def credential(self, line: str) -> Credential:
        """Return what logs in with a certificate, and with nothing else."""
        return self._pair(asyncssh.import_certificate(line))

    def foreign(self, principals: tuple[str, ...]) -> Credential:
        """Return the same as another CA would certify it."""
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
