"""Whether the certificate is good now: `ca-login check`, as fast as Python starts.

ssh asks at every connection, so this reads the certificate and nothing else, and
imports nothing that a Python does not have from its start but `binascii` and `time`.
It looks at the type and the times and proves nothing: sshd does that. `ca.certificate`
is the real parser; a test compares the two.
"""

import binascii
import os
import time

_LARGEST = 1 << 16
"""Bytes; sshd takes no larger certificate."""

_KEY_FIELDS = {
    b"ssh-ed25519": 1,
    b"ssh-rsa": 2,
    b"ecdsa-sha2-nistp256": 2,
    b"ecdsa-sha2-nistp384": 2,
    b"ecdsa-sha2-nistp521": 2,
    b"sk-ssh-ed25519": 2,
    b"sk-ecdsa-sha2-nistp256": 3,
}
"""Strings that a subject key has, as in `ca.certificate.KEY_FIELDS`."""

_USER = 1

APART = "CA_LOGIN_APART"
"""Set for an ssh that is to offer another certificate than that of the day."""

MARGIN = 60
"""Seconds that a certificate must still be good for, for a login that only begins."""


def answer(command: str, arguments: list[str]) -> int | None:
    """Return the exit code of `check` or `ensure`; None where there is more to do."""
    match arguments:
        case []:
            name = None
        case ["--profile", name] if name.replace("-", "").replace("_", "").isalnum():
            pass
        case _:
            return None
    if command == "check":
        return 0 if is_good(certificate_of(name)) else 3
    if os.environ.get(APART):
        return 4
    path = certificate_of(name)
    return 0 if is_good(path, for_seconds=MARGIN) and not _in_agent(path) else None


def _in_agent(path: str) -> bool:
    """Say whether the key is a link to its public half: then only an agent has it."""
    folder, _, name = path[: -len("-cert.pub")].rpartition("/")
    try:
        return os.readlink(f"{folder}/.{name}/key") == "key.pub"  # noqa: PTH115 as above
    except OSError:
        return False


def is_good(path: str, *, for_seconds: float = 0) -> bool:
    """Say whether a user certificate is there that is good now and for a while."""
    valid_after, valid_before = validity_in(path) or (0, 0)
    now = time.time()
    return valid_after <= now and now + for_seconds < valid_before


def validity_in(path: str) -> tuple[int, int] | None:
    """Return the validity of the user certificate in a file, if there is one."""
    try:
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123 pathlib takes long
            return read_validity(file.read(_LARGEST))
    except (OSError, ValueError):
        return None


def certificate_of(name: str | None) -> str:
    """Return where the certificate of a profile is; of the one that suits for none."""
    home = os.path.expanduser("~")  # noqa: PTH111 as above
    folder = f"{home}/.ssh/daypass"
    return f"{folder}/{name or _choose(folder, home)}-cert.pub"


def _choose(folder: str, home: str) -> str:
    """Choose as `client.profile` does: `default`, else the only one there is."""
    if os.path.exists(f"{folder}/default-cert.pub"):  # noqa: PTH110 as above
        return "default"
    base = os.environ.get("XDG_CONFIG_HOME", "")
    config = base if base.startswith("/") else f"{home}/.config"
    try:
        names = [n[:-5] for n in os.listdir(f"{config}/daypass") if n.endswith(".json")]  # noqa: PTH208 as above
    except OSError:
        names = []
    return names[0] if len(names) == 1 else "default"


def read_validity(line: bytes) -> tuple[int, int]:
    """Return from when until when a user certificate is good; raise `ValueError`."""
    name, encoded = line.split(None, 2)[:2]
    blob = binascii.a2b_base64(encoded)
    key_type = name.removesuffix(b"-cert-v01@openssh.com")
    if key_type not in _KEY_FIELDS or key_type == name:
        raise ValueError("not a certificate")
    at = 0
    # Its type, a nonce, the key.
    for _ in range(2 + _KEY_FIELDS[key_type]):
        at = _skip(blob, at)
    at += 8  # the serial
    if int.from_bytes(blob[at : at + 4]) != _USER:
        raise ValueError("not a user certificate")
    # Key ID and principals.
    at = _skip(blob, _skip(blob, at + 4))
    if at + 16 > len(blob):
        raise ValueError("it ends early")
    return int.from_bytes(blob[at : at + 8]), int.from_bytes(blob[at + 8 : at + 16])


def _skip(blob: bytes, at: int) -> int:
    """Return where the string that begins at `at` has ended."""
    end = at + 4 + int.from_bytes(blob[at : at + 4])
    if end > len(blob):
        raise ValueError("it ends early")
    return end
