"""What is not provably on a ledger that only grows is not installed, and said so."""

import json
import subprocess
from base64 import b64encode
from pathlib import Path

import pytest

from ca import checkpoint
from ca.bundle import ClosedLog
from client import ledger, profile
from client.failure import BadAnswer
from client.messages import LedgerProof
from tests.ca.test_bundle import ROOTS
from tests.fake_ca import FakeCA
from tests.fake_ledger import FakeLedger

STATE = ".local/state/daypass"


@pytest.fixture
def state(home):
    def state():
        return json.loads((home / STATE / "default.json").read_text())

    return state


@pytest.fixture
def known(login, state):
    """Be a laptop that has signed in before, and so knows 41 entries."""
    assert login().status == 0
    return state()


def evidence(home: Path) -> dict[str, bytes]:
    (folder,) = (home / STATE / "evidence").iterdir()
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def size_of(note: str) -> int:
    parsed = checkpoint.parse_note(note.encode())
    return checkpoint.parse_checkpoint(parsed.text).size


def test_the_first_sign_in_brings_no_checkpoint_and_remembers_one(login, ca, state):
    assert login().status == 0

    assert "checkpoint" not in ca.requests[0]
    assert size_of(state()["checkpoint"]) == 41


def test_each_sign_in_brings_the_newest_checkpoint_and_remembers_the_next(
    login, ca, known, state
):
    before = state()["checkpoint"]
    ca.ledger.leaves += [b"another", b"and another"]

    assert login().status == 0

    assert ca.requests[1]["checkpoint"] == before
    assert size_of(state()["checkpoint"]) == 44


def test_what_is_remembered_of_the_bundle_and_of_the_ledger_is_kept_apart(
    login, ca, known, state
):
    before = state()
    ca.current_version += 1

    login()

    after = state()
    assert after.keys() == before.keys()
    assert after["current_version"] == before["current_version"] + 1
    assert after["checkpoint"] != before["checkpoint"]


def test_a_memory_that_makes_no_sense_is_none(login, ca, known, home, state):
    for broken in ("", "x", 5, None, "\ud800"):
        path = home / STATE / "default.json"
        path.write_text(json.dumps({**state(), "checkpoint": broken}))

        assert login().status == 0
        assert "checkpoint" not in ca.requests[-1]


def forget_the_entry(ledger: FakeLedger) -> None:
    """Show a checkpoint from before the certificate, as if it held it."""
    ledger.shown_size = 40


def show_another_entry(ledger: FakeLedger) -> None:
    other = b64encode(ledger.leaf(b"another certificate", serial=41)).decode()
    ledger.tamper = lambda proof: proof.update(leaf=other)


def show_another_kind(ledger: FakeLedger) -> None:
    leaf = ledger.leaf

    def revocation(to_be_signed: bytes, *, serial: int) -> bytes:
        return leaf(to_be_signed, serial=serial).replace(b"user-", b"host-")

    ledger.leaf = revocation  # type: ignore[method-assign] # a lie


def show_another_serial(ledger: FakeLedger) -> None:
    leaf = ledger.leaf
    ledger.leaf = lambda to_be_signed, *, serial: leaf(  # type: ignore[method-assign]
        to_be_signed, serial=serial + 1
    )


def record_it_out_of_place(ledger: FakeLedger) -> None:
    """Use one entry more between the serial and its place."""
    record = ledger.record

    def late(line: str, known: str | None) -> object:
        leaf = ledger.leaf
        serial = ledger.next_serial
        ledger.leaf = lambda tbs, **_: leaf(tbs, serial=serial)  # type: ignore[method-assign]
        ledger.leaves.append(b"slipped in")
        return record(line, known)

    ledger.record = late  # type: ignore[method-assign, assignment]


NOT_ON_IT = {
    "no such entry": (forget_the_entry, "does not hold the entry"),
    "another certificate": (show_another_entry, "about something else"),
    "another kind": (show_another_kind, "about something else"),
    "another serial": (show_another_serial, "about something else"),
    "out of place": (record_it_out_of_place, "not that of its place"),
}


