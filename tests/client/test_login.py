"""Bare `ca-login` with a token in a file: what it installs, and all it refuses to."""

import json
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ca import bundle, errors
from ca.certificate import parse_line
from ca.errors import CAError
from tests.client.conftest import TOKEN
from tests.fake_ca import VERSION, FakeCA, problem
from tests.fakes import Answer

COMMAND = [sys.executable, "-m", "client"]
ROOT = Path(__file__).parents[2]


def ssh_keygen(*arguments: object) -> str:
    done = subprocess.run(
        ["ssh-keygen", *map(str, arguments)], capture_output=True, text=True, check=True
    )
    return done.stdout


def pair(keys) -> tuple[bytes, bytes]:
    return keys.private.read_bytes(), keys.certificate.read_bytes()


def test_a_sign_in_says_one_line_and_nothing_on_standard_output(login):
    said = login()

    assert said.status == 0
    assert said.out == ""
    assert said.err.startswith(
        "ca-login: signed in as corp:ada@example.com for ada, deploy until "
    )
    assert said.err.endswith(" (10 h 0 min)\n")
    assert said.err.count("\n") == 1


def test_ssh_finds_a_key_and_the_certificate_for_it(login, keys):
    login()

    shown = ssh_keygen("-L", "-f", keys.certificate)
    public = ssh_keygen("-y", "-f", keys.private)
    assert "ada\n" in shown
    assert ssh_keygen("-lf", keys.private).split()[1] in shown
    assert keys.held().certificate.subject_key == parse_line(public)


def test_the_key_is_a_fresh_one_each_time(login, keys):
    login()
    before = keys.private.read_bytes()

    login()

    assert keys.private.read_bytes() != before
    assert len(list(keys.folder.glob(".default.*"))) == 1


def test_what_was_asked_reaches_the_ca_and_nothing_else_does(login, ca):
    ca.principals = ("root", "ada")

    login(
        *("--principal", "ada", "--principal", "root"),
        *("--validity", "1h30m", "--reason", "disk full"),
    )
    login()

    asked, plain = ca.requests
    assert asked["principals"] == ["ada", "root"]
    assert asked["validity_seconds"] == 5400
    assert asked["reason"] == "disk full"
    assert plain.keys() == {"public_key", "id_token", "checkpoint"}
    assert plain["id_token"] == TOKEN
    assert plain["public_key"].startswith("ssh-ed25519 AAAA")


def test_files_are_closed_to_others_under_any_umask(login, home):
    os.umask(0)

    login()

    ours = [home / ".ssh", home / ".config", home / ".local"]
    for path in [p for folder in ours for p in (folder, *folder.rglob("*"))]:
        if not path.is_symlink() and path.name != "key.pub":
            mode = stat.S_IMODE(path.stat().st_mode)
            assert mode == (0o700 if path.is_dir() else 0o600), path


def test_an_open_folder_of_ours_is_closed_again(login, keys):
    keys.folder.mkdir(parents=True)
    keys.folder.chmod(0o755)

    login()

    assert stat.S_IMODE(keys.folder.stat().st_mode) == 0o700


def test_json_says_what_the_certificate_says(login, keys, ca):
    ca.left_out = [{"what": "root", "reason": "only on request"}]

    document = login("--json").document

    assert document["v"] == 1
    assert document["key_id"] == "corp:ada@example.com"
    assert document["principals"] == ["ada", "deploy"]
    assert document["serial"] == "41"
    assert document["certificate"] == str(keys.certificate)
    assert document["left_out"] == ca.left_out
    assert document["valid_before"] - document["valid_after"] == 36060


def test_what_was_left_out_is_said_in_full_only_when_asked(login, ca):
    ca.left_out = [{"what": "root", "reason": "only on\nrequest"}]

    briefly, fully = login().err, login("-v").err

    assert "; 1 left out, see -v\n" in briefly
    assert "request" not in briefly
    assert "ca-login: left out: root: only on\\nrequest\n" in fully


