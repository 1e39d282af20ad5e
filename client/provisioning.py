"""What provisioners ask of the CA: canaries, which prove that hosts let people in."""

import json
from collections.abc import Mapping, Sequence

from ca.values import dataclass
from client.failure import BadAnswer
from client.messages import text


@dataclass(frozen=True, slots=True)
class Canary:
    """One certificate that logs in once and prints a nonce."""

    principal: str
    source: str
    """The address that the login comes from, as the host sees it."""


@dataclass(frozen=True, slots=True)
class CanaryRequest:
    """Certify one key for each canary; one that is refused refuses them all."""

    public_key: str
    """One line in OpenSSH's public key format."""
    canaries: Sequence[Canary]
    """At least one."""
    nonce: str
    """16 to 64 letters and digits, which each of them prints."""

    def to_json(self) -> bytes:
        """Return the body."""
        canaries = [
            {"principal": one.principal, "nonce": self.nonce, "source": one.source}
            for one in self.canaries
        ]
        document = {
            "public_key": self.public_key,
            "source": self.canaries[0].source,
            "canaries": canaries,
        }
        return json.dumps(document).encode()


def read_canaries(document: Mapping[str, object], count: int) -> tuple[str, ...]:
    """Return the lines of the certificates in an answer; raise `BadAnswer`."""
    certificates = document.get("certificates")
    if not isinstance(certificates, list) or len(certificates) != count:
        raise BadAnswer("the CA did not answer with as many canaries as were asked for")
    return tuple(text(_document(one), "certificate") for one in certificates)


def _document(value: object) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise BadAnswer("the CA answered with a canary that is none")
    return value


@dataclass(frozen=True, slots=True)
class HostRegistration:
    """A host exists, and these are its keys; the same again changes nothing."""

    id: str
    keys: tuple[str, ...]
    """`<type> <base64>` of each."""
    names: tuple[str, ...] = ()
    """Those that its certificates may have."""
    pulls: bool = True
    """Whether it fetches the trust bundle by itself, and says which it has."""

    def to_json(self) -> bytes:
        """Return the body."""
        document = {
            "id": self.id,
            "names": self.names,
            "keys": self.keys,
            "pulls": self.pulls,
        }
        return json.dumps(document).encode()


@dataclass(frozen=True, slots=True)
class HostCertificateRequest:
    """Certify a host's key for the names that people reach it by."""

    public_key: str
    """One line of its `ssh_host_*_key.pub`."""
    principals: tuple[str, ...]

    def to_json(self) -> bytes:
        """Return the body."""
        document = {"public_key": self.public_key, "principals": self.principals}
        return json.dumps(document).encode()
