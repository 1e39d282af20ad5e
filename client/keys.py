"""The key pair and its certificate in `~/.ssh/daypass`, replaced in one moment.

    NAME           ─▶ .NAME/key                  what ssh_config names
    NAME-cert.pub  ─▶ .NAME/key-cert.pub
    .NAME          ─▶ .NAME.3f9c…/               the one link that ever changes

Two files cannot be renamed at once, and a key beside the certificate of another key
opens nothing. So each sign-in fills a folder of its own, and one rename of one link
puts both in place: at any moment, after any crash, the pair is the old one or the
new one. An ssh that has read the old certificate and asks for the key only after that
moment still meets the new key; it fails this once, and no order of renames helps.

A key that was there before us stays where it is: `key` is then a link to it, and it is
never opened. Only what stands beside it in its `.pub` file is read.
"""

import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ca import wire
from ca.certificate import Certificate, parse_certificate, parse_line
from ca.errors import BadRequest
from ca.values import dataclass, field
from client import files, ssh_keygen
from client.failure import Misuse

_KEY = "key"
_PUBLIC = "key.pub"
_CERTIFICATE = "key-cert.pub"

_LONGEST_NAME = 64

_ABANDONED = 3600
"""Seconds after which a folder that no sign-in completed is nobody's any more."""

_PRIVATE_KEY_MAGIC = b"openssh-key-v1\0"


@dataclass(frozen=True, slots=True)
class ExistingKey:
    """A key pair of the person's own, such as a FIDO key or one in an agent."""

    path: Path
    """What ssh is to use: the private key or, where there is none (it is in an agent),
    the public one."""
    line: str
    """The public key as `<type> <base64>`."""

    @classmethod
    def find(cls, name: str) -> "ExistingKey":
        """Find a key by the name of either half; raise `Misuse`."""
        path = Path(name).absolute()
        private = path.with_suffix("") if path.suffix == ".pub" else path
        public = private.with_name(f"{private.name}.pub")
        content = files.read(public)
        if content is None:
            raise Misuse(
                f"there is no file {public}",
                hint=f"ssh-keygen -y -f {private} > {public}",
            )
        line = _first_words(content)
        try:
            parse_line(line)
        except BadRequest as error:
            raise Misuse(f"{public} is no public key: {error.detail}") from error
        return cls(private if private.exists() else public, line)


@dataclass(frozen=True, slots=True)
class Held:
    """An installed certificate, and whether the key beside it is its own."""

    certificate: Certificate
    key_matches: bool


class KeyFiles:
    """The files of one profile.

    A sign-in makes a new key, or is for an `existing` one. What was asked for by name
    is kept apart from what a day begins with: `principals` are of the first kind.
    """

    def __init__(
        self,
        profile: str,
        existing: ExistingKey | None = None,
        *,
        principals: Sequence[str] = (),
    ) -> None:
        self.profile = profile
        profile += _for(principals)
        self._profile = profile
        self._existing = existing
        self.folder = files.home() / ".ssh" / "daypass"
        self.private = self.folder / profile
        """Where ssh finds the private key."""
        self.certificate = self.folder / f"{profile}-cert.pub"
        """Where ssh finds the certificate."""
        self._pair = self.folder / f".{profile}"
        self.ssh_config = self._pair / "ssh_config"
        """What `ca-login ssh` gives to ssh."""

    def others(self) -> list["KeyFiles"]:
        """Return those that are kept apart."""
        with files.explained(f"look into {self.folder}"):
            found = list(self.folder.glob(f"{self.profile}+*-cert.pub"))
        names = [path.name.removesuffix("-cert.pub") for path in found]
        return [KeyFiles(name) for name in names]

    @property
    def name(self) -> str:
        """What the files are called, and what an agent knows the key by."""
        return self._profile

    @contextmanager
    def attempt(self, *, in_memory: bool = False) -> Iterator["Attempt"]:
        """Make a key, or take one; whatever was not installed at the end is gone.

        One that is made `in_memory` is for an agent: no file ever has it.
        """
        files.make_private(self.folder)
        self._sweep(older_than=_ABANDONED)
        folder = files.make_beside(self._pair)
        try:
            secret, comment = b"", f"daypass:{self._profile}"
            if self._existing is not None:
                _refer(folder, self._existing)
            elif in_memory:
                secret = ssh_keygen.generate_in_memory(folder / _KEY, comment)
                # What ssh finds there leads it to the agent.
                (folder / _KEY).symlink_to(_PUBLIC)
            else:
                ssh_keygen.generate(folder / _KEY, comment)
            yield Attempt(folder, secret)
        finally:
            if folder.name != self._installed():
                files.discard(folder)

    def install(self, attempt: "Attempt") -> None:
        """Put a finished pair in the place of the one before."""
        before = self._installed()
        with files.explained(f"install the certificate in {self.folder}"):
            self._link(self._pair, attempt.folder.name)
            self._link(self.certificate, f"{self._pair.name}/{_CERTIFICATE}")
            self._link(self.private, f"{self._pair.name}/{_KEY}")
            files.sync(self.folder)
        if before is not None:
            files.discard(self.folder / before)

    def held(self) -> Held | None:
        """Return what is installed; None for nothing, or nothing that parses."""
        installed = self._installed()
        if installed is None:
            return None
        # Both from one folder, whatever the link becomes in between.
        folder = self.folder / installed
        line = files.read(folder / _CERTIFICATE)
        if line is None:
            return None
        try:
            blob = parse_line(line.decode("ascii"))
            certificate, _ = parse_certificate(blob)
            key_matches = _public_blob(folder) == certificate.subject_key
        except (BadRequest, UnicodeDecodeError):
            return None
        return Held(certificate, key_matches)

    def existing(self) -> Path | None:
        """Return the person's own key that is in use, None for one that we made."""
        key = self._pair / _KEY
        own = key.is_symlink() and not self.in_agent
        return key.readlink() if own else None

    @property
    def in_agent(self) -> bool:
        """Whether the private key is one of ours that only an agent holds."""
        key = self._pair / _KEY
        return key.is_symlink() and str(key.readlink()) == _PUBLIC

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
            files.discard(self.folder / installed)
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

    def _is_attempt(self, name: str) -> bool:
        pattern = rf"\.{re.escape(self._profile)}\.[0-9a-f]{{12}}"
        return re.fullmatch(pattern, name, re.ASCII) is not None

    def _sweep(self, *, older_than: float) -> bool:
        """Remove what a sign-in left that was cut off; return whether there was any."""
        with files.explained(f"look into {self.folder}"):
            left = [
                path
                for path in self.folder.glob(f".{self._profile}.*")
                if self._is_attempt(path.name)
                and path.name != self._installed()
                and time.time() - path.lstat().st_mtime >= older_than
            ]
        for path in left:
            files.discard(path)
        return bool(left)


