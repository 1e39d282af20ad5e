"""`ca-admin revoke`: end access now, on every host that pulls, and say where."""

from datetime import UTC, datetime, timedelta

import msgspec

from ca.admin.certificates import moment
from ca.admin.command import (
    DONE,
    Misuse,
    Options,
    Output,
    Parser,
    add_common,
    config_file,
)
from ca.admin.waiting import wait_for_hosts
from ca.administration import Person, RevocationRequest, RevocationResponse
from ca.authority import Authority, open_authority
from ca.bundle import parse_current, split_signed
from ca.certificate import parse_line
from ca.config import Config, load_config
from ca.errors import CAError, Misconfigured
from ca.policy.durations import parse_duration
from ca.revoke import operator, revoke

HELP = """\
usage: ca-admin revoke WHAT --reason WHY [--dry-run] [--wait [--timeout T]]

End access before it ends by itself. WHAT is one of these; what was bought with a
certificate goes with it:

  --person P        a verified e-mail address, or else a subject. They are blocked, too:
                    no signer gives them anything until `ca-admin block lift`
  --subject S       a subject that looks like an address
  --issuer NAME     of --person and --subject: whose; needed where there are several
  --key KEY         a subject key: its .pub file, or its fingerprint SHA256:...; it is
                    blocked, too, whoever brings it
  --serial N        one certificate
  --key-id ID       the certificates with this key ID; blocks nobody
  --issued-between FROM TO
                    everything put on record from one time until before the other
  --ca-key KEY      a CA key of ours: all that it signed, or ever will. Signers refuse
                    to use it from then on: name another one in the configuration first

  --reason WHY      goes on record, with who and when
  --dry-run         say what it would cut, and change nothing
  --wait            until every host has reported it; names those that have not
  --timeout T       how long, such as 90s or 10m (5m unless said otherwise)

  --config FILE     the configuration; also $DAYPASS_CONFIG
  --json            one JSON object a line

Times are 2026-11-22, 2026-11-22T08:00 (UTC), or how long ago: 12h, 7d, now.
A session that is open stays open: end those on the host.

examples:
  ca-admin revoke --person ada@example.com --reason 'laptop stolen' --wait
  ca-admin revoke --person ada@example.com --reason 'laptop stolen' --dry-run
  ca-admin revoke --serial 17 --reason 'wrong principal'
  ca-admin revoke --key ada.pub --reason 'found on a server'
  ca-admin revoke --issued-between 2026-11-22T08:00 now --reason 'CA key was stolen'

exit codes: 0 done, and with --wait in force at every host; 1 failed, nothing to revoke,
or not at every host in time; 2 misuse
"""

_DEFAULT_TIMEOUT = "5m"
_LONGEST_TIMEOUT = timedelta(days=1)
_WHAT = (
    "person",
    "subject",
    "key",
    "serial",
    "key_id",
    "issued_between",
    "ca_key",
)


def add_arguments(parser: Parser) -> None:
    """Say what may be typed behind `revoke`."""
    for name in ("person", "subject", "issuer", "key", "serial", "key-id", "ca-key"):
        parser.add_argument(f"--{name}")
    parser.add_argument("--issued-between", nargs=2, metavar=("FROM", "TO"))
    parser.add_argument("--reason", required=True)
    parser.add_argument("--dry-run", action="store_true")
    parser.add_argument("--wait", action="store_true")
    parser.add_argument("--timeout", default=_DEFAULT_TIMEOUT)
    add_common(parser)


