"""`ca-admin certificates list | show`: who got what, from the ledger."""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import islice

from ca import wire
from ca.admin.command import (
    DONE,
    Misuse,
    Options,
    Output,
    Parser,
    add_common,
    config_file,
)
from ca.certificate import (
    CERTIFICATE_SUFFIX,
    Certificate,
    CertificateType,
    split_key,
)
from ca.config import load_config
from ca.errors import Misconfigured, NotFound
from ca.issued import Issued, Wanted, find
from ca.policy.durations import parse_duration
from ca.store import Store

HELP = """\
usage: ca-admin certificates list [FILTERS]
       ca-admin certificates show SERIAL

  list       certificates on record, newest first, one a line: serial, when it was put
             on record, until when it is good, its state, key ID, principals
  show       one of them: what it says, as ssh-keygen -L prints it, and its record

  --person P        of a key ID, a verified e-mail address or a subject, exactly
  --principal P     that can log in as this account, or are for this host
  --live            good now, and not revoked
  --since T         put on record since 2026-11-22, 2026-11-22T08:00 (UTC), 12h or 7d
  --until T         put on record before
  --serial N        with this serial
  --limit N         no more than N

  --config FILE     the configuration; also $DAYPASS_CONFIG
  --json            one JSON object a line

Opens the database alone: neither keys nor policy have to be readable. What was erased
is listed with its serial and time.

examples:
  ca-admin certificates list --live
  ca-admin certificates list --live --principal root
  ca-admin certificates list --person ada@example.com --since 7d --json
  ca-admin certificates show 17

exit codes: 0 done, 1 failed, of show: not on record; 2 misuse
"""

_FOREVER = timedelta(days=36_500)
_SERIAL = re.compile(r"[0-9]{1,20}", re.ASCII)


def add_arguments(parser: Parser) -> None:
    """Say what may be typed behind `certificates`."""
    actions = parser.add_subparsers(dest="action", required=True)
    every = actions.add_parser("list", allow_abbrev=False)
    for name in ("person", "principal", "since", "until", "serial", "limit"):
        every.add_argument(f"--{name}")
    every.add_argument("--live", action="store_true")
    one = actions.add_parser("show", allow_abbrev=False)
    one.add_argument("serial", metavar="SERIAL")
    for action in (every, one):
        action.help_text = HELP
        add_common(action)


def run(options: Options, output: Output) -> int:
    """List or show."""
    return _ACTIONS[options.action](options, output)


def _list(options: Options, output: Output) -> int:
    now = datetime.now(UTC)
    wanted = Wanted(
        person=options.person,
        principal=options.principal,
        since=moment(options.since, now=now),
        until=moment(options.until, now=now),
        live=options.live,
        serial=_number("--serial", options.serial),
    )
    limit = _number("--limit", options.limit)
    with _store(options) as store:
        for issued in islice(find(store, wanted, now=now), limit):
            output.result(_summary(issued, now=now), _line(issued, now=now))
    return DONE


def _show(options: Options, output: Output) -> int:
    now = datetime.now(UTC)
    serial = _number("SERIAL", options.serial)
    with _store(options) as store:
        issued = next(find(store, Wanted(serial=serial), now=now), None)
    if issued is None:
        raise NotFound(
            f"no certificate with serial {serial} is on record",
            hint="ca-admin certificates list",
        )
    document = {
        **_summary(issued, now=now),
        "index": issued.stored.index,
        "leaf": json.loads(issued.stored.leaf),
        **_details(issued.certificate),
        "record": issued.record,
    }
    output.result(document, _page(issued, now=now))
    return DONE


@contextmanager
def _store(options: Options) -> Iterator[Store]:
    config = load_config(config_file(options))
    store = Store.open(config.database_url, password_file=config.database_password_file)
    try:
        yield store
    finally:
        store.close()


# --- What is typed ------------------------------------------------------------------


def _number(name: str, text: str | None) -> int | None:
    if text is None:
        return None
    if _SERIAL.fullmatch(text) is None:
        raise Misuse(f"{name} {text}: not a number", hint=_HELP)
    return int(text)


_HELP = "ca-admin certificates --help"