@pytest.mark.parametrize("lie", NOT_ON_IT)
def test_a_certificate_that_is_not_on_the_ledger_is_not_installed(
    login, ca, keys, home, lie
):
    make, says = NOT_ON_IT[lie]
    make(ca.ledger)

    said = login()

    assert said.status == 1
    assert "could not find the certificate on the CA's ledger" in said.err
    assert says in said.err
    assert "do not use what this CA gives you" in said.err
    assert not keys.certificate.exists()
    assert evidence(home).keys() == {
        *("answered.note", "answered.txt", "answered.txt.sig"),
        *("certificate.leaf", "certificate.pub", "certificate.tlog-proof"),
    }


def go_backwards(ledger: FakeLedger) -> None:
    del ledger.leaves[30:]


def rewrite_an_entry(ledger: FakeLedger) -> None:
    ledger.leaves[3] = b"rewritten"


def rewrite_the_last(ledger: FakeLedger) -> None:
    """Fork at the same size: the new certificate takes the place of the known one."""
    del ledger.leaves[40:]


def prove_no_growth(ledger: FakeLedger) -> None:
    ledger.tamper = lambda proof: proof.pop("consistency")


def prove_another_growth(ledger: FakeLedger) -> None:
    def wrong(proof):
        proof["consistency"][0] = b64encode(bytes(32)).decode()

    ledger.tamper = wrong


CONTRADICTIONS = {
    "backwards": (go_backwards, "went backwards: this machine has seen 41 entries"),
    "rewritten": (rewrite_an_entry, "forked or rewritten"),
    "forked at the same size": (rewrite_the_last, "forked or rewritten"),
    "no proof of growth": (prove_no_growth, "forked or rewritten"),
    "a wrong proof of growth": (prove_another_growth, "forked or rewritten"),
}


@pytest.mark.parametrize("lie", CONTRADICTIONS)
def test_a_ledger_that_takes_something_back_is_refused_loudly(
    login, ca, keys, home, known, lie
):
    before = keys.certificate.read_bytes()
    make, says = CONTRADICTIONS[lie]
    make(ca.ledger)

    said = login()

    assert said.status == 1
    assert says in said.err
    assert f"the proof is in {home / STATE / 'evidence'}" in said.err
    assert keys.certificate.read_bytes() == before
    assert json.loads((home / STATE / "default.json").read_text()) == known
    assert evidence(home)["remembered.note"].decode() == known["checkpoint"]


@pytest.mark.openssh
def test_the_evidence_is_two_checkpoints_that_ssh_keygen_verifies(
    login, ca, home, known, tmp_path
):
    rewrite_an_entry(ca.ledger)
    login()

    signers = tmp_path / "signers"
    signers.write_text(f"ca {ca.public('online')}\n")
    (folder,) = (home / STATE / "evidence").iterdir()
    for name in ("answered", "remembered"):
        subprocess.run(
            [
                *("ssh-keygen", "-Y", "verify", "-f", signers, "-I", "ca"),
                *("-n", "daypass-checkpoint", "-s", folder / f"{name}.txt.sig"),
            ],
            input=(folder / f"{name}.txt").read_bytes(),
            check=True,
        )


def test_the_same_evidence_is_kept_once(home):
    chosen = profile.Profile("default", "https://ca.example.com", "SHA256:x")
    files = {"answered.note": b"1", "remembered.note": b"2"}

    folder = profile.keep_evidence(chosen, files)

    assert profile.keep_evidence(chosen, files) == folder
    assert profile.keep_evidence(chosen, {**files, "answered.note": b"3"}) != folder
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == files


def test_where_evidence_cannot_be_kept_the_refusal_is_as_loud(login, ca, home, known):
    (home / STATE / "evidence").write_text("in the way")
    go_backwards(ca.ledger)

    said = login()

    assert said.status == 1
    assert "went backwards" in said.err
    assert "the proof could not be kept" in said.err


