"""`ca-admin block`: keep a person or a key out, see who is, let them in again."""

from datetime import UTC, datetime

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
from ca.admin.revoke import key_in, person_in
from ca.administration import Block, BlockRequest, Recorded
from ca.authority import open_authority
from ca.config import load_config
from ca.revoke import block, blocks, lift, operator
from ca.store import Store

HELP = """\
usage: ca-admin block add | list | lift ID [OPTIONS]

  add          no signer certifies anything for them from now on, or takes a request
               that they sign. What they have stays good: `ca-admin revoke` ends that,
               and blocks as well
  list         who is blocked, one a line: id, since when, what, by whom, why
  lift         let them in again; what was revoked stays revoked

  --person P        a verified e-mail address, or else a subject
  --subject S       a subject that looks like an address
  --issuer NAME     whose; needed where there are several
  --key KEY         a subject key or a host key: its .pub file, or its fingerprint
  --reason WHY      goes on record, with who and when
  --all             of list: those that were lifted, too

  --config FILE     the configuration; also $DAYPASS_CONFIG
  --json            one JSON object a line

list opens the database alone: neither keys nor policy have to be readable.

examples:
  ca-admin block add --person ada@example.com --reason 'left the company'
  ca-admin block list
  ca-admin block lift 3 --reason 'laptop found'

exit codes: 0 done, 1 failed, of lift: no such block; 2 misuse
"""

_HELP = "ca-admin block --help"


def add_arguments(parser: Parser) -> None:
    """Say what may be typed behind `block`."""
    actions = parser.add_subparsers(dest="action", required=True)
    add = actions.add_parser("add", allow_abbrev=False)
    for name in ("person", "subject", "issuer", "key"):
        add.add_argument(f"--{name}")
    every = actions.add_parser("list", allow_abbrev=False)
    every.add_argument("--all", action="store_true")
    less = actions.add_parser("lift", allow_abbrev=False)
    less.add_argument("id", metavar="ID", type=int)
    for action in (add, less):
        action.add_argument("--reason", required=True)
    for action in (add, every, less):
        action.help_text = HELP
        add_common(action)


def run(options: Options, output: Output) -> int:
    """Do one of the three."""
    if options.action == "list":
        return _list(options, output)
    if not options.reason.strip():
        raise Misuse("--reason is empty", hint=_HELP)
    config, now = load_config(config_file(options)), datetime.now(UTC)
    request = None
    if options.action == "add":
        person, key = person_in(options, config), key_in(options.key)
        if (person is None) == (key is None):
            raise Misuse("say whom or what to block, and one only", hint=_HELP)
        request = BlockRequest(reason=options.reason, person=person, key=key)
    authority = open_authority(config)
    try:
        done: Recorded = (
            lift(authority, options.id, options.reason, operator(), now=now)
            if request is None
            else block(authority, request, operator(), now=now)
        )
    finally:
        authority.store.close()
    word = "lifted" if request is None else "blocked"
    output.result(
        {word: True, "index": done.index},
        f"{word}; entry {done.index} of the ledger says so",
    )
    return DONE


def _list(options: Options, output: Output) -> int:
    config = load_config(config_file(options))
    store = Store.open(config.database_url, password_file=config.database_password_file)
    try:
        found = blocks(store.blocks()).blocks
    finally:
        store.close()
    for one in found:
        if options.all or not one.lifted:
            output.result(msgspec.to_builtins(one), _line(one))
    return DONE


def _line(one: Block) -> str:
    since = datetime.fromtimestamp(one.time, UTC)
    by = one.by or {}
    who = by.get("operator") or by.get("email") or by.get("subject") or "-"
    words = (
        str(one.id),
        f"{since:%Y-%m-%dT%H:%M:%SZ}",
        "lifted" if one.lifted else "active",
        one.kind,
        f"{one.issuer}:{one.name}" if one.issuer else one.name,
        str(who),
        one.reason or "-",
    )
    return "  ".join(words)