def test_each_step_is_shown_when_asked(login, ca):
    steps = login("-v").err

    assert f"ca-login: get a certificate from {ca.url}\n" in steps
    assert "ca-login: install the certificate\n" in steps
    assert TOKEN not in steps


LIES: dict[str, tuple[dict[str, Any], int, str]] = {
    "for another key": ({"public_key": "stranger"}, 1, "for another key"),
    "for a host": ({"host": True}, 1, "host certificate"),
    "by a key nobody trusts": ({"signed_by": "other"}, 1, "hosts do not trust"),
    "by the host CA key": ({"signed_by": "host_ca"}, 1, "hosts do not trust"),
    "by a key not used yet": ({"user_ca_state": bundle.KeyState.STAGED}, 1, "hosts"),
    "with a bad signature": ({"flip_last_bit": True}, 1, "does not verify"),
    "naming nobody": ({"principals": ()}, 1, "is no certificate"),
    "for ever": ({"validity": "always:forever"}, 1, "is no certificate"),
    "not yet valid": ({"validity": "+1h:+2h"}, 8, "clock"),
    "ended": ({"validity": "-2h:-1h"}, 8, "clock"),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_wrong_certificate_is_never_installed(login, ca, keys, lie):
    changes, status, why = LIES[lie]
    assert login().status == 0
    before = pair(keys)
    for name, value in changes.items():
        known = name == "public_key"
        setattr(ca, name, ca.public(value) if known else value)
    if "user_ca_state" in changes:
        ca.roots_version += 1

    said = login()

    assert said.status == status
    assert why in said.err
    assert "could not check" in said.err or "could not install" in said.err
    assert pair(keys) == before
    assert len(list(keys.folder.glob(".default.*"))) == 1


def test_other_principals_than_were_asked_are_refused(login, ca):
    said = login("--principal", "root")

    assert said.status == 1
    assert "not for the principals that were asked for" in said.err


BUNDLE_LIES: dict[str, tuple[dict[str, Any], str]] = {
    "other root key": ({"roots_signed_by": "other"}, "roots) of the CA is not signed"),
    "other online key": ({"current_signed_by": "other"}, "current) of the CA is not"),
    "no online key": ({"online_state": bundle.KeyState.RETIRING}, "is not signed"),
    "older roots": ({"roots_version": VERSION - 1}, "older than the one"),
    "older current": ({"current_version": VERSION - 1}, "older than the one"),
}


@pytest.mark.parametrize("lie", BUNDLE_LIES)
def test_a_wrong_trust_bundle_is_never_believed(login, ca, keys, lie):
    changes, why = BUNDLE_LIES[lie]
    for name, value in changes.items():
        setattr(ca, name, value)
    if lie in {"other root key", "no online key"}:
        ca.roots_version += 1

    said = login()

    assert said.status == 1
    assert why in said.err
    assert "do not go on" in said.err
    assert keys.held() is None


def test_newer_roots_cure_a_current_of_the_highest_version(login, ca, keys):
    ca.current_version = 10**18
    assert login().status == 0

    ca.roots_version += 1
    ca.current_version = VERSION

    assert login().status == 0


def test_roots_that_current_does_not_name_are_refused(login, ca):
    named = ca.current().split(b"roots ")[1][:64].decode()
    ca.roots_version += 1
    ca.current_version += 1
    ca.answers[f"/v1/trust/blob/{named}"] = Answer(body=b"")
    newer = ca.current().split(b"roots ")[1][:64].decode()
    ca.roots_version += 1
    ca.answers[f"/v1/trust/blob/{newer}"] = Answer(body=ca.roots())
    ca.roots_version -= 1

    said = login()

    assert said.status == 1
    assert "not those that the CA says hold now" in said.err


def test_a_bundle_that_ran_out_is_an_alarm_and_no_lockout(login, ca):
    ca.expires_in = -1
    ca.current_version += 1

    said = login()

    assert said.status == 0
    assert "ca-login: warning: the CA's trust bundle has run out" in said.err


def test_roots_are_fetched_again_only_when_they_changed(login, ca):
    login()
    blobs = [path for path in ca.hits if "/blob/" in path]

    ca.roots_version += 1
    login()
    login()

    assert [ca.hits[path] for path in ca.hits if "/blob/" in path] == [1, 1, 1]
    assert len(blobs) == 2  # the other is the KRL


@pytest.mark.parametrize("memory", ["", "[]", "{", '{"url": 1}', "roots", "bool"])
def test_a_damaged_memory_is_no_memory(login, ca, home, memory):
    path = home / ".local/state/daypass/default.json"
    if memory == "roots":
        document = json.loads(path.read_text()) | {"roots": "nonsense"}
        memory = json.dumps(document)
    elif memory == "bool":
        document = json.loads(path.read_text()) | {"pin": "another"}
        memory = json.dumps(document)
    path.write_text(memory)

    assert login().status == 0
    assert "daypass-roots-v1" in path.read_text()


PROBLEMS = {
    kind.code: kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, CAError) and kind is not CAError
}


