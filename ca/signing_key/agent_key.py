"""A private key that an ssh-agent holds, and with it whatever hardware is behind one.

The key never comes here: it can be used for as long as the agent lets us, but not
copied. What comes back is a stranger's word, so every signature is verified before it
is released (design invariant 8).
"""

from pathlib import Path
from typing import Self

from ca import ssh_signature, wire
from ca.errors import CAError, KeyUnavailable
from ca.signing_key.agent import RSA_SHA2_512, Agent
from ca.signing_key.key import SIGNATURE_ALGORITHMS, SigningKey, parse_own_public_key


class AgentKey(SigningKey):
    """A key whose private part is in an ssh-agent. It may be locked, gone or back."""

    def __init__(self, agent: Agent, blob: bytes) -> None:
        self.blob = blob
        self._agent = agent

    @classmethod
    def open(cls, socket: Path, public_key: Path) -> Self:
        """Find the key in the agent; raise `KeyUnavailable` unless it is there."""
        try:
            line = public_key.read_text(encoding="ascii")
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "not ASCII"
            raise KeyUnavailable(f"cannot read {public_key}: {why}") from error
        key = cls(Agent(socket), parse_own_public_key(line, source=public_key))
        key._refuse_absence()
        return key

    def sign(self, data: bytes) -> bytes:
        """Have `data` signed; return the SSH signature blob once it is verified."""
        flags = RSA_SHA2_512 if self.type in SIGNATURE_ALGORITHMS else 0
        signature = self._agent.sign(self.blob, data, flags=flags)
        if signature is None:
            self._refuse_absence()
            raise KeyUnavailable(
                f"{self._agent} holds the key {self.fingerprint} but refuses to sign",
                hint="was it added with ssh-add -c, or taken from its hardware?",
            )
        self._refuse_bad(signature, data)
        return signature

    def _refuse_absence(self) -> None:
        if self.blob not in self._agent.identities():
            raise KeyUnavailable(
                f"{self._agent} does not hold the key {self.fingerprint}, or is locked",
                hint="ssh-add adds it, ssh-add -X unlocks the agent",
            )

    def _refuse_bad(self, signature: bytes, data: bytes) -> None:
        wanted = SIGNATURE_ALGORITHMS.get(self.type, self.type)
        try:
            ssh_signature.verify(self.blob, signature, data)
            algorithm = wire.Reader(signature).text()
        except CAError as error:
            raise KeyUnavailable(
                f"{self._agent} gave a wrong signature: {error.detail}"
            ) from error
        if algorithm != wanted:
            raise KeyUnavailable(f"{self._agent} signed with {algorithm}, not {wanted}")
