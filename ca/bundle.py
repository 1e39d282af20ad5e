"""The text formats of the trust bundle, both ways (design section 5).

Two signed documents, line by line, so that a POSIX shell can read them:

    roots      which CA keys to trust; signed by the root key
    current    which roots and which KRL hold now; signed by an online key of those
               roots

A document is its text followed by the armoured SSHSIG over exactly that text. Words
are separated by one space, lines end in LF, and an unknown line is an error: a reader
that skips what it does not know would skip a revocation one day.
"""

import re
from collections.abc import Sequence
from enum import StrEnum

from ca import certificate
from ca.errors import Malformed
from ca.values import dataclass

ROOTS_NAMESPACE = "daypass-roots"
CURRENT_NAMESPACE = "daypass-current"

_ROOTS_HEADER = "daypass-roots-v1"
_CURRENT_HEADER = "daypass-current-v1"
_ARMOUR_BEGINS = b"-----BEGIN SSH SIGNATURE-----\n"
_NO_DOMAINS = "-"

_NUMBER = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII)
_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)
_ORIGIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9.:-]*(/[A-Za-z0-9._-]+)*", re.ASCII)
_DOMAIN = re.compile(r"(\*\.)?[a-z0-9-]+(\.[a-z0-9-]+)*", re.ASCII)


class KeyState(StrEnum):
    """Where a key is in its life."""

    STAGED = "staged"
    """Trusted already, signs nothing yet."""
    ACTIVE = "active"
    """Trusted, and signs."""
    RETIRING = "retiring"
    """Trusted until its last certificate has ended, signs nothing more."""


@dataclass(frozen=True, slots=True)
class TrustedKey:
    """A user CA key or an online key, as roots list it."""

    state: KeyState
    key: str
    """`<type> <base64>`, as in a public key file."""


@dataclass(frozen=True, slots=True)
class HostCAKey(TrustedKey):
    """A host CA key, and the host names it may speak for."""

    domains: tuple[str, ...]
    """`known_hosts` patterns; never `*` alone. Empty: it speaks for none yet."""


@dataclass(frozen=True, slots=True)
class ClosedLog:
    """A ledger that was given up for a new one, which the root key vouches for."""

    origin: str
    size: int
    """How many entries of it are known."""


@dataclass(frozen=True, slots=True)
class Roots:
    """What hosts and laptops trust."""

    version: int
    """Grows with each change: max(previous + 1, Unix milliseconds)."""
    root_key: str
    """The root key's own public line; readers pin its fingerprint."""
    log_origin: str
    serial_base: int
    """`serial = serial_base + ledger index + 1` (design invariant 2)."""
    user_ca: tuple[TrustedKey, ...]
    host_ca: tuple[HostCAKey, ...]
    online: tuple[TrustedKey, ...]
    closed_logs: tuple[ClosedLog, ...] = ()
    """Their checkpoints stop nobody any more."""
    revoked_ca: tuple[str, ...] = ()
    """CA keys that no host may ever take again; none of them is trusted above."""

    def user_ca_keys(self) -> tuple[str, ...]:
        """Return the lines of a `TrustedUserCAKeys` file."""
        return tuple(trusted.key for trusted in self.user_ca)


@dataclass(frozen=True, slots=True)
class Current:
    """Which roots and KRL hold now, and until when that is news."""

    version: int
    expires: int
    """Unix seconds; after that a reader raises an alarm, and keeps what it has."""
    roots_sha256: str
    """Hex SHA-256 of the whole roots document, its signature included."""
    krl_sha256: str
    """Hex SHA-256 of the KRL, which has no signature but this."""


def join_signed(text: bytes, armour: str) -> bytes:
    """Join a text and its signature into one document."""
    return text + armour.encode()


def split_signed(document: bytes) -> tuple[bytes, str]:
    """Split a document into the text that was signed and the armour."""
    at = document.find(_ARMOUR_BEGINS)
    if at <= 0:
        raise Malformed("the document carries no signature")
    try:
        return document[:at], document[at:].decode("ascii")
    except UnicodeDecodeError as error:
        raise Malformed("the signature is not ASCII") from error


def render_roots(roots: Roots) -> bytes:
    """Return the text of roots, to be signed by the root key."""
    lines = [
        _ROOTS_HEADER,
        f"version {roots.version}",
        f"root {roots.root_key}",
        f"log {roots.log_origin} {roots.serial_base}",
        *(f"closed-log {log.origin} {log.size}" for log in roots.closed_logs),
        *(f"user-ca {trusted.state} {trusted.key}" for trusted in roots.user_ca),
        *(
            f"host-ca {trusted.state} {trusted.key} "
            + (",".join(trusted.domains) or _NO_DOMAINS)
            for trusted in roots.host_ca
        ),
        *(f"online {trusted.state} {trusted.key}" for trusted in roots.online),
        *(f"revoked-ca {key}" for key in roots.revoked_ca),
    ]
    return "".join(line + "\n" for line in lines).encode()


