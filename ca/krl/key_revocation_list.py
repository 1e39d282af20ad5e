"""A key revocation list: what it says, whom it revokes, its bytes."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from hashlib import sha1, sha256

from ca import wire
from ca.certificate import Certificate, split_key
from ca.errors import BadRequest, Malformed
from ca.krl import serials
from ca.krl.serials import Form, Runs

_MAGIC = b"SSHKRL\n\0"
_FORMAT = 1

_KEY_IDS = 0x23
_CERTIFICATES_EXTENSION = 0x39

_SHA1_BYTES, _SHA256_BYTES = 20, 32


class _Section(IntEnum):
    CERTIFICATES = 1
    KEYS = 2
    SHA1 = 3
    SIGNATURE = 4
    SHA256 = 5
    EXTENSION = 255


@dataclass(frozen=True, slots=True)
class Extension:
    """Something that a reader may not know.

    OpenSSH before 9.4 can read no KRL with an extension, no later one a critical
    extension that it does not know: none of either is in what hosts are given.
    """

    name: str
    contents: bytes
    critical: bool = False


@dataclass(frozen=True, slots=True)
class RevokedCertificates:
    """Which certificates of one CA are revoked."""

    ca_key: bytes
    """The CA's plain public key blob; empty for any CA."""
    serials: Runs = ()
    key_ids: tuple[str, ...] = ()
    extensions: tuple[Extension, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what sshd could not read: it would then let nobody in."""
        if self.ca_key:
            split_key(self.ca_key)
        serials.refuse_unordered(self.serials)
        if any("\0" in key_id for key_id in self.key_ids):
            raise BadRequest("a key ID has no NUL")


@dataclass(frozen=True, slots=True)
class KRL:
    """A key revocation list."""

    version: int
    generated: int
    """Unix seconds."""
    comment: str = ""
    certificates: tuple[RevokedCertificates, ...] = ()
    keys: tuple[bytes, ...] = ()
    """Blobs of plain keys: as a subject's, as a CA's."""
    sha1: tuple[bytes, ...] = ()
    """SHA-1 of plain key blobs. sshd reads them; nothing of ours writes them."""
    sha256: tuple[bytes, ...] = ()
    extensions: tuple[Extension, ...] = ()

    def revokes(self, certificate: Certificate) -> bool:
        """Tell whether sshd would refuse the certificate because of this list."""
        return (
            any(_revokes(each, certificate) for each in self.certificates)
            or self.revokes_key(certificate.subject_key)
            or self.revokes_key(certificate.ca_key)
        )

    def revokes_key(self, blob: bytes) -> bool:
        """Tell whether a plain key is in the list, itself or by its hash."""
        return (
            blob in self.keys
            or sha256(blob).digest() in self.sha256
            or sha1(blob, usedforsecurity=False).digest() in self.sha1
        )


def _revokes(revoked: RevokedCertificates, certificate: Certificate) -> bool:
    return revoked.ca_key in (b"", certificate.ca_key) and (
        serials.contains(revoked.serials, certificate.serial)
        or certificate.key_id in revoked.key_ids
    )


def render_krl(krl: KRL) -> bytes:
    """Encode a list; the serials in the fewest bytes."""
    header = (
        _MAGIC
        + wire.u32(_FORMAT)
        + wire.u64(krl.version)
        + wire.u64(krl.generated)
        + wire.u64(0)  # flags: none are defined
        + wire.string(b"")  # reserved
        + wire.text(krl.comment)
    )
    return header + b"".join(
        bytes([section]) + wire.string(data) for section, data in _sections(krl)
    )


def _sections(krl: KRL) -> Iterator[tuple[_Section, bytes]]:
    for revoked in krl.certificates:
        yield _Section.CERTIFICATES, _render_certificates(revoked)
    # In this order, as ssh-keygen writes them.
    for section, values in (
        (_Section.KEYS, krl.keys),
        (_Section.SHA1, krl.sha1),
        (_Section.SHA256, krl.sha256),
    ):
        if values:
            yield section, b"".join(map(wire.string, values))
    for extension in krl.extensions:
        yield _Section.EXTENSION, _render_extension(extension)


def _render_certificates(revoked: RevokedCertificates) -> bytes:
    return b"".join(
        (
            wire.string(revoked.ca_key),
            wire.string(b""),  # reserved
            serials.render_serials(revoked.serials),
            _subsection(_KEY_IDS, b"".join(map(wire.text, revoked.key_ids))),
            *(
                _subsection(_CERTIFICATES_EXTENSION, _render_extension(extension))
                for extension in revoked.extensions
            ),
        )
    )


def _subsection(type_: int, data: bytes) -> bytes:
    return bytes([type_]) + wire.string(data) if data else b""


def _render_extension(extension: Extension) -> bytes:
    return b"".join(
        (
            wire.text(extension.name),
            bytes([extension.critical]),
            wire.string(extension.contents),
        )
    )


def parse_krl(data: bytes) -> KRL:
    """Parse a list; raise `Malformed` for what sshd would not read.

    Sections about one CA become one, as they are one to sshd.
    """
    reader = wire.Reader(data)
    if reader.take(len(_MAGIC)) != _MAGIC or reader.u32() != _FORMAT:
        raise Malformed("not a KRL")
    version, generated, _flags = reader.u64(), reader.u64(), reader.u64()
    reader.string()  # reserved
    comment = reader.text()
    found = _Found()
    while not reader.at_end:
        found.read(reader.take(1)[0], wire.Reader(_long_string(reader)))
    return found.krl(version, generated, comment)


class _Found:
    """What the sections say, joined."""

    def __init__(self) -> None:
        self._runs: dict[bytes, list[tuple[int, int]]] = {}
        self._key_ids: dict[bytes, list[str]] = {}
        self._extensions: dict[bytes | None, list[Extension]] = {}
        self._blobs: dict[_Section, list[bytes]] = {}

    def read(self, type_: int, reader: wire.Reader) -> None:
        """Read a section."""
        match type_:
            case _Section.CERTIFICATES:
                self._read_certificates(reader)
            case _Section.KEYS:
                self._read_blobs(_Section.KEYS, reader, bytes_=None)
            case _Section.SHA1:
                self._read_blobs(_Section.SHA1, reader, bytes_=_SHA1_BYTES)
            case _Section.SHA256:
                self._read_blobs(_Section.SHA256, reader, bytes_=_SHA256_BYTES)
            case _Section.EXTENSION:
                self._extensions.setdefault(None, []).append(_read_extension(reader))
            case _Section.SIGNATURE:
                # OpenSSH from 9.4 on reads no KRL that has one.
                raise Malformed("a KRL carries no signature")
            case _:
                raise Malformed(f"a KRL has no section {type_}")

    def _read_blobs(
        self, section: _Section, reader: wire.Reader, *, bytes_: int | None
    ) -> None:
        blobs = self._blobs.setdefault(section, [])
        while not reader.at_end:
            blob = reader.string()
            if bytes_ is not None and len(blob) != bytes_:
                raise Malformed(f"a hash has {len(blob)} bytes instead of {bytes_}")
            blobs.append(blob)

    def _read_certificates(self, reader: wire.Reader) -> None:
        ca_key = reader.string()
        if ca_key:
            split_key(ca_key)
        reader.string()  # reserved
        self._runs.setdefault(ca_key, [])
        while not reader.at_end:
            type_, part = reader.take(1)[0], wire.Reader(_long_string(reader))
            if type_ == _KEY_IDS:
                self._key_ids.setdefault(ca_key, []).extend(_texts(part))
            elif type_ == _CERTIFICATES_EXTENSION:
                self._extensions.setdefault(ca_key, []).append(_read_extension(part))
            elif type_ in set(Form):
                self._runs[ca_key].extend(_read_serials(Form(type_), part))
            else:
                raise Malformed(f"a KRL has no section {type_} about certificates")

    def krl(self, version: int, generated: int, comment: str) -> KRL:
        """Return the list."""
        return KRL(
            version=version,
            generated=generated,
            comment=comment,
            certificates=tuple(
                RevokedCertificates(
                    ca_key,
                    serials.runs_of(runs),
                    tuple(self._key_ids.get(ca_key, ())),
                    tuple(self._extensions.get(ca_key, ())),
                )
                for ca_key, runs in self._runs.items()
            ),
            keys=tuple(self._blobs.get(_Section.KEYS, ())),
            sha1=tuple(self._blobs.get(_Section.SHA1, ())),
            sha256=tuple(self._blobs.get(_Section.SHA256, ())),
            extensions=tuple(self._extensions.get(None, ())),
        )


def _long_string(reader: wire.Reader) -> bytes:
    """Return a string of any length: a section may be longer than a certificate."""
    return reader.take(reader.u32())


def _texts(reader: wire.Reader) -> Iterator[str]:
    while not reader.at_end:
        yield reader.text()


def _read_serials(form: Form, reader: wire.Reader) -> Iterator[tuple[int, int]]:
    for first, last in serials.read_serials(form, reader):
        # One of these, and sshd reads nothing of the file.
        if not 0 < first <= last <= serials.LAST_SERIAL:
            raise Malformed("revoked serials are 1 to 2^64-1, from low to high")
        yield first, last


def _read_extension(reader: wire.Reader) -> Extension:
    name, critical, contents = reader.text(), reader.take(1)[0], reader.string()
    reader.finish()
    if critical:
        raise Malformed(f"the extension {name[:64]!r} is critical and not known")
    return Extension(name, contents)
