"""The table of certificates that sshd must let in or refuse, and why.

Each row says what becomes of one certificate on every way in which a host can trust
a CA. `tests/interop/test_login_table.py` holds it against a real sshd.
"""

import getpass
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ca import wire
from ca.certificate import (
    MOST_PRINCIPALS,
    Certificate,
    CertificateType,
    parse_line,
)
from tests.certificates import (
    ThrowawayCA,
    by_hand,
    certificate,
    ed25519_blob,
    options,
    texts,
    with_serial,
)
from tests.sshd import openssh_version

ACCOUNT = getpass.getuser()
ODD = "Az09_.@+-ada@example.com"
"""A principal with every kind of character that we allow."""

# The ways in which a host can trust a CA.
CA_FILE = "TrustedUserCAKeys"
CA_FILE_AND_LIST = "TrustedUserCAKeys and AuthorizedPrincipalsFile"
AUTHORIZED_KEYS = "cert-authority"
AUTHORIZED_KEYS_AND_LIST = "cert-authority and principals="
WAYS = (CA_FILE, CA_FILE_AND_LIST, AUTHORIZED_KEYS, AUTHORIZED_KEYS_AND_LIST)

CA = ThrowawayCA()
OTHER_CA = ThrowawayCA()

# What sshd's log says of a refusal: the same words from 9.2 to 10.5.
EXPIRED = "Certificate invalid: expired"
NOT_YET_VALID = "Certificate invalid: not yet valid"
NOT_A_USER = "Certificate invalid: not a user certificate"
NOT_LISTED = "Certificate invalid: name is not a listed principal"
NOT_AUTHORIZED = "Certificate does not contain an authorized principal"
NO_PRINCIPALS = "Certificate lacks principal list"
BAD_OPTIONS = "Invalid certificate options"
BAD_SOURCE = "Certificate source-address contents invalid"
OTHER_SOURCE = "Refused by certificate options"
UNKNOWN_OPTION = r'Certificate critical option "\S+" is not supported'
EXTRA_DATA = r'Certificate option "\S+" corrupt \(extra data\)'
BAD_SIGNATURE = "parse key: incorrect signature"
BAD_FORMAT = "parse key: invalid format"
NESTED = "parse key: invalid certificate signing key"
NOT_VERIFIED = "ssh_ed25519_verify: "
UNTRUSTED = "Failed publickey for .* CA ED25519 " + re.escape(
    wire.fingerprint(OTHER_CA.key)
)
REASONS = (
    *(EXPIRED, NOT_YET_VALID, NOT_A_USER, NOT_LISTED, NOT_AUTHORIZED, NO_PRINCIPALS),
    *(BAD_OPTIONS, BAD_SOURCE, OTHER_SOURCE, UNKNOWN_OPTION, EXTRA_DATA),
    *(BAD_SIGNATURE, BAD_FORMAT, NESTED, NOT_VERIFIED, UNTRUSTED),
)

Verdict = frozenset[str] | None
IN: Verdict = frozenset()
"""Let in: nothing is said against it."""
UNKNOWN: Verdict = None
"""Depends on which security fixes an old OpenSSH has been given."""
FIXED = openssh_version() >= (10, 3)
"""10.3 no longer takes an empty list for every account (see CVE-2024-7594), nor a
comma in a principal for two principals (CVE-2026-35414)."""


def out(*reasons: str) -> Verdict:
    """Refused, for all these reasons and no other."""
    return frozenset(reasons)


def everywhere(verdict: Verdict) -> Mapping[str, Verdict]:
    """Return the same verdict on every way."""
    return dict.fromkeys(WAYS, verdict)


def by(*, account: Verdict, listed: Verdict) -> Mapping[str, Verdict]:
    """Differ by what a principal must equal: the account, or a line of a list."""
    return dict(zip(WAYS, (account, listed, account, listed), strict=True))


def now() -> int:
    """Return the time that sshd will go by, in Unix seconds."""
    return int(time.time())


def flip_last_bit(data: bytes) -> bytes:
    """Return `data` with its very last bit changed."""
    return data[:-1] + bytes((data[-1] ^ 1,))


