"""`ca-admin ledger monitor`: a ledger that lies to it is found out, with proof."""

import gzip
import json
import signal
import subprocess
import sys
import threading
import time
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from werkzeug.serving import make_server

from ca import bundle
from ca.admin.__main__ import main
from ca.admin.ledger import web
from ca.audit import check_tree
from ca.bundle import KeyState, TrustedKey
from ca.checkpoint import (
    Checkpoint,
    Note,
    NoteKey,
    render_checkpoint,
    render_key,
    render_note,
)
from ca.mirror import Mirror
from ca.signing_key import FileKey, KeyType
from signer.app import create_app
from tests.authority import make_ca, opened, request_of
from tests.ca.test_issue import issue
from tests.fakes import NOW, FakeIdP
from tests.logs import files_of, leaves_of, root_of

LEAVES = leaves_of(600)
ROOT, ONLINE, OTHER = (FileKey.generate() for _ in range(3))


class Site(ThreadingHTTPServer):
    """A web server with the files of a log, and of the CA that has it."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.files: dict[str, bytes] = {}
        self.status = 200
        self.headers: dict[str, str] = {}
        self.asked: list[str] = []
        self.origin = "ca.example.com/log/1"
        self.roots_fields: dict[str, object] = {}
        self.expires = 1 << 40
        self.signed_by = {"roots": ROOT, "current": ONLINE, "checkpoint": ONLINE}

    @property
    def key(self) -> NoteKey:
        return NoteKey(self.origin, ONLINE.blob[-32:])

    def publish(self, leaves, *, shown=None) -> None:
        """Serve a log; `shown` is what its checkpoint is about, if not these leaves."""
        said = leaves if shown is None else shown
        text = render_checkpoint(Checkpoint(self.origin, len(said), root_of(said)))
        signature = self.signed_by["checkpoint"].sign(text)[-64:]
        note = render_note(Note(text, (self.key.claim(signature),)))
        log = {"checkpoint": note, **files_of(leaves)}
        self.files = log | {f"v1/log/{path}": log[path] for path in log}
        self.publish_roots()

    def publish_roots(self) -> None:
        online = TrustedKey(KeyState.ACTIVE, ONLINE.line)
        fields: dict[str, Any] = {
            "version": 5,
            "root_key": ROOT.line,
            "log_origin": self.origin,
            "serial_base": 0,
            "user_ca": (),
            "host_ca": (),
            "online": (online,),
        } | self.roots_fields
        roots = self._signed(
            bundle.render_roots(bundle.Roots(**fields)),
            bundle.ROOTS_NAMESPACE,
            self.signed_by["roots"],
        )
        digest = sha256(roots).hexdigest()
        self.files[f"v1/trust/blob/{digest}"] = roots
        self.files["v1/trust/current"] = self._signed(
            bundle.render_current(bundle.Current(1, self.expires, digest, "00" * 32)),
            bundle.CURRENT_NAMESPACE,
            self.signed_by["current"],
        )

    def _signed(self, text, namespace, key):
        return bundle.join_signed(text, key.sign_message(namespace, text))


class _Handler(BaseHTTPRequestHandler):
    server: Site
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = self.path[1:]
        self.server.asked.append(path)
        body = self.server.files.get(path)
        self.send_response(404 if body is None else self.server.status)
        for name, value in self.server.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body or b"")))
        self.end_headers()
        self.wfile.write(body or b"")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def site():
    with Site() as site:
        threading.Thread(target=site.serve_forever, args=[0.01]).start()
        yield site
        site.shutdown()


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "monitor"


@pytest.fixture
def monitor(site, folder, capsys):
    """Look once; return exit code, results and notes."""

    def monitor(*arguments, by=("--key",)):
        keys = {"--key": render_key(site.key), "--pin": ROOT.fingerprint}
        words = [word for flag in by for word in (flag, keys[flag])]
        status = main(["ledger", "monitor", site.url, str(folder), *words, *arguments])
        said = capsys.readouterr()
        return status, said.out, said.err

    return monitor


def checkpoint_in(folder):
    checkpoint = Mirror(folder).checkpoint()
    assert checkpoint is not None
    return checkpoint


def evidence(folder):
    return {
        path.name: path.read_bytes()
        for kept in (folder / "evidence").iterdir()
        for path in kept.iterdir()
    }


# --- A log that grows -------------------------------------------------------------


@pytest.mark.parametrize("by", ["--key", "--pin"])
def test_each_entry_is_printed_once_and_copied(site, monitor, folder, by):
    site.publish(LEAVES[:3])
    assert monitor(by=[by]) == (
        0,
        "".join(
            f"{index} 2026-11-22T06:46:4{index}+00:00 user-certificate"
            f" serial {index + 1} {sha256(b'%d' % index).hexdigest()}\n"
            for index in range(3)
        ),
        "",
    )
    site.publish(LEAVES)

    status, out, _ = monitor("--json", by=[by])

    assert status == 0
    printed = [json.loads(line) for line in out.splitlines()]
    assert [one["index"] for one in printed] == list(range(3, 600))
    assert printed[3]["kind"] == "revocation"
    assert printed[3]["serial"] is None
    assert monitor(by=[by]) == (0, "", "")
    log = Mirror(folder).log()
    signed = checkpoint_in(folder)
    assert log.size == 600
    assert not list(check_tree(log.leaves(), log.kept, [signed]))


def test_a_copy_made_by_the_monitor_can_be_verified(site, monitor, folder, capsys):
    site.publish(LEAVES)
    monitor()

    assert main(["ledger", "verify", str(folder), "--key", render_key(site.key)]) == 0
    assert capsys.readouterr().out == "600 entries checked: nothing wrong\n"


def test_only_what_is_new_is_asked_for(site, monitor):
    site.publish(LEAVES)
    monitor()
    site.asked.clear()
    site.publish(leaves_of(610))

    monitor()

    assert site.asked == ["checkpoint", "tile/entries/002.p/98"]


def test_a_server_may_compress(site, monitor):
    site.publish(LEAVES)
    site.files = {path: gzip.compress(c, mtime=0) for path, c in site.files.items()}
    site.headers = {"Content-Encoding": "gzip"}

    assert monitor()[0] == 0


def test_a_ca_that_stands_still_or_is_shown_as_it_was_is_warned_of(site, monitor):
    site.publish(LEAVES[:3])
    assert "has run out" not in monitor(by=["--pin"])[2]
    site.expires = int(time.time()) - 1
    site.publish(LEAVES[:3])

    status, _, err = monitor(by=["--pin"])

    assert status == 0
    assert "warning: what the CA published last has run out" in err


def test_a_real_ca_is_followed_by_its_pin(tmp_path, capsys):
    with FakeIdP(now=NOW.timestamp) as idp:
        config_file = make_ca(tmp_path / "ca", idp)
        with opened(config_file) as authority:
            app = create_app(authority, clock=lambda: NOW)
            server = make_server("127.0.0.1", 0, app, threaded=True)
            serving = threading.Thread(target=server.serve_forever)
            serving.start()
            for _ in range(2):
                issue(authority, request_of(idp))
                status = main(
                    [
                        *("ledger", "monitor", f"http://127.0.0.1:{server.port}"),
                        *(str(tmp_path / "log"), "--json", "--pin"),
                        authority.trust.root_key_fingerprint,
                    ]
                )
                assert status == 0
            server.shutdown()
            serving.join()
            server.server_close()

    printed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [one["serial"] for one in printed] == ["1", "2"]


def test_with_every_it_goes_on_when_the_log_is_away_and_ends_when_it_lies(
    site, folder, tmp_path
):
    words = [site.url, folder, "--key", render_key(site.key), "--every", "0.05"]
    command = [sys.executable, "-m", "ca.admin", "ledger", "monitor", *map(str, words)]
    notes = tmp_path / "notes"
    with notes.open("w") as stream:
        watching = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stream)
    try:
        wait_for(lambda: "has no checkpoint" in notes.read_text())
        site.publish(LEAVES[:10])
        wait_for(lambda: Mirror(folder).log().size == 10)
        site.publish(LEAVES[:9])
        out, _ = watching.communicate(timeout=60)
    finally:
        watching.send_signal(signal.SIGKILL)
    assert watching.returncode == 9
    assert len(out.splitlines()) == 10
    assert "went backwards" in notes.read_text()


def wait_for(condition):
    until = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


# --- A log that lies --------------------------------------------------------------


def go_backwards(site):
    site.publish(LEAVES[:200])


def fork_at_the_same_size(site):
    site.publish(leaves_of(300, serial_base=1))


def rewrite_and_grow(site):
    site.publish([b"rewritten", *LEAVES[1:400]])


def hide_an_entry(site):
    """Sign for entries and show others."""
    site.publish([*LEAVES[:350], LEAVES[0], *LEAVES[351:400]], shown=LEAVES[:400])


def show_garbage(site):
    site.publish(LEAVES[:400])
    site.files["tile/entries/001.p/144"] = b"garbage"
    site.files["v1/log/tile/entries/001.p/144"] = b"garbage"


def sign_with_another_key(site):
    site.signed_by["checkpoint"] = OTHER
    site.publish(LEAVES[:400])


def be_another_log(site):
    site.publish(LEAVES[:400])
    other = "ca.example.com/log/2"
    text = render_checkpoint(Checkpoint(other, 400, root_of(LEAVES[:400])))
    key = NoteKey(other, ONLINE.blob[-32:])
    note = render_note(Note(text, (key.claim(ONLINE.sign(text)[-64:]),)))
    site.files["checkpoint"] = site.files["v1/log/checkpoint"] = note


def answer_nonsense(site):
    site.files["checkpoint"] = site.files["v1/log/checkpoint"] = b"<html>"


LIES = {
    "backwards": (go_backwards, "went backwards: it had 300 entries, and has 200"),
    "forked": (fork_at_the_same_size, "checkpoint of 300 entries was signed for"),
    "rewritten": (rewrite_and_grow, "checkpoint of 400 entries was signed for"),
    "hidden": (hide_an_entry, "checkpoint of 400 entries was signed for"),
    "garbage": (show_garbage, "tile/entries/001.p/144 makes no sense"),
    "another key": (sign_with_another_key, "does not verify"),
    "another log": (be_another_log, "is not signed by a key of this ledger"),
    "nonsense": (answer_nonsense, "not a note"),
}


@pytest.mark.parametrize("by", ["--key", "--pin"])
@pytest.mark.parametrize("lie", LIES)
def test_a_log_that_lies_is_named_and_kept_as_proof(site, monitor, folder, lie, by):
    tell, says = LIES[lie]
    site.publish(LEAVES[:300])
    monitor(by=[by])
    known = site.files["checkpoint"]
    tell(site)

    for _ in range(2):
        status, out, err = monitor(by=[by])

        assert status == 9
        assert out == ""
        assert says in err
        assert f"the proof is in {folder / 'evidence'}" in err
        kept = {"known.note": known, "shown.note": site.files["checkpoint"]}
        assert evidence(folder) == kept
        assert checkpoint_in(folder).size == 300


def test_a_new_log_of_the_same_ca_is_followed_into_another_folder(site, monitor):
    site.publish(LEAVES[:300])
    monitor(by=["--pin"])
    site.origin = "ca.example.com/log/2"
    site.publish(LEAVES[:10])

    status, _, err = monitor(by=["--pin"])

    assert status == 9
    assert "this is another ledger, ca.example.com/log/2" in err


@pytest.mark.parametrize("by", ["--key", "--pin"])
def test_an_entry_that_says_what_none_should_is_named(site, monitor, by):
    site.publish(LEAVES[:300])
    monitor(by=[by])
    site.publish([*LEAVES[:300], b"no leaf", *LEAVES[:1], *LEAVES[302:303]])

    status, out, err = monitor(by=[by])

    assert status == 9
    lines = out.splitlines()
    assert lines[0].startswith("entry 300: a leaf of the ledger is not")
    assert lines[1] == "entry 301: its serial 1 is not that of its place"
    assert lines[2].startswith("302 ")
    assert "2 new entries say what none should, first entry 300" in err


# --- A CA that lies about its keys ------------------------------------------------


def sign_roots_with_another_key(site):
    site.signed_by["roots"] = OTHER


def sign_current_with_another_key(site):
    site.signed_by["current"] = OTHER


def have_another_root_key(site):
    site.signed_by["roots"] = OTHER
    site.roots_fields["root_key"] = OTHER.line


def go_back_to_older_roots(site):
    site.roots_fields["version"] = 4


def name_a_retired_key(site):
    site.roots_fields["online"] = (TrustedKey(KeyState.RETIRING, ONLINE.line),)


@pytest.mark.parametrize(
    ("tell", "says"),
    [
        (sign_roots_with_another_key, "not signed by the key it should be"),
        (sign_current_with_another_key, "not signed by the key it should be"),
        (name_a_retired_key, "not signed by the key it should be"),
        (have_another_root_key, "is pinned"),
        (go_back_to_older_roots, "older than those that were seen before"),
    ],
)
def test_roots_that_the_pinned_key_does_not_vouch_for_are_refused(
    site, monitor, tell, says
):
    site.publish(LEAVES[:3])
    monitor(by=["--pin"])
    tell(site)
    site.publish(LEAVES[:4])

    status, out, err = monitor(by=["--pin"])

    assert (status, out) == (9, "")
    assert says in err


def test_roots_that_are_not_those_that_hold_are_refused(site, monitor):
    site.publish(LEAVES[:3])
    (path,) = (path for path in site.files if "blob" in path)
    site.files[path] += b"\n"

    status, _, err = monitor(by=["--pin"])

    assert status == 9
    assert "not those that hold now" in err


def test_an_online_key_of_another_type_signs_no_checkpoints(site, monitor):
    ecdsa = TrustedKey(KeyState.ACTIVE, FileKey.generate(KeyType.ECDSA).line)
    ed25519 = TrustedKey(KeyState.ACTIVE, ONLINE.line)
    site.roots_fields["online"] = (ecdsa, ed25519)
    site.publish(LEAVES[:3])

    assert monitor(by=["--pin"])[0] == 0


# --- A log that is not there ------------------------------------------------------


def test_a_log_that_is_not_there_is_unreachable(site, monitor, folder):
    status, _, err = monitor()

    assert status == 7
    assert "the log has no checkpoint" in err
    assert monitor(by=["--pin"])[0] == 7
    assert not folder.exists()


def test_a_log_whose_entries_are_not_there_yet_is_not_whole(site, monitor, folder):
    site.publish(LEAVES[:3])
    entries = site.files.pop("tile/entries/000.p/3")

    status, _, err = monitor()

    assert status == 7
    assert "not whole: tile/entries/000.p/3 is not there" in err
    site.files["tile/entries/000.p/3"] = entries
    assert monitor()[0] == 0


@pytest.mark.parametrize("status", [301, 403, 500])
def test_a_server_that_refuses_is_unreachable(site, monitor, status):
    site.publish(LEAVES[:3])
    site.status = status

    code, _, err = monitor()

    assert code == 7
    assert f"HTTP status {status}" in err


def test_nobody_listening_is_unreachable(folder, site, capsys):
    url = "http://127.0.0.1:9"
    words = [url, str(folder), "--key", render_key(site.key)]

    assert main(["ledger", "monitor", *words]) == 7
    assert url in capsys.readouterr().err


@pytest.mark.parametrize(
    "body", [b"x", gzip.compress(b"x" * 100, mtime=0), gzip.compress(b"", mtime=0)[:-1]]
)
def test_an_answer_that_is_too_long_or_cut_is_none(site, monitor, monkeypatch, body):
    monkeypatch.setattr(web, "LONGEST", 50)
    site.publish(LEAVES[:3])
    site.files["checkpoint"] = body
    site.headers = {"Content-Encoding": "gzip"}

    assert monitor()[0] == 7
    site.files["checkpoint"] = b"x" * 60
    site.headers = {}
    status, _, err = monitor()
    assert status == 7
    assert "too long" in err


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["http://ca.example.com", "DIR", "--pin", "SHA256:x"], 1),
        (["https://ca.example.com", "DIR"], 2),
        (["https://ca.example.com", "DIR", "--pin", "x", "--key", "y"], 2),
        (["https://ca.example.com", "DIR", "--key", "y"], 1),
        (["https://ca.example.com"], 2),
    ],
)
def test_what_is_typed_wrong_is_refused(arguments, status, capsys):
    assert main(["ledger", "monitor", *arguments]) == status
    assert capsys.readouterr().err.startswith("ca-admin: error: ")
