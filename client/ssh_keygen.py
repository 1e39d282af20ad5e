"""The one program we run: `ssh-keygen` makes keys and checks signatures.

It is there wherever ssh is, takes 5 ms, and spares a laptop a cryptography library.
"""

import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from client import files
from client.failure import Unable, Untrusted

_SECONDS = 20
"""Far longer than it ever takes; a stuck file system ends here."""

_PERSON_SECONDS = 60
"""For a person to type a passphrase, or to find their FIDO key and touch it."""

_SIGNER = "daypass"
"""The name under which `allowed_signers` lists whoever may have signed."""


def generate(path: Path, comment: str) -> None:
    """Make a new Ed25519 key pair: `path` (0600, no passphrase) and `path`.pub."""
    done = _run(["-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(path)])
    if done.returncode:
        raise Unable(f"ssh-keygen cannot make a key in {path.parent}: {_said(done)}")


def sign(message: bytes, *, key: Path, namespace: str, in_hardware: bool) -> str:
    """Return an armoured signature; `key` may be the public half of an agent's key.

    `in_hardware` lets ssh-keygen say that it waits for a touch.
    """
    command = ["-q", "-Y", "sign", "-n", namespace, "-f", str(key)]
    done = _run(command, message, seconds=_PERSON_SECONDS, talks=in_hardware)
    if done.returncode:
        raise Unable(
            f"ssh-keygen cannot sign with {key}: {_said(done)}",
            hint="where the key is in an agent, SSH_AUTH_SOCK must lead to it",
        )
    return done.stdout.decode("ascii", "replace")


def verify(
    message: bytes, *, armour: str, namespace: str, keys: Sequence[str], what: str
) -> None:
    """Raise `Untrusted` unless one of `keys` signed `message` under `namespace`.

    `keys` are `<type> <base64>`; `what` names the document in the error.
    """
    with (
        files.explained("keep a signature to check"),
        tempfile.TemporaryDirectory(prefix="daypass-") as folder,
    ):
        signers, signature = Path(folder, "signers"), Path(folder, "signature")
        signers.write_text(
            "".join(f'{_SIGNER} namespaces="{namespace}" {key}\n' for key in keys)
        )
        signature.write_text(armour)
        files_given = ("-f", str(signers), "-s", str(signature))
        done = _run(
            ["-Y", "verify", "-n", namespace, "-I", _SIGNER, *files_given], message
        )
    if done.returncode:
        raise Untrusted(
            f"the {what} of the CA is not signed by the key it should be",
            hint="do not go on; ask whoever runs the CA",
        )


def verify_certificate(path: Path) -> None:
    """Raise `Untrusted` unless the CA key that a certificate names did sign it.

    OpenSSH verifies that signature whenever it reads a certificate (sshkey.c,
    `cert_parse`), so to have it shown is to have it verified.
    """
    if _run(["-L", "-f", str(path)]).returncode:
        raise Untrusted("the signature on the certificate does not verify")


def reads_krl(path: Path, key: str) -> bool:
    """Say whether OpenSSH here can read a KRL; `key` is any, as `<type> <base64>`.

    It says so by what it says of the key (ssh-keygen.c, `do_check_krl`): with a KRL
    that it cannot read it says nothing of it.
    """
    with (
        files.explained("keep a key to ask about"),
        tempfile.TemporaryDirectory(prefix="daypass-") as folder,
    ):
        public = Path(folder, "key.pub")
        public.write_text(f"{key}\n")
        done = _run(["-Q", "-f", str(path), str(public)])
    return done.returncode in (0, 1) and bool(done.stdout)


def _run(
    arguments: list[str],
    message: bytes = b"",
    *,
    seconds: float = _SECONDS,
    talks: bool = False,
) -> subprocess.CompletedProcess[bytes]:
    """Run ssh-keygen; what it says to a person is shown only where it `talks`."""
    command = ["ssh-keygen", *arguments]
    try:
        return subprocess.run(  # noqa: S603 no shell; paths and keys of our own
            command,
            input=message,
            stdout=subprocess.PIPE,
            stderr=None if talks else subprocess.PIPE,
            check=False,
            timeout=seconds,
        )
    except FileNotFoundError as error:
        raise Unable(
            "ssh-keygen is not installed", hint="install OpenSSH's client programs"
        ) from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unable("ssh-keygen cannot be run, or does not end") from error


def _said(done: subprocess.CompletedProcess[bytes]) -> str:
    said = (done.stderr or b"").decode(errors="replace").strip()
    return said or f"exit {done.returncode}"