@dataclass(frozen=True)
class Bench:
    """A key that logs in, and the certificates made for it."""

    key: Path

    def plain(self, **changes: Any) -> Certificate:
        """Return a certificate that every way lets in, with these fields changed."""
        good = {
            "subject_key": parse_line(self.key.with_suffix(".pub").read_text()),
            "ca_key": CA.key,
            "principals": (ACCOUNT, "deploy"),
            "valid_after": now() - 60,
            "valid_before": now() + 600,
        }
        return certificate(**(good | changes))

    def signed(self, **changes: Any) -> bytes:
        """Return such a certificate, signed by our CA."""
        return CA.certify(self.plain(**changes))

    def forged(self, **raw: bytes) -> bytes:
        """Sign what our own code would never write."""
        return CA.sign(by_hand(self.plain(), **raw))


@dataclass(frozen=True)
class Row:
    """One certificate and what becomes of it."""

    name: str
    make: Callable[[Bench], bytes]
    verdicts: Mapping[str, Verdict]
    answer: str = "asked\n"
    """What is said instead when the certificate forces a command."""
    ours: bool = True
    """Whether our own parser, which verifies no signature, reads it."""


WRONG_NAME = by(account=out(NOT_LISTED), listed=out(NOT_AUTHORIZED))
EMPTY = texts()
MANY = tuple(f"p{number}" for number in range(MOST_PRINCIPALS - 2))