@dataclass(frozen=True, slots=True)
class Attempt:
    """A new key on its way to a certificate, in a folder of its own."""

    folder: Path
    secret: bytes = field(default=b"", repr=False)
    """The private key file, where there is none."""

    @property
    def private(self) -> Path:
        """Where its private key is."""
        return self.folder / _KEY

    @property
    def certificate(self) -> Path:
        """Where its certificate is, once it is added."""
        return self.folder / _CERTIFICATE

    def public_key(self) -> tuple[str, bytes]:
        """Return the public key as `<type> <base64>` and as a blob."""
        line = _first_words(files.read(self.folder / _PUBLIC) or b"")
        return line, parse_line(line)

    def add_certificate(self, line: str) -> None:
        """Put the certificate beside the key, with all of it on the disk.

        Raises `Untrusted` when its signature does not verify.
        """
        path = self.certificate
        with files.explained(f"write {path}"):
            files.create(path, line.encode("ascii"))
            if not (self.folder / _KEY).is_symlink():
                files.sync(self.folder / _KEY)
            files.sync(self.folder)
        ssh_keygen.verify_certificate(path)


def _for(principals: Sequence[str]) -> str:
    """Return what to add to a name for these principals; `+` is in no profile's."""
    names = "+".join(sorted(principals))
    if len(names) > _LONGEST_NAME:
        # Imported here because hardly anybody asks for so many.
        import hashlib  # noqa: PLC0415

        names = hashlib.sha256(names.encode()).hexdigest()[:_LONGEST_NAME]
    return f"+{names}" if names else ""


def _refer(folder: Path, existing: ExistingKey) -> None:
    """Put an existing key into the folder of an attempt, without touching it."""
    with files.explained(f"write into {folder}"):
        files.create(folder / _PUBLIC, f"{existing.line}\n".encode())
        (folder / _KEY).symlink_to(existing.path)


def _first_words(public: bytes) -> str:
    """Return type and base64 of a public key file; its comment may be anything."""
    return " ".join(public.decode("ascii", "replace").split()[:2])


def _public_blob(folder: Path) -> bytes:
    """Return the public half of the key that ssh finds; raise `BadRequest`."""
    key = folder / _KEY
    if not key.is_symlink():
        return _public_blob_in(files.read(key) or b"")
    path = folder / key.readlink()
    public = path if path.suffix == ".pub" else path.with_name(f"{path.name}.pub")
    # Gone, or another key by now.
    return parse_line(_first_words(files.read(public) or b"")) if path.exists() else b""


def _public_blob_in(private: bytes) -> bytes:
    """Return the public key in an unencrypted private key file (`PROTOCOL.key`)."""
    lines = private.decode("ascii").split("\n")
    reader = wire.Reader(wire.decode_base64("".join(lines[1:-2])))
    reader.take(len(_PRIVATE_KEY_MAGIC))
    for _ in range(3):  # cipher, KDF and its options
        reader.string()
    reader.u32()
    return reader.string()
