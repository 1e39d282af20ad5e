"""The trust bundle: made, judged and published.

roots        the operator's file, signed by the root key
revocations  what is revoked, as a KRL
gate         nothing passes that OpenSSH would read otherwise than it was meant
stand_in     throw-away keys, of which the gate's samples are
history      what was published before
publish      `Trust`: the bundle as a signer serves it
"""

from ca.trust.publish import LIFE, REFRESH, Trust
from ca.trust.roots import (
    SignedRoots,
    load_roots,
    parse_signed_roots,
    require_active,
    sign_roots,
)

__all__ = [
    "LIFE",
    "REFRESH",
    "SignedRoots",
    "Trust",
    "load_roots",
    "parse_signed_roots",
    "require_active",
    "sign_roots",
]
