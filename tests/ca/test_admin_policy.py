"""`ca-admin policy`: checked, tested and explained as an operator meets it."""

import io
import json
import shutil
import sys

import pytest

from ca.admin.__main__ import main
from tests.authority import rewrite, write_whole
from tests.policies import deny, rule, toml

ADA = {"issuer": "corp", "email": "ada@example.com", "email_verified": True}
MATCH = {"email_domain": "example.com"}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made") / "ca"
    assert main(["init", str(folder)]) == 0
    return folder


@pytest.fixture
def ca(made, tmp_path, capsys):
    """Return a function that runs a policy command on a CA of this test."""
    folder = shutil.copytree(made, tmp_path / "ca")
    capsys.readouterr()
    return Ca(folder, capsys)


class Ca:
    """A CA, and what the command says about it."""

    def __init__(self, folder, capsys):
        self.folder, self.capsys = folder, capsys
        self.out = self.err = ""

    def policy(self, **tables):
        write_whole(self.folder / "policy.toml", toml(tables).decode())
        return self

    def run(self, *words):
        config = str(self.folder / "daypass.toml")
        status = main(["policy", *words, "--config", config])
        said = self.capsys.readouterr()
        self.out, self.err = said.out, said.err
        return status

    def documents(self):
        return [json.loads(line) for line in self.out.splitlines()]


# --- check --------------------------------------------------------------------------


def test_check_counts_what_is_there_and_warns_beside_the_result(ca):
    assert ca.run("check") == 0

    assert ca.out.endswith(
        "policy.toml: 1 rules, 0 denies, 2 tests passed, 1 warnings\n"
    )
    assert 'ca-admin: warning: rule "developers" lets a mailbox open' in ca.err
    assert "\nca-admin: hint: name these accounts in a [[deny]]" in ca.err


def test_check_as_json(ca):
    ca.policy(rule=[rule(principals=["root"])], deny=[deny()])

    assert ca.run("check", "--json") == 0

    (document,) = ca.documents()
    assert document["tests"] == 0
    assert [one["where"] for one in document["warnings"]] == [
        "policy",
        'rule "developers"',
    ]
    assert len(document["policy_sha256"]) == 64


def test_check_knows_which_clients_are_bound_to_no_key(ca):
    rewrite(ca.folder / "daypass.toml", {'binding = "nonce"': 'binding = "none"'})
    rewrite(ca.folder / "daypass.toml", {'flow = "browser"': 'flow = "ci"'})

    assert ca.run("check") == 0

    assert "bound to no key, of daypass" in ca.err


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({'validity   = "10h"': 'validity = "25h"'}, "the most"),
        ({'gets     = ["ada"]': 'gets = ["eve"]'}, "test 1: must get eve, got ada"),
    ],
    ids=["wrong", "failing"],
)
def test_a_policy_that_would_not_be_loaded_fails_the_check(ca, change, says):
    rewrite(ca.folder / "policy.toml", change)

    assert ca.run("check") == 1

    assert ca.out == ""
    assert says in ca.err
    assert "policy.toml" in ca.err


def test_a_file_that_is_not_in_force_yet_can_be_checked(ca, tmp_path):
    draft = tmp_path / "draft.toml"
    draft.write_bytes(toml({"rule": [rule()]}))

    assert ca.run("check", "--policy", str(draft)) == 0
    assert ca.out.startswith(f"{draft}: 1 rules")

    assert ca.run("check", "--policy", str(tmp_path / "missing")) == 1
    assert "cannot read" in ca.err


# --- test ---------------------------------------------------------------------------


def test_each_test_is_run_and_printed_and_one_that_fails_stops_none(ca):
    tests = [
        {"identity": ADA, "gets": ["ada"]},
        {"identity": ADA, "asks": ["root"], "gets": ["root"]},
        {"identity": ADA, "asks": ["web"], "gets": []},
        {"identity": ADA, "gets": "ada"},
    ]
    ca.policy(rule=[rule(match=MATCH, principals=["{email_local}"])], test=tests)

    assert ca.run("test") == 1

    assert ca.out.splitlines() == [
        "ok    test 1: gets ada",
        "FAIL  test 2: must get root, got nothing (root: no rule gives it to you)",
        "ok    test 3: asks web, gets nothing",
        "FAIL  test 4: gets: expected `array`, got `str`",
    ]
    assert ca.err == "ca-admin: 2 of 4 tests passed\n"


def test_tests_as_json_are_one_object_a_line(ca):
    assert ca.run("test", "--json") == 0

    assert ca.documents() == [
        {"v": 1, "test": 1, "ok": True, "problem": None},
        {"v": 1, "test": 2, "ok": True, "problem": None},
    ]


def test_a_file_that_is_no_policy_has_no_tests(ca):
    write_whole(ca.folder / "policy.toml", "[[rule]]\n")

    assert ca.run("test") == 1
    assert ca.out == ""
    assert "policy.toml: rule 1" in ca.err


# --- explain ------------------------------------------------------------------------

HOUSE = {
    "rule": [
        rule(
            name="own account",
            match=MATCH,
            principals=["{email_local}"],
            extensions=["permit-pty"],
        ),
        rule(
            name="on call",
            on_request=True,
            match={"groups": ["oncall"], "amr": "hwk"},
            require={"max_auth_age": "1h", "source": ["10.0.0.0/8"], "reason": True},
            principals=["root"],
            validity="30m",
        ),
    ],
    "deny": [deny(match={"contractor": True}, principals=["root"])],
}


