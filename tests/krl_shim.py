"""Our core in the place of `ssh-keygen -k`, as far as OpenSSH's own test of it goes.

It reads ssh-keygen's files of what to revoke (ssh-keygen(1), KEY REVOCATION LISTS) and
writes with `ca.krl`; with -u it first reads what is there, with `ca.krl`, too.
"""

import base64
import getopt
import hashlib
import os
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ca import wire
from ca.certificate import CERTIFICATE_SUFFIX, KEY_FIELDS
from ca.krl import KRL, RevokedCertificates, parse_krl, render_krl, runs_of

_OPTIONS = "ABHLQUXceghiklopquvyC:D:E:F:I:K:M:N:O:P:R:V:Y:Z:a:b:f:g:m:n:r:s:t:w:z:"
"""As ssh-keygen reads them (OpenSSH ssh-keygen.c, `main`)."""

_KNOWN = {"-k", "-u", "-q", "-f", "-s", "-z"}
_ANY = "NONE"
_FIELDS = {**KEY_FIELDS, "ssh-dss": 4}


class Refused(Exception):
    """What ssh-keygen would refuse, too."""


@dataclass(frozen=True)
class Answer:
    """What became of one wish for a certificate or a KRL."""

    by: str
    """`core`, `hand` or `ssh-keygen`."""
    why: str
    """Why the core did not make it all."""
    algorithm: str = ""
    """What our key signed it with."""
    what: str = "certificate"
    """Or `KRL`, which is signed by nobody."""


@dataclass
class _Wanted:
    """What is to be revoked, and by which CA's number or name."""

    ca_key: bytes | None
    serials: dict[bytes, list[tuple[int, int]]] = field(default_factory=dict)
    key_ids: dict[bytes, set[str]] = field(default_factory=dict)
    keys: set[bytes] = field(default_factory=set)
    sha1: set[bytes] = field(default_factory=set)
    sha256: set[bytes] = field(default_factory=set)

    def read(self, line: str) -> None:
        """Read one line of a file of what to revoke."""
        name, _, value = line.partition(":")
        value = value.strip()
        match name:
            case "serial":
                first, _, last = value.partition("-")
                run = int(first), int(last or first)
                self.serials.setdefault(self._named_ca(), []).append(run)
            case "id":
                # The Certifier writes key IDs without spaces; ssh-keygen with them.
                spellings = {value, value.replace(" ", "_")}
                self.key_ids.setdefault(self._named_ca(), set()).update(spellings)
            case "sha1":
                digest = hashlib.sha1(_blob(value), usedforsecurity=False).digest()
                self.sha1.add(digest)
            case "sha256":
                self.sha256.add(hashlib.sha256(_blob(value)).digest())
            case "hash":
                encoded = value.removeprefix("SHA256:")
                self.sha256.add(base64.b64decode(f"{encoded}="))
            case _:
                self._read_key(_blob(line))

    def add(self, krl: KRL) -> None:
        """Revoke also what a list has."""
        for revoked in krl.certificates:
            self.serials.setdefault(revoked.ca_key, []).extend(revoked.serials)
            self.key_ids.setdefault(revoked.ca_key, set()).update(revoked.key_ids)
        self.keys.update(krl.keys)
        self.sha1.update(krl.sha1)
        self.sha256.update(krl.sha256)

    def krl(self, version: int) -> KRL:
        """Return the list."""
        return KRL(
            version=version,
            generated=0,
            certificates=tuple(
                RevokedCertificates(
                    ca_key,
                    runs_of(self.serials.get(ca_key, ())),
                    tuple(sorted(self.key_ids.get(ca_key, ()))),
                )
                for ca_key in sorted({*self.serials, *self.key_ids})
            ),
            keys=tuple(sorted(self.keys)),
            sha1=tuple(sorted(self.sha1)),
            sha256=tuple(sorted(self.sha256)),
        )

    def _named_ca(self) -> bytes:
        if self.ca_key is None:
            raise Refused("serials and key IDs need -s")
        return self.ca_key

    def _read_key(self, blob: bytes) -> None:
        reader = wire.Reader(blob)
        name = reader.text()
        if not name.endswith(CERTIFICATE_SUFFIX):
            self.keys.add(blob)
            return
        plain = name.removesuffix(CERTIFICATE_SUFFIX)
        known = plain if plain in _FIELDS else f"{plain}@openssh.com"
        for _ in range(1 + _FIELDS[known]):  # the nonce first
            reader.string()
        serial = reader.u64()
        reader.u32()
        # Key ID, principals; from when to when; options, extensions, reserved.
        for read in [reader.string] * 2 + [reader.u64] * 2 + [reader.string] * 3:
            read()
        self.serials.setdefault(reader.string(), []).append((serial, serial))


def read_options(
    words: Sequence[str], known: Collection[str]
) -> tuple[list[tuple[str, str]], list[str]]:
    """Read ssh-keygen's command line; raise `ValueError` for what we do not know."""
    found, rest = getopt.getopt(list(words), _OPTIONS)
    if unknown := {option for option, _ in found}.difference(known):
        raise ValueError(f"the shim does not know {sorted(unknown)}: {words}")
    return found, rest


def write(words: Sequence[str]) -> Answer:
    """Do what `ssh-keygen -k` is asked to; raise `Refused` as it would."""
    found, files = read_options(words, _KNOWN)
    given = dict(found)
    file = Path(given["-f"])
    wanted = _Wanted(_ca_key(given["-s"]) if "-s" in given else None)
    if "-u" in given:
        wanted.add(parse_krl(file.read_bytes()))
    for line in _lines(files):
        wanted.read(line)
    krl = wanted.krl(int(given.get("-z", "0")))
    written = render_krl(krl)
    if parse_krl(written) != krl:
        raise AssertionError("what was written reads otherwise")
    file.write_bytes(written)
    owner = file.parent.stat()
    os.chown(file, owner.st_uid, owner.st_gid)
    return Answer("core", "", what="KRL")


def _lines(files: Sequence[str]) -> Iterator[str]:
    for name in files:
        # "-" is standard input, which the script leaves empty.
        lines = [] if name == "-" else Path(name).read_text().splitlines()
        yield from (line for line in lines if line and not line.startswith("#"))


def _ca_key(name: str) -> bytes:
    if name == _ANY:
        return b""
    public = Path(f"{name.removesuffix('.pub')}.pub")
    return _blob(public.read_text())


def _blob(line: str) -> bytes:
    return base64.b64decode(line.split()[1])
