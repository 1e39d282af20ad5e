"""`ca-admin hosts`: which hosts there are, how they are, who may join, who has left."""

import getpass
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import msgspec

from ca.admin.command import (
    DONE,
    Misuse,
    Options,
    Output,
    Parser,
    add_common,
    config_file,
)
from ca.authority import Authority, open_authority
from ca.config import Config, load_config
from ca.errors import Misconfigured, NotFound
from ca.hosts import forget_hosts, make_join_token, status_of
from ca.hosts.joining import LONGEST_TOKEN
from ca.messages import HostStatus
from ca.policy.durations import parse_duration
from ca.store import Store

HELP = """\
usage: ca-admin hosts list | show ID | forget ID... | join-token [OPTIONS]

  list         the hosts, one a line: id, state, the version of the trust bundle that it
               last reported, how long ago, its names, and what is wrong with it
  show         all that is known of one, with its keys
  forget       it is gone, or has new keys: nothing waits for it any more, and it gets
               no host certificates. Those that it has stay good: revoke them
  join-token   print a secret with which one machine registers itself, once, as
               cloud-init would: keep it as one keeps a password

  --all         of list: those that are forgotten, too
  --id ID       of join-token: for this host alone; else for any new one
  --name NAME   of join-token: a name that its certificates may have; again for more
  --expires T   of join-token: until then it is good (1h unless said otherwise)

  --config FILE     the configuration; also $DAYPASS_CONFIG
  --json            one JSON object a line

list and show open the database alone: neither keys nor policy have to be readable.

examples:
  ca-admin hosts list
  ca-admin hosts show web1
  ca-admin hosts forget web1 web2
  ca-admin hosts join-token --id web3 --name web3.example.com --expires 30m

exit codes: 0 done, 1 failed, of show and forget: no such host; 2 misuse
"""


def add_arguments(parser: Parser) -> None:
    """Say what may be typed behind `hosts`."""
    actions = parser.add_subparsers(dest="action", required=True)
    every = actions.add_parser("list", allow_abbrev=False)
    every.add_argument("--all", action="store_true")
    one = actions.add_parser("show", allow_abbrev=False)
    one.add_argument("id", metavar="ID")
    gone = actions.add_parser("forget", allow_abbrev=False)
    gone.add_argument("ids", metavar="ID", nargs="+")
    token = actions.add_parser("join-token", allow_abbrev=False)
    token.add_argument("--id")
    token.add_argument("--name", action="append", default=[])
    token.add_argument("--expires", default="1h")
    for action in (every, one, gone, token):
        action.help_text = HELP
        add_common(action)


def run(options: Options, output: Output) -> int:
    """Do one of the four."""
    return _ACTIONS[options.action](options, output)


def _list(options: Options, output: Output) -> int:
    for status in _statuses(options, forgotten=options.all):
        output.result(msgspec.to_builtins(status), _line(status))
    return DONE


def _show(options: Options, output: Output) -> int:
    found = (s for s in _statuses(options, forgotten=True) if s.id == options.id)
    status = next(found, None)
    if status is None:
        raise NotFound(
            f"no host {options.id} is registered", hint="ca-admin hosts list --all"
        )
    output.result(msgspec.to_builtins(status), "\n".join(_page(status)))
    return DONE


def _forget(options: Options, output: Output) -> int:
    ids = sorted(set(options.ids))
    with _authority(options) as authority:
        forget_hosts(authority, ids, _by(), now=datetime.now(UTC))
    output.result({"forgotten": ids}, f"forgotten: {', '.join(ids)}")
    return DONE


def _join_token(options: Options, output: Output) -> int:
    try:
        life = parse_duration(options.expires, most=LONGEST_TOKEN)
    except Misconfigured as error:
        raise Misuse(f"--expires: {error.detail}", hint=error.hint) from error
    now = datetime.now(UTC)
    with _authority(options) as authority:
        token = make_join_token(
            authority,
            host=options.id,
            names=tuple(options.name),
            life=life,
            by=_by(),
            now=now,
        )
    expires = int((now + life).timestamp())
    output.result({"token": token, "expires": expires}, token)
    output.note(f"ca-admin: good for one host, until {_utc(expires)}")
    return DONE


def _by() -> Mapping[str, object]:
    return {"identity": None, "by": getpass.getuser()}


@contextmanager
def _authority(options: Options) -> Iterator[Authority]:
    authority = open_authority(load_config(config_file(options)))
    try:
        yield authority
    finally:
        authority.store.close()


def _statuses(options: Options, *, forgotten: bool) -> list[HostStatus]:
    config, now = load_config(config_file(options)), datetime.now(UTC)
    store = _open_store(config)
    try:
        newest = store.newest_current()
        return [
            status_of(host, config.hosts, newest, now=now)
            for host in store.hosts.every(forgotten=forgotten)
        ]
    finally:
        store.close()


def _open_store(config: Config) -> Store:
    return Store.open(config.database_url, password_file=config.database_password_file)


def _line(status: HostStatus) -> str:
    words = (
        status.id,
        status.state,
        str(status.current_version) if status.current_version else "never",
        _age(status.seen),
        ",".join(status.names) or "-",
        "; ".join((*status.alarms, *_remarks(status))) or "-",
    )
    return "  ".join(words)


def _remarks(status: HostStatus) -> tuple[str, ...]:
    return () if status.pulls else ("does not pull",)


def _page(status: HostStatus) -> Iterator[str]:
    yield f"host        {status.id}, {status.state}"
    yield f"registered  {_utc(status.registered)}, entry {status.entry} of the ledger"
    yield f"last seen   {_utc(status.seen)}, {_age(status.seen)} ago"
    yield f"roots       version {status.roots_version or 'never reported'}"
    yield f"current     version {status.current_version or 'never reported'}"
    yield f"pulls       {'yes' if status.pulls else 'no'}"
    for name in status.names:
        yield f"name        {name}"
    for key in status.keys:
        yield f"key         {key}"
    for alarm in status.alarms:
        yield f"alarm       {alarm}"


def _age(moment: int) -> str:
    seconds = max(0, int(datetime.now(UTC).timestamp()) - moment)
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def _utc(seconds: int) -> str:
    moment = datetime.fromtimestamp(0, UTC) + timedelta(seconds=seconds)
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


_ACTIONS: Mapping[str, Callable[[Options, Output], int]] = {
    "list": _list,
    "show": _show,
    "forget": _forget,
    "join-token": _join_token,
}
