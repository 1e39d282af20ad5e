"""OpenSSH certificates: to-be-signed bytes and the finished thing, both ways.

Format: draft-ietf-sshm-cert section 2 (OpenSSH removed `PROTOCOL.certkeys` in its
favour in 2025). Body, in order: type name, nonce, the subject key's public fields,
serial, type, key ID, principals, valid_after, valid_before, critical options,
extensions, reserved, CA public key. The signature over exactly these bytes follows.

Strict both ways: what this module would not write it refuses to read. sshd is more
lenient (it takes unsorted extensions and a missing nonce); a CA has no reason to be.
"""

import re
import struct
from collections.abc import Mapping
from enum import IntEnum
from functools import lru_cache
from operator import attrgetter

from ca import wire
from ca.errors import BadRequest, Malformed
from ca.values import dataclass

CERTIFICATE_SUFFIX = "-cert-v01@openssh.com"
_PLAIN_SUFFIX = "@openssh.com"

KEY_FIELDS: Mapping[str, int] = {
    "ssh-ed25519": 1,
    "ssh-rsa": 2,
    "ecdsa-sha2-nistp256": 2,
    "ecdsa-sha2-nistp384": 2,
    "ecdsa-sha2-nistp521": 2,
    "sk-ssh-ed25519@openssh.com": 2,
    "sk-ecdsa-sha2-nistp256@openssh.com": 3,
}
"""Subject key types, each with the number of strings that follow its name."""

NONCE_BYTES = 32

MOST_PRINCIPALS = 256
"""sshd cannot parse a certificate with more (OpenSSH `SSHKEY_CERT_MAX_PRINCIPALS`)."""

LONGEST_KEY_ID = 200
"""In bytes. sshd cuts its log line near 1,000, so what matters must come early."""

PRINCIPAL = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@+-]{0,63}", re.ASCII)
"""The only principals there are. A comma once meant two names to sshd
(CVE-2026-35414), `#` cuts a line of an AuthorizedPrincipalsFile, `*` is a wildcard
in host certificates: refused, never stripped or split."""

KEY_ID = re.compile(r"[!$-&(-_a-~]+", re.ASCII)
"""Printable ASCII without space, quotes and `#`: a newline in a key ID forges a line
in sshd's log, `#` cuts ssh-keygen's revocation lists."""

LONGEST_OPTION = 1 << 16
"""In characters. sshd takes no packet above 256 KiB, and a certificate is in one."""

CRITICAL_OPTIONS = frozenset({"force-command", "source-address", "verify-required"})
EXTENSIONS = frozenset(
    {
        "no-touch-required",
        "permit-X11-forwarding",
        "permit-agent-forwarding",
        "permit-port-forwarding",
        "permit-pty",
        "permit-user-rc",
    }
)

BREAK_GLASS_SERIALS = 1 << 63
"""Serials from here up were made offline; the ledger never assigns one."""

_FOREVER = (1 << 64) - 1

_SERIAL_AND_TYPE = struct.Struct(">QI")
_VALIDITY = struct.Struct(">QQ")


class CertificateType(IntEnum):
    """What a certificate speaks for."""

    USER = 1
    HOST = 2


@dataclass(frozen=True, slots=True)
class Certificate:
    """What a certificate says: everything its CA signs."""

    type: CertificateType
    subject_key: bytes
    """The plain public key blob (RFC 4253 section 6.6), its type name first."""
    ca_key: bytes
    """The CA's plain public key blob."""
    nonce: bytes
    """32 random bytes, so that nobody can foresee what the CA will sign."""
    serial: int
    """64 bits; 0 until the ledger has assigned one."""
    key_id: str
    principals: tuple[str, ...]
    valid_after: int
    """Unix seconds, inclusive."""
    valid_before: int
    """Unix seconds, exclusive: sshd refuses at this second itself."""
    critical_options: Mapping[str, str]
    """By name; `verify-required` has the empty value."""
    extensions: tuple[str, ...]
    """Names, in lexical order; none of ours carries data."""

    def __post_init__(self) -> None:
        """Refuse what no certificate of ours may ever say (design invariant 7)."""
        _refuse_unbounded(self)
        _refuse_unknown(self)


def _refuse_unbounded(certificate: Certificate) -> None:
    # Where a CA is trusted through `cert-authority` in authorized_keys, OpenSSH
    # before 10.3 took an empty list to mean any account (CVE-2024-7594).
    if not certificate.principals:
        raise BadRequest("a certificate must name at least one principal")
    if len(certificate.principals) > MOST_PRINCIPALS:
        raise BadRequest(f"more than {MOST_PRINCIPALS} principals")
    for principal in certificate.principals:
        refuse_principal(principal)
    if len(set(certificate.principals)) != len(certificate.principals):
        raise BadRequest("a principal is named twice")
    # 0 means since always, 2^64-1 for ever.
    if not 0 < certificate.valid_after < certificate.valid_before < _FOREVER:
        raise BadRequest("a certificate must begin, and end after that")


