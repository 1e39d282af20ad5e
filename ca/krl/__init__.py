"""Key revocation lists, both ways.

Format: OpenSSH `PROTOCOL.krl`. Written here and not by `ssh-keygen -k`, because what
that writes sshd cannot always read, and then it lets nobody in
(docs/ssh-keygen-krl.md). Read strictly: what we take, sshd takes.
"""

from ca.krl.key_revocation_list import (
    KRL,
    Extension,
    RevokedCertificates,
    parse_krl,
    render_krl,
)
from ca.krl.serials import Runs, runs_of

__all__ = [
    "KRL",
    "Extension",
    "RevokedCertificates",
    "Runs",
    "parse_krl",
    "render_krl",
    "runs_of",
]