def run(options: Options, output: Output) -> int:
    """Revoke, publish, and wait for the hosts if asked to."""
    now = datetime.now(UTC)
    config = load_config(config_file(options))
    request, seconds = _request(options, config, now=now), _timeout(options.timeout)
    authority = open_authority(config)
    try:
        done = revoke(authority, request, operator(), now=now)
        if done.index is None:
            output.result(msgspec.to_builtins(done), f"would cut {_what(done)}")
            return DONE
        output.result(
            msgspec.to_builtins(done),
            f"cut {_what(done)}; entry {done.index} of the ledger says so",
        )
        version = _publish(authority, now=now)
        if not options.wait:
            output.note(f"hosts have it with version {version} of the trust bundle")
            return DONE
        return wait_for_hosts(
            authority, version, ends=done.ends, seconds=seconds, output=output
        )
    finally:
        authority.store.close()


def _publish(authority: Authority, *, now: datetime) -> int:
    """Publish what is revoked now; return the version of the bundle that says it."""
    text, _ = split_signed(authority.trust.current(now=now))
    problems = authority.trust.problems()
    if problems:
        raise Misconfigured(
            f"it is on record and in force at all signers, but not at hosts:"
            f" {'; '.join(problems)}",
            hint="the signer publishes it as soon as that is mended",
        )
    return parse_current(text).version


# --- What is typed ------------------------------------------------------------------


def _request(options: Options, config: Config, *, now: datetime) -> RevocationRequest:
    given = [name for name in _WHAT if getattr(options, name) is not None]
    if len(given) != 1:
        raise Misuse("say what to revoke, and one thing only", hint=_HELP)
    between = options.issued_between
    fields: dict[str, object] = {
        "reason": options.reason,
        "dry_run": options.dry_run,
        "serial": options.serial,
        "key_id": options.key_id,
        "person": person_in(options, config),
        "key": key_in(options.key),
        "ca_key": key_in(options.ca_key),
        "issued_between": between and [_second(text, now=now) for text in between],
    }
    try:
        return msgspec.convert(fields, RevocationRequest)
    except msgspec.ValidationError as error:
        raise Misuse(str(error), hint=_HELP) from error


_HELP = "ca-admin revoke --help"


def person_in(options: Options, config: Config) -> Person | None:
    """Return the person that was named, or None."""
    issuers = [issuer.name for issuer in config.issuers]
    named = options.person or options.subject
    if named is None:
        return None
    if options.issuer is None and len(issuers) > 1:
        raise Misuse(
            f"there are several issuers: {', '.join(issuers)}",
            hint=f"ca-admin {options.command} --issuer NAME …",
        )
    issuer = options.issuer or issuers[0]
    if options.subject is None and "@" in named:
        return Person(issuer=issuer, email=named)
    return Person(issuer=issuer, subject=named)


def key_in(text: str | None) -> str | None:
    """Return a fingerprint as it is, or the line in a public key's file."""
    if text is None or text.startswith("SHA256:"):
        return text
    try:
        with open(text, encoding="utf-8") as file:  # noqa: PTH123 (its errors are ours)
            line = file.read().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise Misuse(
            f"{text}: not a public key file, nor a fingerprint SHA256:…"
        ) from error
    try:
        parse_line(line)
    except CAError as error:
        raise Misuse(f"{text}: {error.detail}") from error
    return line


def _second(text: str, *, now: datetime) -> int:
    found = now if text == "now" else moment(text, now=now)
    assert found is not None  # noqa: S101 (there is a text)
    return int(found.timestamp())


def _timeout(text: str) -> float:
    try:
        return parse_duration(text, most=_LONGEST_TIMEOUT).total_seconds()
    except Misconfigured as error:
        raise Misuse(f"--timeout: {error.detail}", hint=error.hint) from error


# --- What is answered ---------------------------------------------------------------


def _what(done: RevocationResponse) -> str:
    count = f"{done.certificates} live certificate{'s' * (done.certificates != 1)}"
    people = f"{done.people} {'person' if done.people == 1 else 'people'}"
    if done.ends is None:
        return f"{count} of {people}"
    ends = datetime.fromtimestamp(done.ends, UTC)
    return f"{count} of {people}, good until {ends:%Y-%m-%dT%H:%M:%SZ} at most"