def _refuse_unknown(certificate: Certificate) -> None:
    if len(certificate.nonce) != NONCE_BYTES:
        raise BadRequest(f"the nonce must be {NONCE_BYTES} bytes")
    if not 0 <= certificate.serial <= _FOREVER:
        raise BadRequest("a serial has 64 bits")
    if (
        len(certificate.key_id) > LONGEST_KEY_ID
        or KEY_ID.fullmatch(certificate.key_id) is None
    ):
        raise BadRequest("the key ID must be short, printable ASCII without spaces")
    _refuse_unknown_options(certificate)
    split_key(certificate.subject_key)
    split_key(certificate.ca_key)


def _refuse_unknown_options(certificate: Certificate) -> None:
    if not CRITICAL_OPTIONS.issuperset(certificate.critical_options):
        raise BadRequest("a critical option is not one of ours")
    for name, value in certificate.critical_options.items():
        # sshd refuses a flag with data, and an option with none where it needs some.
        if (name == "verify-required") != (value == ""):
            raise BadRequest(f"the critical option {name} has a bad value")
        # No control characters, so that a listing of it stays one line, nor lone
        # surrogates, which UTF-8 cannot write.
        if len(value) > LONGEST_OPTION or not value.isprintable():
            raise BadRequest(f"the critical option {name} must be one printable line")
    if not EXTENSIONS.issuperset(certificate.extensions):
        raise BadRequest("an extension is not one of ours")
    # ssh then refuses the host (OpenSSH `sshkey_cert_check_host`).
    if certificate.type is CertificateType.HOST and (
        certificate.critical_options or certificate.extensions
    ):
        raise BadRequest("a host certificate has no options")
    if list(certificate.extensions) != sorted(set(certificate.extensions)):
        raise BadRequest("extensions must be in lexical order, each once")


def refuse_principal(principal: str) -> None:
    """Raise `BadRequest` unless `principal` is one that a certificate may name."""
    if PRINCIPAL.fullmatch(principal) is None:
        raise BadRequest(
            f"{principal[:80]!r} cannot be a principal",
            hint="use 1 to 64 of A-Z a-z 0-9 _ . @ + - and start with a letter, a"
            " digit or _",
        )


@lru_cache(maxsize=1024)  # a request asks for the same two keys again and again
def split_key(blob: bytes) -> tuple[str, bytes]:
    """Split a plain public key blob into its type name and its public fields.

    Raises `Malformed` for a certificate: neither a subject nor a CA can be one.
    """
    reader = wire.Reader(blob)
    name = reader.text()
    if name not in KEY_FIELDS:
        raise Malformed(f"{name[:64]!r} is not a plain public key type")
    fields_at = reader.at
    for _ in range(KEY_FIELDS[name]):
        reader.string()
    reader.finish()
    return name, blob[fields_at:]


def _certificate_type_name(key_type: str) -> str:
    return key_type.removesuffix(_PLAIN_SUFFIX) + CERTIFICATE_SUFFIX


_KEY_TYPES = {_certificate_type_name(name): name for name in KEY_FIELDS}
_NAMES = {name: wire.text(name) for name in KEY_FIELDS}
_CERTIFICATE_NAMES = {key: wire.text(name) for name, key in _KEY_TYPES.items()}
"""As a blob begins with them."""
_NO_DATA = wire.string(b"")


@dataclass(frozen=True, slots=True)
class Unnumbered:
    """The bytes the CA key signs, around the serial that is still to come.

    Only eight bytes are left open, so what was checked with serial 0 stays checked.
    """

    before: bytes
    after: bytes

    def numbered(self, serial: int) -> bytes:
        """Return the to-be-signed bytes with this serial."""
        if not 0 <= serial <= _FOREVER:
            raise BadRequest("a serial has 64 bits")
        return self.before + wire.u64(serial) + self.after


def render_unnumbered(certificate: Certificate) -> Unnumbered:
    """Encode the bytes the CA key signs, but for the serial."""
    key_type, fields = split_key(certificate.subject_key)
    before = (
        _CERTIFICATE_NAMES[key_type],
        wire.string(certificate.nonce),
        fields,
    )
    after = (
        wire.u32(certificate.type),
        wire.text(certificate.key_id),
        wire.string(b"".join(map(wire.text, certificate.principals))),
        wire.u64(certificate.valid_after),
        wire.u64(certificate.valid_before),
        wire.string(
            b"".join(
                wire.text(name) + wire.string(wire.text(value) if value else b"")
                for name, value in sorted(certificate.critical_options.items())
            )
        ),
        wire.string(
            b"".join([wire.text(name) + _NO_DATA for name in certificate.extensions])
        ),
        _NO_DATA,
        wire.string(certificate.ca_key),
    )
    return Unnumbered(b"".join(before), b"".join(after))