def expected_status(kind: type[CAError]) -> int:
    if kind is errors.RequestTimeWrong:
        return 8
    if issubclass(kind, errors.Unauthenticated | errors.TokenSpent):
        return 4
    if issubclass(kind, errors.Denied):
        return 5
    later = issubclass(kind, errors.Unavailable | errors.RateLimited)
    return 7 if later else 1


@pytest.mark.parametrize("code", PROBLEMS)
def test_every_refusal_of_the_ca_has_its_exit_code(login, ca, code):
    ca.answers["/v1/user-certificates"] = problem(400, code, "so it is", hint="do this")

    said = login()

    assert said.status == expected_status(PROBLEMS[code])
    assert said.err == (
        f"ca-login: error: could not get a certificate from {ca.url}\n"
        f"ca-login: {ca.url} says: so it is ({code}, request r-1)\n"
        "ca-login: hint: do this\n"
    )


def test_a_refusal_that_is_not_known_yet_is_told_all_the_same(login, ca):
    ca.answers["/v1/user-certificates"] = problem(418, "teapot", "so it is")

    said = login("--json")

    assert said.status == 1
    assert said.document["error"] == {
        "code": "refused",
        "what": f"could not get a certificate from {ca.url}",
        "why": f"{ca.url} says: so it is (teapot, request r-1)",
        "hint": None,
        "exit_code": 1,
    }


def test_a_refused_token_hints_at_signing_in_again(login, ca):
    ca.answers["/v1/user-certificates"] = problem(401, "token_expired", "too late")

    assert login().err.endswith("ca-login: hint: ca-login\n")


def test_what_a_ca_writes_cannot_play_with_the_terminal(login, ca):
    ca.answers["/v1/user-certificates"] = problem(
        403, "denied", "\x1b]0;owned\x07\r\nca-login: signed in\u202e" + "x" * 10_000
    )

    said = login()

    assert said.err.isascii()
    assert "\x1b" not in said.err
    assert said.err.count("\n") == 2
    assert len(said.err) < 5_000


HTML = Answer(200, b"<html>", {"Content-Type": "text/html"})
BAD = {
    "a web page": (HTML, 1, "instead of JSON"),
    "no type": (Answer(200, b"{}"), 1, "no content type instead of JSON"),
    "no JSON": ("{", 1, "broken JSON"),
    "not UTF-8": (b'{"origin":"\xff"}', 1, "broken JSON"),
    "very deep JSON": ("[" * 100_000, 1, "broken JSON"),
    "a huge number": ('{"server_time":' + "9" * 5_000 + "}", 1, "broken JSON"),
    "a list": ("[]", 1, "not an object"),
    "an empty object": ("{}", 1, "no field 'origin' that is a text"),
    "too much": (b" " * (1 << 20) + b"{}", 1, "more than 1048576 bytes"),
    "a redirect": (Answer(302, headers={"Location": "/"}), 1, "send us elsewhere"),
    "a gateway": (Answer(502, b"", {"Content-Type": "text/html"}), 7, "gateway"),
    "nothing found": (Answer(404, b"", {"Content-Type": "text/html"}), 1, "404"),
    "a bad problem": (
        Answer(500, b"{}", {"Content-Type": "application/problem+json"}),
        1,
        "'code'",
    ),
}


