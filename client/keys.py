"""The key pair and its certificate in `~/.ssh/daypass`, replaced in one moment.

    NAME           ─▶ .NAME/key                  what ssh_config names
    NAME-cert.pub  ─▶ .NAME/key-cert.pub
    .NAME          ─▶ .NAME.3f9c…/               the one link that ever changes

Two files cannot be renamed at once, and a key beside the certificate of another key
opens nothing. So each sign-in fills a folder of its own, and one rename of one link
puts both in place: at any moment, after any crash, the pair is the old one or the
new one. An ssh that has read the old certificate and asks for the key only after that
moment still meets the new key; it fails this once, and no order of renames helps.
"""

import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ca import wire
from ca.certificate import Certificate, parse_certificate, parse_line
from ca.errors import BadRequest
from client import files, ssh_keygen

_KEY = "key"
_CERTIFICATE = "key-cert.pub"
_FOLDER = re.compile(r"\.[^.]+\.[0-9a-f]{12}", re.ASCII)

_ABANDONED = 3600
"""Seconds after which a folder that no sign-in completed is nobody's any more."""

_PRIVATE_KEY_MAGIC = b"openssh-key-v1\0"


@dataclass(frozen=True, slots=True)
class Held:
    """An installed certificate, and whether the key beside it is its own."""

    certificate: Certificate
    key_matches: bool


class KeyFiles:
    """The files of one profile."""

    def __init__(self, profile: str) -> None:
        self._profile = profile
        self.folder = files.home() / ".ssh" / "daypass"
        self.private = self.folder / profile
        """Where ssh finds the private key."""
        self.certificate = self.folder / f"{profile}-cert.pub"
        """Where ssh finds the certificate."""
        self._pair = self.folder / f".{profile}"

    @contextmanager
    def attempt(self) -> Iterator["Attempt"]:
        """Make a new key; whatever was not installed at the end is gone."""
        files.make_private(self.folder)
        self._sweep(older_than=_ABANDONED)
        folder = files.make_beside(self._pair)
        try:
            ssh_keygen.generate(folder / _KEY, f"daypass:{self._profile}")
            yield Attempt(folder)
        finally:
            if folder.name != self._installed():
                _discard(folder)

    def install(self, attempt: "Attempt") -> None:
        """Put a finished pair in the place of the one before."""
        before = self._installed()
        with files.explained(f"install the certificate in {self.folder}"):
            self._link(self._pair, attempt.folder.name)
            self._link(self.certificate, f"{self._pair.name}/{_CERTIFICATE}")
            self._link(self.private, f"{self._pair.name}/{_KEY}")
            files.sync(self.folder)
        if before is not None:
            _discard(self.folder / before)

    def held(self) -> Held | None:
        """Return what is installed; None for nothing, or nothing that parses."""
        installed = self._installed()
        if installed is None:
            return None
        # Both from one folder, whatever the link becomes in between.
        folder = self.folder / installed
        line, private = files.read(folder / _CERTIFICATE), files.read(folder / _KEY)
        if line is None:
            return None
        try:
            blob = parse_line(line.decode("ascii"))
            certificate, _ = parse_certificate(blob)
            key_matches = _public_blob(private or b"") == certificate.subject_key
        except (BadRequest, UnicodeDecodeError):
            return None
        return Held(certificate, key_matches)

    def remove(self) -> bool:
        """Remove every key and certificate of the profile; return whether any was."""
        removed = self._uninstall()
        # Also those of a sign-in that is under way: it will fail, as it should.
        return self._sweep(older_than=0) or removed

    def discard_expired(self, now: float) -> None:
        """Remove a certificate that opens nothing any more, with its key.

        A stale certificate that ssh keeps offering costs authentication attempts, and
        sshd since 9.8 penalises the whole address for them.
        """
        held = self.held()
        if held is None or held.certificate.valid_before <= now:
            self._uninstall()

    def _uninstall(self) -> bool:
        """Remove the installed pair; return whether there was anything."""
        installed = self._installed()
        with files.explained(f"remove keys from {self.folder}"):
            # The one link first: after it the pair is gone, however far the rest gets.
            links = (self._pair, self.certificate, self.private)
            present = [path for path in links if path.is_symlink() or path.exists()]
            for path in present:
                path.unlink()
        if installed is not None:
            _discard(self.folder / installed)
        return bool(present)

    def _link(self, path: Path, target: str) -> None:
        """Make `path` a link to `target`, in one moment, unless it is one already."""
        if path.is_symlink() and str(path.readlink()) == target:
            return
        new = files.aside(self._pair)
        new.symlink_to(target)
        new.replace(path)

    def _installed(self) -> str | None:
        """Return the name of the folder that holds the installed pair."""
        try:
            return self._pair.readlink().name
        except OSError:
            return None

    def _sweep(self, *, older_than: float) -> bool:
        """Remove what a sign-in left that was cut off; return whether there was any."""
        with files.explained(f"look into {self.folder}"):
            left = [
                path
                for path in self.folder.glob(f".{self._profile}.*")
                if _FOLDER.fullmatch(path.name)
                and path.name != self._installed()
                and time.time() - path.lstat().st_mtime >= older_than
            ]
        for path in left:
            _discard(path)
        return bool(left)


@dataclass(frozen=True, slots=True)
class Attempt:
    """A new key on its way to a certificate, in a folder of its own."""

    folder: Path

    def public_key(self) -> tuple[str, bytes]:
        """Return the public key as `<type> <base64>` and as a blob."""
        path = self.folder / f"{_KEY}.pub"
        line = (files.read(path) or b"").decode("ascii", "replace")
        blob = parse_line(line)
        return " ".join(line.split()[:2]), blob

    def add_certificate(self, line: str) -> None:
        """Put the certificate beside the key, with all of it on the disk.

        Raises `Untrusted` when its signature does not verify.
        """
        path = self.folder / _CERTIFICATE
        with files.explained(f"write {path}"):
            files.create(path, line.encode("ascii"))
            files.sync(self.folder / _KEY)
            files.sync(self.folder)
        ssh_keygen.verify_certificate(path)


def _discard(path: Path) -> None:
    """Remove a folder or a link as far as the system lets us."""
    if path.is_symlink():
        path.unlink(missing_ok=True)
    else:
        shutil.rmtree(path, ignore_errors=True)


def _public_blob(private: bytes) -> bytes:
    """Return the public key in an unencrypted private key file (`PROTOCOL.key`)."""
    lines = private.decode("ascii").split("\n")
    reader = wire.Reader(wire.decode_base64("".join(lines[1:-2])))
    reader.take(len(_PRIVATE_KEY_MAGIC))
    for _ in range(3):  # cipher, KDF and its options
        reader.string()
    reader.u32()
    return reader.string()