def moment(text: str | None, *, now: datetime) -> datetime | None:
    """Read a date, a time in UTC, or how long ago."""
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return now - _length(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _length(text: str) -> timedelta:
    try:
        return parse_duration(text, most=_FOREVER)
    except Misconfigured as error:
        raise Misuse(
            f"{text!r} is neither a time nor how long ago",
            hint="write 2026-11-22, 2026-11-22T08:00, 12h or 7d",
        ) from error


# --- What is answered ---------------------------------------------------------------


def _summary(issued: Issued, *, now: datetime) -> dict[str, object]:
    certificate = issued.certificate
    said = ("key_id", "principals", "valid_after", "valid_before")
    return {
        "serial": str(issued.stored.serial),
        "time": issued.stored.time,
        "kind": issued.stored.kind,
        "state": issued.state(now=now),
        **{name: getattr(certificate, name, None) for name in said},
    }


def _line(issued: Issued, *, now: datetime) -> str:
    stored, certificate = issued.stored, issued.certificate
    ends, key_id, principals = "-", "-", "-"
    if certificate is not None:
        ends, key_id = _utc(certificate.valid_before), certificate.key_id
        principals = ",".join(certificate.principals)
    state = issued.state(now=now)
    words = (str(stored.serial), _utc(stored.time), ends, state, key_id, principals)
    return "  ".join(words)


def _utc(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"


def _details(certificate: Certificate | None) -> dict[str, object]:
    if certificate is None:
        return {}
    return {
        "subject_key": wire.fingerprint(certificate.subject_key),
        "ca_key": wire.fingerprint(certificate.ca_key),
        "critical_options": dict(certificate.critical_options),
        "extensions": certificate.extensions,
    }


def _page(issued: Issued, *, now: datetime) -> str:
    stored, certificate = issued.stored, issued.certificate
    lines = [
        f"serial {stored.serial}, {stored.kind}, {issued.state(now=now)}",
        f"on record since {_utc(stored.time)}, entry {stored.index} of the ledger",
    ]
    if certificate is None:
        lines.append("what it said and whom it was for was erased")
    else:
        lines.extend(_as_ssh_keygen(certificate))
    if issued.record is not None:
        record = json.dumps(issued.record, indent=2, sort_keys=True, ensure_ascii=False)
        lines.extend(["record:", record])
    return "\n".join(lines)


def _as_ssh_keygen(certificate: Certificate) -> Iterator[str]:
    """Write what a certificate says in the words of `ssh-keygen -L`; times in UTC."""
    key_type = split_key(certificate.subject_key)[0]
    kind = "user" if certificate.type is CertificateType.USER else "host"
    full_type = key_type.removesuffix("@openssh.com") + CERTIFICATE_SUFFIX
    subject = wire.fingerprint(certificate.subject_key)
    ca_type = _short(split_key(certificate.ca_key)[0])
    yield f"        Type: {full_type} {kind} certificate"
    yield f"        Public key: {_short(key_type)}-CERT {subject}"
    yield f"        Signing CA: {ca_type} {wire.fingerprint(certificate.ca_key)}"
    yield f'        Key ID: "{certificate.key_id}"'
    yield f"        Serial: {certificate.serial}"
    ends = (certificate.valid_after, certificate.valid_before)
    yield "        Valid: from {} to {}".format(*map(_utc, ends))
    options = [f"{k} {v}".rstrip() for k, v in certificate.critical_options.items()]
    yield from _section("Principals", certificate.principals)
    yield from _section("Critical Options", sorted(options))
    yield from _section("Extensions", certificate.extensions)


def _section(name: str, values: tuple[str, ...] | list[str]) -> Iterator[str]:
    yield f"        {name}: " + ("" if values else "(none)")
    for value in values:
        yield f"                {value}"


def _short(key_type: str) -> str:
    """Return the name that OpenSSH prints for a key type: `ED25519`, `ECDSA-SK`."""
    suffix = "-SK" if key_type.startswith("sk-") else ""
    return (
        next(k for k in ("ed25519", "ecdsa", "rsa") if k in key_type).upper() + suffix
    )


_ACTIONS: Mapping[str, Callable[[Options, Output], int]] = {
    "list": _list,
    "show": _show,
}
