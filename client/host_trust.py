"""Which hosts ssh may believe, as the verified trust bundle says it.

    ~/.ssh/daypass/NAME.known_hosts      the host CA keys, each for its own domains
    ~/.ssh/daypass/NAME.revoked_hosts    the KRL

Both are there from the first sign-in on: ssh refuses every host where the file that
RevokedHostKeys names is missing or cannot be read. The KRL comes first: a host is never
believed by a new host CA key before what is revoked is known.
"""

import hashlib
from pathlib import Path

from ca import bundle
from client import files, ssh_keygen
from client.api import CA, LARGEST_KRL, Bundle
from client.profile import Profile
from client.ssh_config import known_hosts_of, revoked_hosts_of
from client.terminal import Terminal

_HEADER = b"# Written by ca-login at each sign-in: whom the CA has certify hosts.\n"


def refresh(ca: CA, chosen: Profile, verified: Bundle, terminal: Terminal) -> None:
    """Bring both files up to what the bundle says; leave alone what says it already."""
    _refresh_krl(ca, revoked_hosts_of(chosen), verified, terminal)
    known = known_hosts_of(chosen)
    lines = known_hosts(verified.roots)
    if files.read(known) != lines:
        terminal.step(f"write {known}")
        files.write(known, lines)


def known_hosts(roots: bundle.Roots) -> bytes:
    """Return the lines of a known-hosts file (sshd(8), SSH_KNOWN_HOSTS FILE FORMAT).

    A key without domains speaks for nobody; `*` the roots cannot say.
    """
    return _HEADER + b"".join(
        f"@cert-authority {','.join(one.domains)} {one.key}\n".encode()
        for one in roots.host_ca
        if one.domains
    )


def _refresh_krl(ca: CA, path: Path, verified: Bundle, terminal: Terminal) -> None:
    present = files.read(path, LARGEST_KRL)
    wanted = verified.current.krl_sha256
    if present is not None and hashlib.sha256(present).hexdigest() == wanted:
        return
    terminal.step(f"write {path}")
    content = ca.krl(verified)
    new = files.aside(path)
    try:
        files.make_private(path.parent)
        with files.explained(f"write {path}"):
            files.create(new, content)
        if ssh_keygen.reads_krl(new, verified.roots.root_key):
            with files.explained(f"write {path}"):
                new.replace(path)
                files.sync(path.parent)
            return
    finally:
        with files.explained(f"remove {new}"):
            new.unlink(missing_ok=True)
    terminal.warn(
        "this machine's OpenSSH cannot read the CA's list of revoked hosts; tell"
        " whoever runs the CA"
    )
    if present is None:
        files.write(path, b"")