def render_to_be_signed(certificate: Certificate) -> bytes:
    """Encode the bytes the CA key signs."""
    return render_unnumbered(certificate).numbered(certificate.serial)


def parse_to_be_signed(data: bytes) -> Certificate:
    """Parse what `render_to_be_signed` wrote; raise `BadRequest` for all else."""
    return Certificate(*_read_to_be_signed(data))


_VALUES = attrgetter(*Certificate.__match_args__)


def says(to_be_signed: bytes, certificate: Certificate) -> bool:
    """Tell whether these bytes, parsed, say what the certificate does, and no more."""
    return bool(_read_to_be_signed(to_be_signed) == _VALUES(certificate))


def complete(to_be_signed: bytes, signature: bytes) -> bytes:
    """Join to-be-signed bytes and an SSH signature blob into a certificate."""
    return to_be_signed + wire.string(signature)


def parse_certificate(blob: bytes) -> tuple[Certificate, bytes]:
    """Parse a certificate blob into what it says and its signature blob.

    The signature is not verified. Raises `BadRequest`.
    """
    reader = wire.Reader(blob)
    certificate = Certificate(*_read_body(reader))
    signature = reader.string()
    reader.finish()
    return certificate, signature


def render_line(blob: bytes, comment: str) -> str:
    """Return the one line of a `-cert.pub` file, with its newline."""
    name = wire.Reader(blob).text()
    return f"{name} {wire.encode_base64(blob)} {comment}\n"


_LINE = re.compile(r"[ \t]*(?P<type>\S+)[ \t]+(?P<base64>\S+)([ \t][^\r\n]*)?[\r\n]*")


def parse_line(line: str) -> bytes:
    """Return the blob in a line of a public key or certificate file.

    Raises `Malformed` unless the line is one type name, base64 of a blob that
    begins with that name, and perhaps a comment.
    """
    words = _LINE.fullmatch(line)
    if words is None:
        raise Malformed("not one line of an OpenSSH public key file")
    blob = wire.decode_base64(words["base64"])
    if wire.Reader(blob).text() != words["type"]:
        raise Malformed("the key type before the base64 is not the one inside")
    return blob


def _read_subject_key(reader: wire.Reader) -> tuple[bytes, bytes]:
    """Read type name, nonce and key fields; return the nonce and the plain key."""
    name = reader.text()
    if name not in _KEY_TYPES:
        raise Malformed(f"{name[:64]!r} is not a certificate type")
    key_type = _KEY_TYPES[name]
    nonce = reader.string()
    fields_at = reader.at
    for _ in range(KEY_FIELDS[key_type]):
        reader.string()
    return nonce, _NAMES[key_type] + reader.since(fields_at)


_Body = tuple[
    CertificateType,
    bytes,
    bytes,
    bytes,
    int,
    str,
    tuple[str, ...],
    int,
    int,
    dict[str, str],
    tuple[str, ...],
]
"""The values of a `Certificate`, in its order."""


def _read_to_be_signed(data: bytes) -> _Body:
    reader = wire.Reader(data)
    body = _read_body(reader)
    reader.finish()
    return body


def _read_body(reader: wire.Reader) -> _Body:
    nonce, subject_key = _read_subject_key(reader)
    serial, number = reader.unpack(_SERIAL_AND_TYPE)
    try:
        type_ = CertificateType(number)
    except ValueError as error:
        raise Malformed("neither a user nor a host certificate") from error
    key_id = reader.text()
    principals = tuple(map(wire.decode_text, wire.strings(reader.string())))
    valid_after, valid_before = reader.unpack(_VALIDITY)
    critical_options = _read_options(reader.string())
    extensions = _read_options(reader.string())
    if reader.string():
        raise Malformed("the reserved field is not empty")
    ca_key = reader.string()
    if any(extensions.values()):
        raise Malformed("an extension carries data")
    return (
        type_,
        subject_key,
        ca_key,
        nonce,
        serial,
        key_id,
        principals,
        valid_after,
        valid_before,
        critical_options,
        tuple(extensions),
    )


def _read_options(data: bytes) -> dict[str, str]:
    values = wire.strings(data)
    names = list(map(wire.decode_text, values[::2]))
    if names != sorted(set(names)):
        raise Malformed("options must be in lexical order, each once")
    if len(values) % 2:
        raise Malformed("an option has a name and no value")
    return {
        name: _read_value(name, value) if value else ""
        for name, value in zip(names, values[1::2], strict=True)
    }


def _read_value(name: str, data: bytes) -> str:
    reader = wire.Reader(data)
    value = reader.text()
    # An option whose inner string is empty would have a second spelling.
    if not value or not reader.at_end:
        raise Malformed(f"the option {name[:64]!r} has a bad value")
    return value