def test_what_somebody_gets_is_shown_with_every_rule_and_deny(ca):
    status = ca.policy(**HOUSE).run("explain", "--email", "ada@example.com")

    assert status == 0
    first, *rest = ca.out.splitlines()
    assert first.startswith("corp:ada@example.com, policy ")
    assert rest == [
        "GRANTED: ada for 10h",
        "  extensions: permit-pty",
        "  critical options: nothing",
        'rule "own account" answers',
        "  ada: given",
        'rule "on call" no-match: '
        + "; ".join(f"the issuer does not say {key}" for key in ("groups", "amr")),
        'deny "never" applies: the issuer does not say contractor',
        "  root: denied",
    ]


def test_a_refusal_has_its_own_exit_code_and_says_what_is_missing(ca):
    who = ("--email", "ada@example.com", "--group", "oncall", "--claim", "amr=hwk")
    not_contractor = ("--claim", "contractor=false")
    ca.policy(**HOUSE)

    assert ca.run("explain", *who, *not_contractor, "--principal", "root") == 5

    assert 'REFUSED: root: rule "on call" needs a sign-in of the last 1h' in ca.out
    assert "  hint: meet what is needed" in ca.out
    assert 'rule "on call" unmet: needs a sign-in of the last 1h and' in ca.out
    assert ca.err == ""

    what = ("--auth-age", "5m", "--source", "10.1.2.3", "--reason", "disk full")
    asked = (*who, *not_contractor, *what, "--principal", "root", "--validity", "10m")
    assert ca.run("explain", *asked) == 0
    assert "GRANTED: root for 10m\n" in ca.out
    assert "  critical options: source-address 10.0.0.0/8\n" in ca.out


def test_an_explanation_as_json(ca):
    ca.policy(**HOUSE)

    assert ca.run("explain", "--email", "ada@example.com", "--json") == 0

    (document,) = ca.documents()
    assert document["granted"]["principals"] == ["ada"]
    assert [one["outcome"] for one in document["rules"]] == ["answers", "no-match"]
    assert document["denies"][0]["principals"] == ["root"]


def test_what_is_left_out_and_extensions_that_are_asked_for(ca):
    ca.policy(
        rule=[*HOUSE["rule"], rule(name="x", match=MATCH, require={"reason": True})]
    )
    who = ("--email", "ada@example.com", "--extension", "permit-pty")

    assert ca.run("explain", *who) == 0

    assert "  left out: x: needs a reason\n" in ca.out


def test_an_identity_may_come_from_a_file_or_standard_input(ca, tmp_path, monkeypatch):
    ca.policy(**HOUSE)
    file = tmp_path / "ada.json"
    file.write_text(json.dumps(ADA | {"groups": ["dev"], "amr": ["pwd", "hwk"]}))

    assert ca.run("explain", "--identity", str(file)) == 0
    assert 'rule "on call" no-match: groups is not oncall\n' in ca.out

    monkeypatch.setattr(sys, "stdin", io.StringIO(json.dumps(ADA)))
    more = ("--claim", "amr=pwd", "--claim", "amr=hwk", "--group", "oncall")
    assert ca.run("explain", "--identity", "-", *more) == 0
    assert 'rule "on call" on-request' in ca.out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--claim", "amr"], "write NAME=VALUE"),
        (["--claim", "=x"], "write NAME=VALUE"),
        (["--identity", "/nonexistent/file"], "No such file"),
        (["--identity", __file__], "--identity"),
        (["--source", "here"], "what is asked: 'here'"),
        (["--validity", "soon"], "what is asked: 'soon' is not a length of time"),
        (["--validity", "25h"], "what is asked: 25h is more than 1d"),
        (["--issuer", "nobody"], "who asks: 'nobody' is no issuer"),
        (["--email", "Ada"], "who asks: email: 'Ada' is never so"),
        (["--auth-age", "old"], "who asks: auth_age: 'old'"),
        (["--emial", "ada@example.com"], "unknown arguments: --emial"),
    ],
    ids=str,
)
def test_an_identity_or_a_wish_that_makes_no_sense_is_misuse(ca, words, says):
    assert ca.run("explain", *words) == 2

    assert ca.out == ""
    assert says in ca.err
    assert "\nca-admin: hint: " in ca.err


def test_a_json_file_that_is_no_object_is_misuse(ca, tmp_path):
    (tmp_path / "list.json").write_text("[]")

    assert ca.run("explain", "--identity", str(tmp_path / "list.json")) == 2
    assert "not a JSON object" in ca.err


def test_a_principal_that_could_never_be_one_fails(ca):
    assert ca.run("explain", "--email", "ada@example.com", "--principal", "*") == 1
    assert "principal" in ca.err


def test_of_several_issuers_one_has_to_be_named(ca):
    file = ca.folder / "daypass.toml"
    issuer = file.read_text().partition("[[issuer]]")[2]
    another = issuer.replace('"corp"', '"ci"').replace("login.", "ci.")
    write_whole(file, f"{file.read_text()}\n[[issuer]]{another}")

    assert ca.run("explain", "--email", "ada@example.com") == 2
    assert "who asks: issuer: is missing" in ca.err
    assert ca.run("explain", "--email", "ada@example.com", "--issuer", "ci") == 5


def test_a_policy_that_fails_its_tests_can_be_explained(ca):
    rewrite(ca.folder / "policy.toml", {'gets     = ["ada"]': 'gets = ["eve"]'})

    assert ca.run("explain", "--email", "ada@example.com") == 0
    assert "GRANTED: ada for 10h" in ca.out
