"""Our core in the place of ssh-keygen, wherever OpenSSH's own tests certify a key.

    OpenSSH's script ──▶ SHIM (sh) ──┬─ -s CA_KEY … ──▶ Certifier, in the test's process
                                     ├─ -k … ─────────▶ the same (`tests.krl_shim`)
                                     └─ all else ─────▶ the machine's ssh-keygen

The script believes that it runs ssh-keygen. What it asks for is made by
`ca.certificate` and signed by `ca.signing_key`, as in production. The scripts also want
what our core refuses to make: then the bytes are written by hand and signed by our key
all the same, or, with key types that we do not have, ssh-keygen is left to it. Each
answer says which it was and why, so that a test can state how many there were.
"""

import os
import re
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

from cryptography.hazmat.primitives.serialization import load_ssh_private_key

from ca import certificate, ssh_signature, wire
from ca.certificate import EXTENSIONS, Certificate, CertificateType, parse_line
from ca.errors import BadRequest
from ca.signing_key import FileKey
from ca.signing_key.file_key import PrivateKey
from tests import krl_shim
from tests.certificates import by_hand, options, texts
from tests.krl_shim import Answer

_SCRIPT = """\
#!/bin/sh
# -s is for certifying unless -Y is there too: then it names a signature.
certify=no
for word; do
    case $word in
    -s | -k*) certify=yes ;;
    -Y*) exec {real} "$@" ;;
    esac
done
[ $certify = yes ] || exec {real} "$@"
case $(printf '%s\\n' "$#" "$@" | {netcat} -U {socket}) in
made) exit 0 ;;
yours) exec {real} "$@" ;;
*) exit 1 ;;
esac
"""

# NOTE: -t names an RSA signature algorithm. Ours is rsa-sha2-512, whatever it says.
_KNOWN = {"-s", "-I", "-h", "-n", "-z", "-V", "-O", "-q", "-t"}

_DEFAULT_EXTENSIONS = tuple(sorted(EXTENSIONS - {"no-touch-required"}))
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


@dataclass(frozen=True)
class Wish:
    """What ssh-keygen was asked to certify, and how."""

    ca_key: Path
    subject: Path
    type: CertificateType
    key_id: str
    serial: int
    principals: tuple[str, ...]
    validity: str
    critical_options: Mapping[str, str]
    changed: str
    """What we left out of it."""


class Certifier:
    """Answers the shim while the `with` block runs; `answers` says what it did.

    `folder` has OpenSSH's tests in it, with the `netcat` by which the shim asks.
    """

    def __init__(
        self, folder: Path, *, real: str, certify: Callable[[Wish], Answer]
    ) -> None:
        self.shim = folder / "ssh-keygen"
        """What to call instead of ssh-keygen."""
        self._certify = certify
        self.answers: list[Answer] = []
        self.faults: list[Exception] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._server = threading.Thread(target=self._serve)
        path = folder / "certifier"
        netcat = folder / "netcat"
        self.shim.write_text(_SCRIPT.format(real=real, netcat=netcat, socket=path))
        self.shim.chmod(0o755)
        self._listener.bind(str(path))
        path.chmod(0o777)

    def __enter__(self) -> Self:
        """Begin to answer."""
        self._listener.listen()
        self._server.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Answer no more."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._server.join()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                with connection, connection.makefile() as asked:
                    words = [
                        asked.readline()[:-1] for _ in range(int(asked.readline()))
                    ]
                    connection.sendall(self._answer(words).encode())

    def _answer(self, words: list[str]) -> str:
        try:
            answer = (
                krl_shim.write(words)
                if any(word.startswith("-k") for word in words)
                else self._certify(read_wish(words))
            )
        except krl_shim.Refused:
            return "refused"
        except Exception as fault:  # noqa: BLE001 (the test's to judge, in its thread)
            self.faults.append(fault)
            return "fault"
        self.answers.append(answer)
        return "yours" if answer.by == "ssh-keygen" else "made"


