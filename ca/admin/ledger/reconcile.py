r"""`ca-admin ledger reconcile`: logins whose certificate was never issued.

sshd says of each login by certificate (OpenSSH auth.c, auth2-pubkey.c):

    Accepted publickey for ada from 192.0.2.7 port 55192 ssh2: ED25519-CERT SHA256:…
    ID corp:ada@example.com (serial 17) CA ED25519 SHA256:…

on one line. A serial that is not on the ledger, or is there for another key, means that
somebody else can sign with the CA's key.
"""

import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from ca import wire
from ca.admin.command import (
    DONE,
    DRIFT,
    Options,
    Output,
    Parser,
    add_common,
    config_file,
)
from ca.certificate import parse_line, parse_to_be_signed
from ca.config import load_config
from ca.errors import Misconfigured
from ca.store import Store
from ca.trust import load_roots

# NOTE: greedy up to the last ` (serial`: a key ID may say anything, also a line like
# this one, and what follows the ID is sshd's own.
_LOGIN = re.compile(
    r"Accepted publickey for (?P<account>.*) from (?P<address>\S+) port \d+ ssh2: "
    r"\S+-CERT (?P<key>SHA256:\S+) "
    r"ID (?P<key_id>.*) \(serial (?P<serial>\d{1,20})\) CA \S+ (?P<ca>SHA256:\S+)\s*"
)
_LONGEST = 16_384
"""Characters of one line; sshd's own are cut near 1,000."""


@dataclass(frozen=True, slots=True)
class Login:
    """One login by certificate, as sshd logged it."""

    line: int
    account: str
    address: str
    key: str
    """The subject key's fingerprint."""
    key_id: str
    serial: int
    ca: str
    """The CA key's fingerprint."""


def add_arguments(parser: Parser) -> None:
    """Say what may be typed behind `reconcile`."""
    parser.add_argument("log", metavar="LOGFILE")
    add_common(parser)


def run(options: Options, output: Output) -> int:
    """Hold each login against the ledger; print those that it does not know."""
    config = load_config(config_file(options))
    roots = load_roots(config.roots_file).roots
    ours = {wire.fingerprint(parse_line(key)) for key in roots.user_ca_keys()}
    counts: Counter[str] = Counter()
    store = Store.open(config.database_url, password_file=config.database_password_file)
    try:
        for login in read_logins(_lines(options.log)):
            counts["logins"] += 1
            if login.ca not in ours:
                counts["other_ca"] += 1
            elif (why := _unknown(store, login)) is not None:
                counts["unknown"] += 1
                output.result(*_say(login, why))
    finally:
        store.close()
    document = {name: counts[name] for name in ("logins", "other_ca", "unknown")}
    output.result(
        document,
        f"{counts['logins']} logins by certificate, {counts['other_ca']} of other CAs:"
        f" {counts['unknown'] or 'none'} not on the ledger",
    )
    return DRIFT if counts["unknown"] else DONE


def read_logins(lines: Iterable[str]) -> Iterator[Login]:
    """Yield the logins by certificate that sshd logged."""
    for number, line in enumerate(lines, start=1):
        found = _LOGIN.search(line[:_LONGEST])
        if found is not None:
            yield Login(
                line=number,
                account=found["account"],
                address=found["address"],
                key=found["key"],
                key_id=found["key_id"],
                serial=int(found["serial"]),
                ca=found["ca"],
            )


def _unknown(store: Store, login: Login) -> str | None:
    """Return why this login cannot be by a certificate that is on the ledger."""
    entry = store.entry_by_serial(login.serial)
    if entry is None:
        return f"serial {login.serial} was never issued"
    if entry.to_be_signed is None:  # erased: the serial is all that is known of it
        return None
    says = parse_to_be_signed(entry.to_be_signed)
    if wire.fingerprint(says.subject_key) != login.key:
        return f"serial {login.serial} was issued to another key"
    if says.key_id != login.key_id:
        return f"serial {login.serial} was issued to {says.key_id}"
    return None


def _say(login: Login, why: str) -> tuple[dict[str, object], str]:
    text = (
        f"line {login.line}: {login.account} from {login.address}, key {login.key},"
        f" ID {login.key_id}: {why}"
    )
    return {**asdict(login), "serial": str(login.serial), "why": why}, text


def _lines(name: str) -> Iterator[str]:
    if name == "-":
        yield from sys.stdin
        return
    try:
        with Path(name).open(errors="replace") as file:
            yield from file
    except OSError as error:
        raise Misconfigured(f"cannot read {name}: {error.strerror}") from error