def parse_roots(text: bytes) -> Roots:
    """Parse the text of roots; raise `Malformed`. The signature is not verified."""
    lines = _Lines(text, _ROOTS_HEADER)
    (version,) = lines.words("version", 1)
    root_key = _key(lines.words("root", 2))
    origin, serial_base = lines.words("log", 2)
    closed_logs = tuple(
        ClosedLog(_origin(origin), _number(size))
        for origin, size in lines.run("closed-log", 2)
    )
    user_ca = tuple(_trusted_key(words) for words in lines.run("user-ca", 3))
    host_ca = tuple(_host_ca_key(words) for words in lines.run("host-ca", 4))
    online = tuple(_trusted_key(words) for words in lines.run("online", 3))
    revoked_ca = tuple(_key(words) for words in lines.run("revoked-ca", 2))
    lines.finish()
    trusted = [key.key for key in (*user_ca, *host_ca, *online)]
    _refuse_two_roles([root_key, *trusted], revoked_ca)
    return Roots(
        version=_number(version),
        root_key=root_key,
        log_origin=_origin(origin),
        serial_base=_number(serial_base),
        user_ca=user_ca,
        host_ca=host_ca,
        online=online,
        closed_logs=closed_logs,
        revoked_ca=revoked_ca,
    )


def render_current(current: Current) -> bytes:
    """Return the text of current, to be signed by an online key."""
    return (
        f"{_CURRENT_HEADER}\n"
        f"version {current.version}\n"
        f"expires {current.expires}\n"
        f"roots {current.roots_sha256}\n"
        f"krl {current.krl_sha256}\n"
    ).encode()


def parse_current(text: bytes) -> Current:
    """Parse the text of current; raise `Malformed`. The signature is not verified."""
    lines = _Lines(text, _CURRENT_HEADER)
    (version,) = lines.words("version", 1)
    (expires,) = lines.words("expires", 1)
    (roots_sha256,) = lines.words("roots", 1)
    (krl_sha256,) = lines.words("krl", 1)
    lines.finish()
    return Current(
        version=_number(version),
        expires=_number(expires),
        roots_sha256=_sha256(roots_sha256),
        krl_sha256=_sha256(krl_sha256),
    )


class _Lines:
    """The lines of a document, taken off one by one."""

    def __init__(self, text: bytes, header: str) -> None:
        try:
            self._lines = text.decode("ascii").split("\n")
        except UnicodeDecodeError as error:
            raise Malformed("the document is not ASCII") from error
        if self._lines.pop() or not self._lines or self._lines[0] != header:
            raise Malformed(f"not a document that begins with {header}")
        self._lines.reverse()
        self._lines.pop()

    def run(self, name: str, count: int) -> list[list[str]]:
        """Take all lines that begin with `name` off the front; return their words."""
        taken = []
        while self._lines and self._lines[-1].split(" ")[0] == name:
            words = self._lines.pop().split(" ")[1:]
            if len(words) != count or not all(words):
                raise Malformed(f"a line {name!r} must have {count} words after it")
            taken.append(words)
        return taken

    def words(self, name: str, count: int) -> list[str]:
        """Take the one line that must begin with `name`; return its words."""
        taken = self.run(name, count)
        if len(taken) != 1:
            raise Malformed(f"there must be one line {name!r} here")
        return taken[0]

    def finish(self) -> None:
        if self._lines:
            raise Malformed("an unknown line, or one out of its order")


def _number(word: str) -> int:
    if _NUMBER.fullmatch(word) is None:
        raise Malformed("not a decimal number")
    return int(word)


def _sha256(word: str) -> str:
    if _SHA256.fullmatch(word) is None:
        raise Malformed("a hash is not hex SHA-256")
    return word


def _origin(word: str) -> str:
    if _ORIGIN.fullmatch(word) is None:
        raise Malformed("the log's origin is not one")
    return word


def _key(words: list[str]) -> str:
    line = " ".join(words)
    certificate.split_key(certificate.parse_line(line))
    return line


def _state(word: str) -> KeyState:
    try:
        return KeyState(word)
    except ValueError as error:
        raise Malformed("a key's state is not one we know") from error


def _trusted_key(words: list[str]) -> TrustedKey:
    return TrustedKey(_state(words[0]), _key(words[1:3]))


def _refuse_two_roles(trusted: Sequence[str], revoked: Sequence[str]) -> None:
    # One reader would take it and another one not.
    if set(trusted) & set(revoked):
        raise Malformed("a key is listed as trusted and as revoked")
    # A key that certifies people and hosts makes either out of the other where a
    # reader forgets the type; a root key that is online could enlarge trust.
    if len(set(trusted)) != len(trusted):
        raise Malformed("a key is listed twice: each has one role and one state")


def _host_ca_key(words: list[str]) -> HostCAKey:
    state, key, domains = _state(words[0]), _key(words[1:3]), words[3]
    return HostCAKey(
        state, key, () if domains == _NO_DOMAINS else parse_domains(domains)
    )


def parse_domains(text: str) -> tuple[str, ...]:
    """Parse host patterns with commas between them; raise `Malformed`."""
    domains = tuple(text.split(","))
    # A bare `*` would let the host CA key vouch for every name there is.
    if not all(_DOMAIN.fullmatch(domain) for domain in domains):
        raise Malformed("a host CA key's domains are not host patterns")
    return domains