def read_wish(words: Sequence[str]) -> Wish:
    """Read ssh-keygen's command line; raise `ValueError` for what we do not know."""
    found, (subject,) = krl_shim.read_options(words, _KNOWN)
    given = dict(found)
    names = [name for name in given.get("-n", "").split(",") if name]
    return Wish(
        ca_key=Path(given["-s"]),
        subject=Path(subject),
        type=CertificateType.HOST if "-h" in given else CertificateType.USER,
        # Our core writes no spaces into a key ID, and the scripts do not read it.
        key_id=given["-I"].replace(" ", "_"),
        serial=int(given.get("-z", "0")),
        # Nor an IPv6 address as a name; the scripts log in by another.
        principals=tuple(name for name in names if name != "::1"),
        changed="without ::1" if "::1" in names else "",
        # Nor anything for ever.
        validity=given.get("-V", "-1m:+10h"),
        critical_options={
            value.partition("=")[0]: value.partition("=")[2]
            for option, value in found
            if option == "-O"
        },
    )


def certify(wish: Wish) -> Answer:
    """Make the certificate, as far as our core does it."""
    public = wish.subject.with_name(f"{wish.subject.name.removesuffix('.pub')}.pub")
    line = public.read_text()
    if line.startswith("ssh-dss "):
        return Answer("ssh-keygen", "the subject key is a DSA key")
    if wish.ca_key.with_name(f"{wish.ca_key.name}.pub").read_text().startswith("sk-"):
        return Answer("ssh-keygen", "the CA key is a FIDO key")
    ca_key = load_ssh_private_key(wish.ca_key.read_bytes(), None)
    assert isinstance(ca_key, PrivateKey)
    return _sign(wish, FileKey(ca_key), public, line)


def _sign(wish: Wish, ca_key: FileKey, public: Path, line: str) -> Answer:
    subject_key, comment = parse_line(line), line.split(" ", 2)[2].rstrip("\n")
    to_be_signed, why = _to_be_signed(wish, subject_key, ca_key.blob)
    signature = ca_key.sign(to_be_signed)
    ssh_signature.verify(ca_key.blob, signature, to_be_signed)
    made = certificate.complete(to_be_signed, signature)
    file = public.with_name(f"{public.stem}-cert.pub")
    file.unlink(missing_ok=True)
    file.write_text(certificate.render_line(made, comment))
    # The script's own user may have to write over it.
    owner = public.parent.stat()
    os.chown(file, owner.st_uid, owner.st_gid)
    by = "hand" if why else "core"
    return Answer(by, why or wish.changed, wire.Reader(signature).text())


def _to_be_signed(wish: Wish, subject_key: bytes, ca_key: bytes) -> tuple[bytes, str]:
    """Return the bytes, and why the core did not write them as they are."""
    user = wish.type is CertificateType.USER
    valid_after, valid_before = read_validity(wish.validity)
    says = Certificate(
        type=wish.type,
        subject_key=subject_key,
        ca_key=ca_key,
        nonce=os.urandom(certificate.NONCE_BYTES),
        serial=wish.serial,
        key_id=wish.key_id,
        principals=wish.principals or ("nobody",),
        valid_after=valid_after,
        valid_before=valid_before,
        critical_options=wish.critical_options if user else {},
        extensions=_DEFAULT_EXTENSIONS if user else (),
    )
    raw, why = {}, ""
    if not wish.principals:
        raw["principals"], why = texts(), "no principals"
    if not user and wish.critical_options:
        raw["critical_options"] = options(*sorted(wish.critical_options.items()))
        why = "a host certificate with options"
    if raw:
        _see_refusal(by_hand(says, **raw))
        return by_hand(says, **raw), why
    to_be_signed = certificate.render_to_be_signed(says)
    if certificate.parse_to_be_signed(to_be_signed) != says:
        raise AssertionError("what was written reads otherwise")
    return to_be_signed, ""


def _see_refusal(to_be_signed: bytes) -> None:
    with suppress(BadRequest):
        certificate.parse_to_be_signed(to_be_signed)
        raise AssertionError("the core takes what it is said to refuse")


def read_validity(text: str) -> tuple[int, int]:
    """Read ssh-keygen's `-V FROM:TO`, in Unix seconds."""
    valid_after, valid_before = (_read_time(part) for part in text.split(":"))
    return valid_after, valid_before


def _read_time(text: str) -> int:
    relative = re.fullmatch(r"([+-])(\d+)([smhdw]?)", text)
    if relative is None:
        return int(datetime.strptime(text, "%Y%m%d").astimezone().timestamp())
    sign, number, unit = relative.groups()
    distance = timedelta(seconds=int(sign + number) * _UNITS[unit])
    return int(time.time() + distance.total_seconds())
