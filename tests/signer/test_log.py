"""The log over HTTP: any C2SP client can read it, and it proves itself."""

import subprocess
from dataclasses import replace

import pytest
from proofbundle import checkpoint as other_checkpoint
from proofbundle import merkle as other

from ca.audit import check_tree
from ca.checkpoint import open_checkpoint, parse_note, render_key
from ca.ledger import EntryKind
from ca.tiled_log import TiledLog
from ca.tiles import parse_entries
from signer.app import create_app
from tests.authority import make_ca, opened
from tests.fakes import NOW, FakeIdP

SIZE = 300


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    with FakeIdP(now=NOW.timestamp) as idp:
        config_file = make_ca(tmp_path_factory.mktemp("ca") / "ca", idp)
        with opened(config_file) as authority:
            for _ in range(SIZE):
                append(authority)
            yield authority


def append(authority):
    authority.ledger.append(
        lambda serial: b"certificate %d" % serial,
        kind=EntryKind.USER_CERTIFICATE,
        record={},
        now=NOW,
    )


@pytest.fixture
def client(authority):
    return create_app(authority, clock=lambda: NOW).test_client()


@pytest.fixture
def fetch(client):
    def fetch(path):
        answer = client.get(f"/v1/log/{path}")
        return answer.data if answer.status_code == 200 else None

    return fetch


def test_the_checkpoint_is_a_note_that_its_key_verifies(authority, client):
    answer = client.get("/v1/log/checkpoint")

    assert answer.status_code == 200
    assert answer.content_type == "text/plain; charset=utf-8"
    assert answer.headers["Cache-Control"] == "no-cache"
    vkey = render_key(authority.ledger.signer.key)
    verdict = other_checkpoint.verify_checkpoint(answer.text, vkey)
    assert verdict["ok"]
    assert verdict["tree_size"] == authority.store.log_head().tree.size
    assert verdict["root"] == authority.store.log_head().tree.root


@pytest.mark.openssh
def test_ssh_keygen_verifies_the_signature_beside_it(authority, client, tmp_path):
    note = client.get("/v1/log/checkpoint")
    signature = client.get("/v1/log/checkpoint-signature")

    assert signature.headers["ETag"] == note.headers["ETag"]
    (tmp_path / "signature").write_bytes(signature.data)
    online = authority.config.file.with_name("keys") / "online.pub"
    (tmp_path / "signers").write_text(f"ca {online.read_text()}")
    subprocess.run(
        [
            *("ssh-keygen", "-Y", "verify", "-n", "daypass-checkpoint", "-I", "ca"),
            *("-f", tmp_path / "signers", "-s", tmp_path / "signature"),
        ],
        input=parse_note(note.data).text,
        check=True,
    )


def test_a_checkpoint_that_is_known_is_not_sent_again(authority, client):
    tag = client.get("/v1/log/checkpoint").headers["ETag"]
    asked = {"headers": {"If-None-Match": tag}}

    assert client.get("/v1/log/checkpoint", **asked).status_code == 304
    append(authority)
    assert client.get("/v1/log/checkpoint", **asked).status_code == 200


def test_the_whole_log_can_be_checked_from_its_tiles(authority, fetch):
    key = authority.ledger.signer.key
    signed = open_checkpoint(
        parse_note(fetch("checkpoint")), key, verify=lambda *_: None
    )
    log = TiledLog(fetch, signed.size)

    assert list(check_tree(log.leaves(), log.kept, [signed])) == []


def test_another_implementation_computes_the_same_root_from_the_entries(
    authority, fetch
):
    bundles = (("tile/entries/000", 256), ("tile/entries/001.p/44", 44))
    leaves = [
        leaf
        for path, width in bundles
        for leaf in parse_entries(fetch(path), width=width)
    ]

    assert leaves == [entry.leaf for entry in authority.store.entries(0, SIZE)]
    assert other.leaf_hash(leaves[255]) == fetch("tile/0/000")[-32:]
    assert other.merkle_tree_hash(leaves[:256]) == fetch("tile/1/000.p/1")


@pytest.mark.parametrize("path", ["0/000", "0/001.p/44", "1/000.p/1", "entries/000"])
def test_a_tile_never_changes_and_may_be_kept_for_ever(client, path):
    answer = client.get(f"/v1/log/tile/{path}")

    assert answer.status_code == 200
    assert answer.content_type == "application/octet-stream"
    assert "immutable" in answer.headers["Cache-Control"]
    asked = {"If-None-Match": answer.headers["ETag"]}
    again = client.get(f"/v1/log/tile/{path}", headers=asked)
    assert again.status_code == 304


@pytest.mark.parametrize(
    "path",
    [
        *("0/001", "0/002.p/1", "entries/001", "entries/002", "1/000", "1/001.p/1"),
        *("2/000.p/1", "63/000", "64/000", "0/0", "0/000.p/0", "0/000.p/256", "x"),
        *("entries/x999/x999/x999/x999/x999/x999/999", "0/../0/000", "0/000/"),
    ],
)
def test_what_the_log_does_not_have_is_not_found(client, path):
    answer = client.get(f"/v1/log/tile/{path}")

    assert answer.status_code == 404
    assert answer.json["code"] == "not_found"
    assert "immutable" not in answer.headers["Cache-Control"]


def test_leaves_hold_nothing_personal(authority, fetch):
    assert b"@" not in fetch("tile/entries/000")


def test_a_stopped_ledger_publishes_nothing(authority, client):
    newest = authority.ledger.high_water.newest()
    larger = newest._replace(size=newest.size + 1)
    stopped = replace(authority)
    with pytest.raises(Exception, match="stopped"):
        stopped.store.append([], seen=[larger])

    for path in ("checkpoint", "checkpoint-signature", "tile/0/000"):
        answer = client.get(f"/v1/log/{path}")
        assert answer.status_code == 503
        assert answer.json["code"] == "ledger_stopped"