# --- Whose ledger it is -----------------------------------------------------------


@pytest.mark.parametrize("signed_by", ["stranger", "other", "user_ca", "root"])
def test_a_checkpoint_by_another_key_proves_nothing(login, ca, keys, signed_by):
    ca.ledger.signed_by = signed_by

    said = login()

    assert said.status == 1
    assert "checkpoint of the CA is not signed by the key it should be" in said.err
    assert not keys.certificate.exists()


def test_a_signature_made_for_another_purpose_proves_nothing(login, ca, keys):
    ca.ledger.namespace = "daypass-current"

    assert "not signed by the key it should be" in login().err
    assert not keys.certificate.exists()


def test_the_ledger_of_another_ca_is_refused(login, ca, keys):
    ca.ledger.origin = "ca.example.org/log/1"

    said = login()

    assert said.status == 1
    assert "about the ledger ca.example.org/log/1, and its ledger is" in said.err
    assert not keys.certificate.exists()


def begin_anew(ca: FakeCA) -> None:
    """Give the CA a new ledger, with serials above all that were used."""
    ca.ledger = FakeLedger(ca.keys, origin="ca.example.com/log/2")
    ca.ledger.serial_base = 1000
    ca.log_origin = ca.ledger.origin
    ca.roots_version += 1
    ca.current_version += 1


def test_a_new_ledger_that_the_root_key_does_not_vouch_for_is_refused(
    login, ca, home, known
):
    begin_anew(ca)

    said = login()

    assert said.status == 1
    assert "never closed ca.example.com/log/1, which this machine knows" in said.err
    assert "remembered.note" in evidence(home)


def test_a_new_ledger_after_a_closed_one_is_taken_with_a_warning_once(
    login, ca, known, state
):
    begin_anew(ca)
    ca.closed_logs = (ClosedLog("ca.example.com/log/1", 39),)

    first, second = login(), login()

    assert first.status == second.status == 0
    assert "closed its ledger ca.example.com/log/1 at 39 entries" in first.err
    assert "has seen 41 of the old one" in first.err
    assert "warning" not in second.err
    assert size_of(state()["checkpoint"]) == 2


def test_a_closed_ledger_does_not_excuse_another_one(login, ca, known):
    begin_anew(ca)
    ca.closed_logs = (ClosedLog("ca.example.com/log/0", 39),)

    assert "never closed ca.example.com/log/1" in login().err


# --- What is no proof at all ------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("leaf", "!"),
        ("leaf", b64encode(b"{}").decode()),
        ("leaf", 5),
        ("proof", ""),
        ("proof", "\ud800"),
        ("proof", "c2sp.org/tlog-proof@v1\nindex 0\n\nx\n"),
        ("checkpoint_signature", ""),
        ("checkpoint_signature", None),
        ("consistency", ["!"]),
        ("consistency", ["\u2603"]),
        ("consistency", "x"),
    ],
)
def test_what_makes_no_sense_is_refused(login, ca, keys, name, value):
    ca.ledger.tamper = lambda proof: proof.update({name: value})

    said = login()

    assert said.status == 1
    assert said.err.startswith("ca-login: error: could not ")
    assert not keys.certificate.exists()


def test_only_a_certificate_is_looked_for_on_a_ledger():
    proof = LedgerProof("", "", "", ())

    with pytest.raises(BadAnswer, match="no certificate"):
        ledger.verify(proof, "x", roots=ROOTS, before=None)


@pytest.mark.parametrize("name", ["leaf", "proof", "checkpoint_signature"])
def test_an_answer_without_a_part_of_the_proof_is_refused(login, ca, keys, name):
    ca.ledger.tamper = lambda proof: proof.pop(name)

    assert f"has no field '{name}'" in login().err
    assert not keys.certificate.exists()


def test_an_answer_without_any_proof_is_refused(login, ca, keys):
    ca.ledger.record = lambda *_: None

    assert "has no field 'ledger' that is an object" in login().err
    assert not keys.certificate.exists()
