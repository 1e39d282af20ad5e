"""A ledger as a monitor finds it: where its files are, and whose signature counts."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from ca import bundle, ssh_signature, sshsig, wire
from ca.admin.command import Misuse, Unreachable
from ca.admin.ledger.keys import keys_of, parse_keys
from ca.admin.ledger.web import Web
from ca.bundle import Current, KeyState, Roots, TrustedKey
from ca.certificate import parse_line
from ca.checkpoint import NoteKey
from ca.errors import Malformed, SignatureInvalid

PREFIX = "v1/log/"
"""Where a CA has its ledger."""


@dataclass(frozen=True, slots=True)
class Trusted:
    """Whose signature counts at the moment."""

    keys: tuple[NoteKey, ...]
    roots: Roots | None
    """Where the keys come from, if from roots."""
    document: bytes = b""
    """The roots, signed."""
    expires: int | None = None
    """Until when what the CA published is news, in Unix seconds."""


class Source:
    """A ledger elsewhere, watched by `pin`, or by `keys` of its own."""

    def __init__(self, url: str, *, pin: str | None, keys: Sequence[str]) -> None:
        if (pin is None) == (not keys):
            raise Misuse(
                "say by --pin or by --key whose signature counts",
                hint="ca-admin ledger --help",
            )
        self._web = Web(url)
        self._pin = pin
        self._keys = parse_keys(keys)

    def fetch(self, path: str) -> bytes | None:
        """Return a file of the log; `ca.tiled_log.Fetch`."""
        return self._web.fetch(path if self._pin is None else PREFIX + path)

    def close(self) -> None:
        """Close the connection to it."""
        self._web.close()

    def trusted(self) -> Trusted:
        """Return whose signature counts now.

        Raises `Unreachable`, and `Malformed` or `SignatureInvalid` for what the pinned
        root key does not vouch for.
        """
        if self._pin is None:
            return Trusted(self._keys, None)
        text, armour = bundle.split_signed(self._required("v1/trust/current"))
        current = bundle.parse_current(text)
        document = self._required(f"v1/trust/blob/{current.roots_sha256}")
        roots = _verify_roots(document, current, pin=self._pin)
        verify_signed(text, armour, bundle.CURRENT_NAMESPACE, _active(roots.online))
        return Trusted(keys_of(roots), roots, document, current.expires)

    def _required(self, path: str) -> bytes:
        content = self._web.fetch(path)
        if content is None:
            raise Unreachable(
                f"{self._web.url}/{path} is not there", hint="is this the CA's URL?"
            )
        return content


def _verify_roots(document: bytes, current: Current, *, pin: str) -> Roots:
    if hashlib.sha256(document).hexdigest() != current.roots_sha256:
        raise Malformed("the roots are not those that hold now")
    text, armour = bundle.split_signed(document)
    roots = bundle.parse_roots(text)
    found = wire.fingerprint(parse_line(roots.root_key))
    if found != pin:
        raise SignatureInvalid(f"the CA's root key is {found}, and {pin} is pinned")
    verify_signed(text, armour, bundle.ROOTS_NAMESPACE, [roots.root_key])
    return roots


def _active(keys: tuple[TrustedKey, ...]) -> list[str]:
    return [trusted.key for trusted in keys if trusted.state is KeyState.ACTIVE]


def verify_signed(
    text: bytes, armour: str, namespace: str, lines: Sequence[str]
) -> None:
    """Raise unless one of these keys signed the text for that purpose."""
    signature = sshsig.parse_armour(armour)
    if signature.namespace != namespace or signature.public_key not in map(
        parse_line, lines
    ):
        raise SignatureInvalid("the trust bundle is not signed by the key it should be")
    data = sshsig.signed_data(namespace, text)
    ssh_signature.verify(signature.public_key, signature.signature, data)
