"""`ca-admin policy check | explain | test`: who gets what, why, and is it meant so."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from ca.admin import explain
from ca.admin.command import (
    DENIED,
    DONE,
    FAILED,
    Options,
    Output,
    Parser,
    add_common,
    config_file,
    listed,
)
from ca.config import Config, load_config
from ca.errors import Misconfigured
from ca.identity import Binding
from ca.policy import explain as explain_request
from ca.policy.load import load_untested, run_test
from ca.policy.rules import Policy
from ca.policy.shape import Raw
from ca.policy.suspicions import suspicions

HELP = """\
usage: ca-admin policy check | test | explain [OPTIONS]

  check      load the policy, run its tests, and warn of what is probably not meant
  test       run its tests and print each
  explain    what somebody would get, and what each rule and each deny makes of it

  --policy FILE       this file, instead of the one that the configuration names
  --config FILE       the configuration; also $DAYPASS_CONFIG
  --json              the result as JSON; of check and test, one object a line

explain takes who asks:
  --email ADDRESS     their e-mail address, verified by the issuer
  --group NAME        a group; again for more; none means that the issuer sends none
  --claim NAME=VALUE  any other claim, true and false among them; again for a list
  --issuer NAME       which issuer, where there are several
  --subject NAME, --client ID, --auth-age T (how long ago they signed in)
  --identity FILE     all of that as a JSON object with the keys of a [[test]]'s
                      identity; - is standard input
and what they ask:
  --principal P       again for more; none for what the rules give unasked
  --validity T, --extension NAME, --reason TEXT, --source ADDRESS

examples:
  ca-admin policy check
  ca-admin policy test --policy /tmp/policy.toml
  ca-admin policy explain --email ada@example.com --group dev
  ca-admin policy explain --email ada@example.com --group oncall --auth-age 5m \\
      --principal root --reason "disk full on db1" --source 10.1.2.3

exit codes: 0 done, of explain: granted; 1 failed, of test: a test fails; 2 misuse,
5 explain: refused
"""


def add_arguments(parser: Parser) -> None:
    """Say what may be typed behind `policy`."""
    actions = parser.add_subparsers(dest="action", required=True)
    for name in _ACTIONS:
        action = actions.add_parser(name, allow_abbrev=False)
        action.help_text = HELP
        action.add_argument("--policy")
        add_common(action)
        if name == "explain":
            explain.add_request(action)


def run(options: Options, output: Output) -> int:
    """Check, test or explain."""
    return _ACTIONS[options.action](options, output)


# --- check and test -----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _File:
    """A policy file that has been read, and what it is read against."""

    path: Path
    text: bytes
    config: Config

    @property
    def issuers(self) -> frozenset[str]:
        return frozenset(issuer.name for issuer in self.config.issuers)

    def load(self) -> tuple[Policy, tuple[Raw, ...]]:
        """Return the policy and its tests, which nobody has run yet."""
        with self.named():
            return load_untested(self.text, issuers=self.issuers)

    @contextmanager
    def named(self) -> Iterator[None]:
        """Put the file's name in front of what is wrong with it."""
        try:
            yield
        except Misconfigured as error:
            detail = f"{self.path}: {error.detail}"
            raise Misconfigured(detail, hint=error.hint) from error


def _read(options: Options) -> _File:
    config = load_config(config_file(options))
    path = Path(options.policy) if options.policy else config.policy_file
    try:
        return _File(path, path.read_bytes(), config)
    except OSError as error:
        raise Misconfigured(f"cannot read {path}: {error.strerror}") from error


def _check(options: Options, output: Output) -> int:
    file = _read(options)
    policy, tests = file.load()
    with file.named():
        for number, raw in enumerate(tests, start=1):
            run_test(policy, raw, number=number, issuers=file.issuers)
    unbound = {
        issuer.name: [c.id for c in issuer.clients if c.binding is Binding.NONE]
        for issuer in file.config.issuers
    }
    found = suspicions(policy, unbound=unbound, tests=len(tests))
    for one in found:
        output.note(f"ca-admin: warning: {one.where} {one.what}")
        output.note(f"ca-admin: hint: {one.hint}")
    counts = f"{len(policy.rules)} rules, {len(policy.denies)} denies"
    output.result(
        {
            "policy_sha256": policy.sha256,
            "tests": len(tests),
            "warnings": [asdict(one) for one in found],
        },
        f"{file.path}: {counts}, {len(tests)} tests passed, {len(found)} warnings",
    )
    return DONE


def _test(options: Options, output: Output) -> int:
    file = _read(options)
    policy, tests = file.load()
    failed = 0
    for number, raw in enumerate(tests, start=1):
        problem = None
        try:
            case = run_test(policy, raw, number=number, issuers=file.issuers)
            text = f"ok    test {number}: {_asked(case.asks)} {listed(case.gets)}"
        except Misconfigured as error:
            failed, problem = failed + 1, error.detail
            text = f"FAIL  {problem}"
        output.result({"test": number, "ok": not problem, "problem": problem}, text)
    output.note(f"ca-admin: {len(tests) - failed} of {len(tests)} tests passed")
    return FAILED if failed else DONE


def _asked(principals: Iterable[str]) -> str:
    return f"asks {listed(principals)}, gets" if principals else "gets"


# --- explain ------------------------------------------------------------------------


def _explain(options: Options, output: Output) -> int:
    now = datetime.now(UTC)
    # Typed wrong is told before any file is looked for.
    wishes = explain.wishes_of(options)
    table = explain.identity_table(options)
    file = _read(options)
    # Its tests are not run: whoever looks for the reason of one that fails asks here.
    policy, _ = file.load()
    identity = explain.identity_in(table, file.config, now=now)
    explanation = explain_request(policy, identity, wishes, now=now)
    output.result(msgspec.to_builtins(explanation), explain.render(explanation))
    return DENIED if explanation.granted is None else DONE


_ACTIONS: Mapping[str, Callable[[Options, Output], int]] = {
    "check": _check,
    "test": _test,
    "explain": _explain,
}
