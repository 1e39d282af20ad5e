"""The one program we run: `ssh-keygen` makes keys and checks signatures.

It is there wherever ssh is, takes 5 ms, and spares a laptop a cryptography library.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from client import files, program
from client.failure import Unable, Untrusted
from client.program import Done

_SECONDS = 20
"""Far longer than it ever takes; a stuck file system ends here."""

_PERSON_SECONDS = 60
"""For a person to type a passphrase, or to find their FIDO key and touch it."""

_LONGEST_KEY = 1 << 14
"""Bytes; an Ed25519 key takes four hundred."""

_SIGNER = "daypass"
"""The name under which `allowed_signers` lists whoever may have signed."""


def generate(path: Path, comment: str) -> None:
    """Make a new Ed25519 key pair: `path` (0600, no passphrase) and `path`.pub."""
    done = _run(["-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(path)])
    if done.status:
        raise Unable(f"ssh-keygen cannot make a key in {path.parent}: {_said(done)}")


def generate_in_memory(path: Path, comment: str) -> bytes:
    """Make a key pair whose private half is only returned; write `path`.pub.

    `path` is a pipe for as long as it takes: nothing of the key reaches a disk.
    """
    if not hasattr(os, "mkfifo"):
        raise Unable(
            "this system has no pipes with a name, so the key would be in a file",
            hint="ca-login --agent auto",
        )
    with files.explained(f"make a pipe in {path.parent}"):
        os.mkfifo(path, 0o600)
        reading = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        # It asks whether to write over what is there.
        command = ["-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(path)]
        done = _run(command, b"y\n")
        secret = os.read(reading, _LONGEST_KEY)
    finally:
        os.close(reading)
        path.unlink()
    if done.status or not secret:
        raise Unable(f"ssh-keygen cannot make a key in {path.parent}: {_said(done)}")
    return secret


def sign(message: bytes, *, key: Path, namespace: str, in_hardware: bool) -> str:
    """Return an armoured signature; `key` may be the public half of an agent's key.

    `in_hardware` lets ssh-keygen say that it waits for a touch.
    """
    command = ["-q", "-Y", "sign", "-n", namespace, "-f", str(key)]
    done = _run(command, message, seconds=_PERSON_SECONDS, talks=in_hardware)
    if done.status:
        raise Unable(
            f"ssh-keygen cannot sign with {key}: {_said(done)}",
            hint="where the key is in an agent, SSH_AUTH_SOCK must lead to it",
        )
    return done.out.decode("ascii", "replace")


def verify(
    message: bytes, *, armour: str, namespace: str, keys: Sequence[str], what: str
) -> None:
    """Raise `Untrusted` unless one of `keys` signed `message` under `namespace`.

    `keys` are `<type> <base64>`; `what` names the document in the error.
    """
    listed = "".join(f'{_SIGNER} namespaces="{namespace}" {key}\n' for key in keys)
    with files.explained("keep a signature to check"), files.scratch() as folder:
        signers, signature = folder / "signers", folder / "signature"
        files.create(signers, listed.encode(), durable=False)
        files.create(signature, armour.encode(), durable=False)
        files_given = ("-f", str(signers), "-s", str(signature))
        done = _run(
            ["-Y", "verify", "-n", namespace, "-I", _SIGNER, *files_given], message
        )
    if done.status:
        raise Untrusted(
            f"the {what} of the CA is not signed by the key it should be",
            hint="do not go on; ask whoever runs the CA",
        )


def verify_certificate(path: Path) -> None:
    """Raise `Untrusted` unless the CA key that a certificate names did sign it.

    OpenSSH verifies that signature whenever it reads a certificate (sshkey.c,
    `cert_parse`), so to have it shown is to have it verified.
    """
    if _run(["-L", "-f", str(path)]).status:
        raise Untrusted("the signature on the certificate does not verify")


def reads_krl(path: Path, key: str) -> bool:
    """Say whether OpenSSH here can read a KRL; `key` is any, as `<type> <base64>`.

    It says so by what it says of the key (ssh-keygen.c, `do_check_krl`): with a KRL
    that it cannot read it says nothing of it.
    """
    with files.explained("keep a key to ask about"), files.scratch() as folder:
        public = folder / "key.pub"
        files.create(public, f"{key}\n".encode(), durable=False)
        done = _run(["-Q", "-f", str(path), str(public)])
    return done.status in (0, 1) and bool(done.out)


def is_revoked(certificate: Path, krl: Path) -> bool:
    """Say whether a KRL that OpenSSH can read revokes a certificate."""
    done = _run(["-Q", "-f", str(krl), str(certificate)])
    return done.status == 1 and b"REVOKED" in done.out


def _run(
    arguments: list[str],
    message: bytes = b"",
    *,
    seconds: float = _SECONDS,
    talks: bool = False,
) -> Done:
    """Run ssh-keygen; what it says to a person is shown only where it `talks`."""
    command = ["ssh-keygen", *arguments]
    try:
        return program.run(command, message, seconds=seconds, talks=talks)
    except FileNotFoundError as error:
        raise Unable(
            "ssh-keygen is not installed", hint="install OpenSSH's client programs"
        ) from error
    except (OSError, program.TakesTooLong) as error:
        raise Unable("ssh-keygen cannot be run, or does not end") from error


def _said(done: Done) -> str:
    said = done.err.decode(errors="replace").strip()
    return said or f"exit {done.status}"