@pytest.mark.parametrize("bad", BAD)
def test_an_answer_that_makes_no_sense_is_a_clean_error(login, ca, bad):
    answer, status, why = BAD[bad]
    if isinstance(answer, str):
        answer = answer.encode()
    if isinstance(answer, bytes):
        answer = Answer(200, answer, {"Content-Type": "application/json"})
    ca.answers["/v1/discovery"] = answer

    said = login()

    assert said.status == status
    assert why in said.err
    assert said.err.startswith(
        f"ca-login: error: could not begin a sign-in at {ca.url}"
    )


WRONG_FIELDS: dict[str, list[Any]] = {
    "server_time": [True, "1", -1, 1 << 60, 1.5, None],
    "issuers": [1, [1], [{}], [{"name": "a", "url": "b", "clients": {}}]],
    "host_patterns": ["a", [1], None],
}


@pytest.mark.parametrize("field", WRONG_FIELDS)
def test_a_field_of_the_wrong_type_is_a_clean_error(login, ca, field):
    right = json.loads(ca.answer("/v1/discovery", b"").body)
    for wrong in WRONG_FIELDS[field]:
        body = json.dumps(right | {field: wrong}).encode()
        ca.answers["/v1/discovery"] = Answer(
            200, body, {"Content-Type": "application/json"}
        )

        said = login()

        assert said.status == 1
        assert "the answer has no field" in said.err


FIELDS = (
    *("code", "detail", "hint", "request_id", "origin", "server_time"),
    *("issuers", "host_patterns", "certificate", "left_out"),
)
PATHS = ("/v1/discovery", "/v1/user-certificates", "/v1/trust/current")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    path=st.sampled_from(PATHS),
    status=st.sampled_from([200, 200, 200, 204, 400, 500, 503]),
    content_type=st.sampled_from(
        ["application/json", "application/problem+json", "text/plain", "", "/;\xe9"]
    ),
    body=st.binary(max_size=200)
    | st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(
                st.sampled_from(FIELDS),
                inner,
            )
        ),
    ).map(lambda value: json.dumps(value).encode()),
)
def test_any_answer_gives_a_clean_error(login, ca, path, status, content_type, body):
    ca.answers.clear()
    ca.answers[path] = Answer(status, body, {"Content-Type": content_type})

    said = login()

    assert said.status in {1, 4, 5, 7, 8}
    assert "fault in ca-login" not in said.err
    assert said.err.startswith("ca-login: error: could not ")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(path=st.sampled_from(PATHS), sent=st.binary(max_size=200), more=st.booleans())
def test_any_bytes_give_a_clean_error(login, ca, path, sent, more):
    ca.raw.clear()
    ca.raw[path] = (b"HTTP/1.1 200 OK\r\n" if more else b"") + sent

    said = login()

    assert said.status in {1, 7}
    assert "fault in ca-login" not in said.err
    ca.raw.clear()


@pytest.mark.parametrize(
    "line",
    ["", "x", "ssh-ed25519 AAAA", "ssh-ed25519 !", "\N{SNOWMAN} a", "a b\nc d"],
)
def test_what_is_no_certificate_is_refused(login, ca, line):
    proof = {"leaf": "", "proof": "", "checkpoint_signature": ""}
    body = json.dumps({"certificate": line, "ledger": proof}).encode()
    ca.answers["/v1/user-certificates"] = Answer(
        200, body, {"Content-Type": "application/json"}
    )

    said = login()

    assert said.status == 1
    assert "is no certificate" in said.err


