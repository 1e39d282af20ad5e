"""Each answer proves that it is on record: to `ca-login`, and to another program."""

from base64 import b64decode, b64encode

import pytest
from msgspec.structs import replace as changed
from proofbundle import checkpoint as other_checkpoint
from proofbundle import merkle as other
from proofbundle import tlogproof

from ca.bundle import parse_roots, split_signed
from ca.checkpoint import (
    Checkpoint,
    Note,
    NoteKey,
    parse_proof,
    render_checkpoint,
    render_key,
    render_note,
)
from ca.errors import Malformed
from ca.merkle import plan_root
from client.ledger import Seen, verify
from client.messages import LedgerProof
from tests.authority import make_ca, opened, request_of
from tests.ca.test_issue import entries, issue
from tests.fakes import NOW, FakeIdP


@pytest.fixture(scope="module")
def idp():
    with FakeIdP(now=NOW.timestamp) as idp:
        yield idp


@pytest.fixture(scope="module")
def authority(idp, tmp_path_factory):
    config_file = make_ca(tmp_path_factory.mktemp("ca") / "ca", idp)
    with opened(config_file) as authority:
        yield authority


def roots_of(authority):
    document = authority.config.roots_file.read_bytes()
    return parse_roots(split_signed(document)[0])


def proof_in(answer):
    sent = answer.ledger
    return LedgerProof(
        sent.leaf, sent.proof, sent.checkpoint_signature, sent.consistency
    )


def proved(authority, answer, before=None):
    """Verify an answer as `ca-login` does; return what it would remember."""
    return verify(
        proof_in(answer), answer.certificate, roots=roots_of(authority), before=before
    ).seen


def note_in(answer):
    return render_note(parse_proof(answer.ledger.proof.encode()).note).decode()


def test_ca_login_believes_each_answer_and_that_the_ledger_grows(authority, idp):
    seen = None
    for _ in range(5):
        note = None if seen is None else seen.note
        answer = issue(authority, request_of(idp, checkpoint=note))

        before, seen = seen, proved(authority, answer, seen)

        assert before is None or before.checkpoint.size < seen.checkpoint.size


def test_another_implementation_believes_each_answer(authority, idp):
    first = issue(authority, request_of(idp))
    issue(authority, request_of(idp))
    answer = issue(authority, request_of(idp, checkpoint=note_in(first)))

    leaf = b64decode(answer.ledger.leaf)
    vkey = render_key(authority.ledger.signer.key)
    verdict = tlogproof.verify_tlog_proof(answer.ledger.proof, leaf, vkey)
    assert verdict["ok"], verdict
    old = other_checkpoint.verify_checkpoint(note_in(first), vkey)
    new = other_checkpoint.verify_checkpoint(note_in(answer), vkey)
    assert old["ok"]
    assert new["ok"]
    assert other.verify_consistency(
        old["tree_size"],
        new["tree_size"],
        [b64decode(value) for value in answer.ledger.consistency],
        old["root"],
        new["root"],
    )


def test_a_laptop_is_not_locked_out_when_an_online_key_left_the_roots(authority, idp):
    issue(authority, request_of(idp))
    head = authority.store.log_head().tree
    former = note_by(NoteKey(roots_of(authority).log_origin, bytes(32)), head)
    issue(authority, request_of(idp))

    answer = issue(authority, request_of(idp, checkpoint=former))

    assert proved(authority, answer, Seen(former, "by a key that was retired"))


def note_by(key, tree):
    text = render_checkpoint(Checkpoint(key.name, tree.size, tree.root))
    return render_note(Note(text, (key.claim(bytes(64)),))).decode()


def test_what_nobody_signed_stops_nobody_and_gets_no_proof(authority, idp):
    origin = roots_of(authority).log_origin
    (root,) = authority.store.hashes(plan_root(0))
    tree = authority.store.log_head().tree
    larger = Checkpoint(origin, tree.size + 100, root)
    elsewhere = Checkpoint("ca.example.org/log/1", 1, root)
    for claimed in (larger, elsewhere):
        note = note_by(NoteKey(claimed.origin, bytes(32)), claimed)

        answer = issue(authority, request_of(idp, checkpoint=note))

        assert answer.ledger.consistency == ()
        assert proved(authority, answer)


@pytest.mark.parametrize("note", ["", "x", "a\n1\nAAAA\n\n", "\ud800"])
def test_what_is_no_checkpoint_is_refused_and_leaves_no_entry(authority, idp, note):
    before = entries(authority)

    with pytest.raises(Malformed):
        issue(authority, request_of(idp, checkpoint=note))

    assert entries(authority) == before


def test_the_same_request_again_is_proved_again_whatever_was_learned_since(
    authority, idp
):
    request = request_of(idp)
    first = issue(authority, request)
    note = note_in(issue(authority, request_of(idp)))

    again = issue(authority, changed(request, checkpoint=note))

    assert again.certificate == first.certificate
    assert (
        proved(authority, again).checkpoint.size
        > proved(authority, first).checkpoint.size
    )
    assert b64encode(b64decode(again.ledger.leaf)).decode() == first.ledger.leaf