TABLE = (
    Row("good", lambda b: b.signed(), everywhere(IN)),
    Row(
        "named like the account, not like the list",
        lambda b: b.signed(principals=(ACCOUNT,)),
        by(account=IN, listed=out(NOT_AUTHORIZED)),
    ),
    Row(
        "named like the list, not like the account",
        lambda b: b.signed(principals=("deploy",)),
        by(account=out(NOT_LISTED), listed=IN),
    ),
    Row(
        "every character that we allow",
        lambda b: b.signed(principals=(ODD,)),
        by(account=out(NOT_LISTED), listed=IN),
    ),
    Row(
        "as many principals as there may be",
        lambda b: b.signed(principals=(*MANY, ACCOUNT, "deploy")),
        everywhere(IN),
    ),
    Row("wrong principal", lambda b: b.signed(principals=("mallory",)), WRONG_NAME),
    Row(
        "the principal in capitals",
        lambda b: b.signed(principals=(ACCOUNT.upper(), "DEPLOY")),
        WRONG_NAME,
    ),
    Row(
        "the principal and one more character",
        lambda b: b.signed(principals=(f"{ACCOUNT}1", "deploy1")),
        WRONG_NAME,
    ),
    Row(
        "expired this very second",
        lambda b: b.signed(valid_before=now()),
        everywhere(out(EXPIRED)),
    ),
    Row(
        "not yet valid",
        lambda b: b.signed(valid_after=now() + 300),
        everywhere(out(NOT_YET_VALID)),
    ),
    Row(
        "another CA",
        lambda b: OTHER_CA.certify(b.plain()),
        everywhere(out(UNTRUSTED)),
    ),
    Row(
        "another CA that names ours",
        lambda b: OTHER_CA.sign(by_hand(b.plain())),
        everywhere(out(NOT_VERIFIED, BAD_SIGNATURE)),
    ),
    Row(
        "host certificate",
        lambda b: b.signed(type=CertificateType.HOST, extensions=()),
        {
            CA_FILE: out(NOT_A_USER),
            CA_FILE_AND_LIST: out(NOT_A_USER),
            # Here sshd reads the options first, and a host certificate has none.
            AUTHORIZED_KEYS: out(BAD_OPTIONS),
            AUTHORIZED_KEYS_AND_LIST: out(BAD_OPTIONS),
        },
    ),
    Row(
        "stolen, without its private key",
        lambda b: b.signed(subject_key=ed25519_blob()),
        everywhere(out(NOT_VERIFIED)),
    ),
    Row(
        "source-address fits",
        lambda b: b.signed(critical_options={"source-address": "127.0.0.0/8"}),
        everywhere(IN),
    ),
    Row(
        "source-address does not fit",
        lambda b: b.signed(critical_options={"source-address": "192.0.2.0/24"}),
        everywhere(out(OTHER_SOURCE)),
    ),
    Row(
        "source-address with host bits",
        lambda b: b.signed(critical_options={"source-address": "127.0.0.1/8"}),
        everywhere(out(BAD_SOURCE, BAD_OPTIONS)),
    ),
    Row(
        "force-command",
        lambda b: b.signed(critical_options={"force-command": "echo forced"}),
        everywhere(IN),
        answer="forced\n",
    ),
    Row("no extensions", lambda b: b.signed(extensions=()), everywhere(IN)),
    Row(
        "no principals",
        lambda b: b.forged(principals=EMPTY),
        {
            CA_FILE: out(NO_PRINCIPALS),
            CA_FILE_AND_LIST: out(NOT_AUTHORIZED),
            AUTHORIZED_KEYS: out(NO_PRINCIPALS) if FIXED else UNKNOWN,
            AUTHORIZED_KEYS_AND_LIST: out(NOT_AUTHORIZED),
        },
        ours=False,
    ),
    Row(
        "nothing in any field, for ever",
        lambda b: b.forged(
            key_id=wire.text(""),
            principals=EMPTY,
            valid_after=wire.u64(0),
            valid_before=wire.u64(2**64 - 1),
            extensions=options(),
        ),
        {
            CA_FILE: out(NO_PRINCIPALS),
            CA_FILE_AND_LIST: out(NOT_AUTHORIZED),
            AUTHORIZED_KEYS: out(NO_PRINCIPALS) if FIXED else UNKNOWN,
            AUTHORIZED_KEYS_AND_LIST: out(NOT_AUTHORIZED),
        },
        ours=False,
    ),
    Row(
        "an empty principal",
        lambda b: b.forged(principals=texts("")),
        WRONG_NAME,
        ours=False,
    ),
    Row(
        "a star for a principal",
        lambda b: b.forged(principals=texts("*")),
        WRONG_NAME,
        ours=False,
    ),
    Row(
        "a comma in the principal",
        lambda b: b.forged(principals=texts(f"mallory,deploy,{ACCOUNT}")),
        {
            **WRONG_NAME,
            AUTHORIZED_KEYS_AND_LIST: out(NOT_AUTHORIZED) if FIXED else UNKNOWN,
        },
        ours=False,
    ),
    Row(
        "NUL in a principal",
        lambda b: b.forged(principals=texts("deploy\0x", ACCOUNT, "deploy")),
        everywhere(out(BAD_FORMAT)),
        ours=False,
    ),
    Row(
        "one principal too many",
        lambda b: b.forged(principals=texts("extra", *MANY, ACCOUNT, "deploy")),
        everywhere(out(BAD_FORMAT)),
        ours=False,
    ),
    Row(
        "unknown critical option",
        lambda b: b.forged(critical_options=options(("x@example.com", None))),
        everywhere(out(UNKNOWN_OPTION, BAD_OPTIONS)),
        ours=False,
    ),
    Row(
        "permit-pty as a critical option",
        lambda b: b.forged(critical_options=options(("permit-pty", None))),
        everywhere(out(UNKNOWN_OPTION, BAD_OPTIONS)),
        ours=False,
    ),
    Row(
        "permit-pty with data",
        lambda b: b.forged(extensions=options(("permit-pty", "yes"))),
        everywhere(out(EXTRA_DATA, BAD_OPTIONS)),
        ours=False,
    ),
    Row(
        "force-command among the extensions, where sshd ignores it",
        lambda b: b.forged(extensions=options(("force-command", "echo forced"))),
        everywhere(IN),
        ours=False,
    ),
    Row(
        "the CA key is itself a certificate",
        lambda b: b.forged(ca_key=wire.string(b.signed(subject_key=CA.key))),
        everywhere(out(NESTED)),
        ours=False,
    ),
    Row(
        "signature changed",
        lambda b: flip_last_bit(b.signed()),
        everywhere(out(NOT_VERIFIED, BAD_SIGNATURE)),
    ),
    Row(
        "serial changed after signing",
        lambda b: with_serial(b.signed(), 8),
        everywhere(out(NOT_VERIFIED, BAD_SIGNATURE)),
    ),
)