def test_a_ca_that_is_away_is_unreachable(run, token_file):
    with FakeCA() as ca:
        run("setup", ca.url, "--pin", ca.pin)

    said = run("--token-file", token_file)

    assert said.status == 7
    assert "cannot be reached: Connection refused" in said.err
    assert f"hint: check the network, then: curl -v {ca.url}\n" in said.err


@pytest.mark.parametrize(
    ("ahead", "words"),
    [
        (240, "4 min behind the CA's"),
        (7200 + 720, "2 h 12 min behind the CA's"),
        (-25 * 3600, "25 h 0 min ahead of the CA's"),
    ],
)
def test_a_wrong_clock_is_named_before_a_sign_in_is_wasted(login, ca, ahead, words):
    ca.clock_ahead = ahead

    said = login()

    assert said.status == 8
    assert f"this machine's clock is {words}" in said.err
    assert "hint: set it" in said.err
    assert ca.requests == []


def test_a_little_off_is_nothing(login, ca):
    ca.clock_ahead = 45

    assert login().status == 0


@pytest.mark.parametrize(
    "content", [b"", b"a.b", b"a.b.c.d", b"a.b.c d", b"a" * 17_000, b"\xff.\xfe.\xfd"]
)
def test_what_is_no_token_is_not_sent_and_not_repeated(run, login, ca, home, content):
    path = home / "other"
    path.write_bytes(content)

    said = run("--token-file", str(path))

    assert said.status == 2
    assert f"{path} holds no ID token" in said.err
    assert ca.requests == []


def test_a_token_file_that_is_not_there_or_no_file(run, login, home):
    missing = run("--token-file", str(home / "missing"))
    folder = run("--token-file", str(home))

    assert missing.status == 2
    assert "there is no file" in missing.err
    assert folder.status == 1
    assert "Is a directory" in folder.err


def test_a_file_that_is_no_token_at_all_is_not_read_whole(run, login):
    said = run("--token-file", "/dev/zero")

    assert said.status == 1
    assert "far too large" in said.err


def test_a_token_comes_from_standard_input(login, ca, keys):
    done = subprocess.run(
        [*COMMAND, "--token-file", "-"],
        input=TOKEN.encode(),
        capture_output=True,
        check=True,
        cwd=ROOT,
    )
    empty = subprocess.run(
        [*COMMAND, "--token-file", "-"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )

    assert done.stdout == b""
    assert ca.requests[0]["id_token"] == TOKEN
    assert empty.returncode == 2
    assert "standard input holds no ID token" in empty.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("--validity", "soon"),
        ("--validity", "0h"),
        ("--validity", ""),
        ("--principal", "a,b"),
        ("--principal", ""),
        ("--profile", "../x"),
        ("--profile", "missing"),
        ("--princ", "ada"),
        ("--token-file",),
        ("--json", "extra"),
    ],
)
def test_what_was_typed_wrong_is_misuse(login, ca, arguments):
    said = login(*arguments)

    assert said.status == 2
    assert said.err.startswith("ca-login: error: could not ")
    assert ca.requests == []


def test_misuse_is_json_too_when_json_was_asked(login):
    said = login("--json", "--nonsense")

    assert said.document["error"]["code"] == "misuse"
    assert said.document["error"]["hint"] == "ca-login --help"


def test_without_ssh_keygen_it_says_what_to_install(login, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))

    said = login()

    assert said.status == 1
    assert "ssh-keygen is not installed" in said.err


@pytest.mark.parametrize("script", ["#!/bin/sh\nexit 3\n", "not a program"])
def test_an_ssh_keygen_that_fails_is_reported(login, monkeypatch, tmp_path, script):
    program = tmp_path / "ssh-keygen"
    program.write_text(script)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}")

    said = login()

    assert said.status == 1
    assert "ssh-keygen can" in said.err


def test_a_file_in_the_way_is_reported(login, home, ca):
    (home / ".ssh").write_text("in the way")

    said = login()

    assert said.status == 1
    assert "cannot make the folder" in said.err
    assert ca.requests == []


def test_a_full_disk_leaves_the_morning_s_pair(login, keys, ca, token_file):
    login()
    before = pair(keys)
    # 600 bytes hold a key but no certificate.
    limit = "import resource as r; r.setrlimit(r.RLIMIT_FSIZE, (600, 600));"
    ignore = "import signal as s; s.signal(s.SIGXFSZ, s.SIG_IGN);"
    run = "from client.__main__ import main; raise SystemExit(main())"

    done = subprocess.run(
        [sys.executable, "-c", limit + ignore + run, "--token-file", token_file],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={**os.environ, "COVERAGE_PROCESS_CONFIG": ""},
    )

    assert done.returncode == 1
    assert "File too large" in done.stderr
    assert pair(keys) == before
    assert len(list(keys.folder.glob(".default.*"))) == 1


def test_an_expired_pair_is_gone_even_when_the_sign_in_fails(login, ca, keys):
    ca.validity = "-2h:-1h"
    with keys.attempt() as attempt:
        attempt.add_certificate(ca.certify(attempt.public_key()[0]))
        keys.install(attempt)
    ca.answers["/v1/discovery"] = problem(503, "unavailable", "not now")

    assert login().status == 7

    assert list(keys.folder.iterdir()) == []


def started(*arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [*COMMAND, *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_interrupted_it_leaves_the_morning_s_pair_and_nothing_else(
    login, ca, keys, token_file
):
    login()
    before, ca.delay_seconds = pair(keys), 0.5
    process = started("--token-file", token_file)
    while len(list(keys.folder.glob(".default.*"))) < 2:
        time.sleep(0.01)

    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=10)

    assert process.returncode == 130
    assert err == "ca-login: interrupted\n"
    assert pair(keys) == before
    assert len(list(keys.folder.glob(".default.*"))) == 1


def test_killed_at_any_moment_the_pair_is_the_old_or_the_new_one(
    login, ca, keys, token_file, rounds
):
    login()
    begun = time.monotonic()
    subprocess.run([*COMMAND, "--token-file", token_file], cwd=ROOT, check=True)
    whole = time.monotonic() - begun
    count = rounds(12)

    for step in range(count):
        process = started("--token-file", token_file)
        time.sleep(whole * (0.4 + 0.6 * step / count))
        process.kill()
        process.communicate()

        assert keys.held().key_matches
        ssh_keygen("-L", "-f", keys.certificate)

    for path in keys.folder.glob(".default.*"):
        os.utime(path, (0, 0))
    login()
    assert len(list(keys.folder.glob(".default.*"))) == 1


def test_a_reader_never_meets_a_mixed_pair(login, keys):
    login()
    seen, over = [], threading.Event()

    def read() -> None:
        while not over.is_set():
            seen.append(keys.held())

    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(10):
        login()
    over.set()
    reader.join()

    assert len({held.certificate.subject_key for held in seen if held}) > 2
    assert all(held.key_matches for held in seen if held)


def test_many_sign_ins_at_once_leave_one_pair(login, keys, token_file):
    processes = [started("--token-file", token_file) for _ in range(6)]

    statuses = [process.wait() for process in processes]

    for process in processes:
        process.communicate()
    assert statuses == [0] * 6
    assert keys.held().key_matches


def test_each_profile_has_its_own_ca_and_key(run, login, ca, home, token_file):
    run("setup", ca.url, "--pin", ca.pin, "--profile", "other")

    said = login("--profile", "other")

    assert said.status == 0
    assert (home / ".ssh/daypass/other-cert.pub").exists()
    assert not (home / ".ssh/daypass/default").exists()
    assert run("--token-file", token_file).status == 0
