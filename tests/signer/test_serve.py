"""`ca-signer serve` as an operator meets it: signals, mistakes, the log, the end."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
from hashlib import sha256
from pathlib import Path

import pytest
from msgspec.structs import replace

from signer.__main__ import HELP, main
from tests.authority import (
    PATIENCE_SECONDS,
    ROOT,
    SERVE,
    Answer,
    Signer,
    make_ca,
    request_of,
    rewrite,
    wait_until,
    write_whole,
)
from tests.fakes import FakeIdP

WORKERS = 2
READERS = WORKERS + 1
"""Who reads the policy on a hangup: the workers, and their parent for their heirs."""


@pytest.fixture(scope="module")
def idp():
    with FakeIdP() as idp:
        yield idp


@pytest.fixture
def config_file(idp, tmp_path):
    return make_ca(tmp_path / "ca", idp)


def validity(answer: Answer) -> int:
    certificate = answer.certificate
    return certificate.valid_before - certificate.valid_after - 60


def log_lines(signer: Signer, message: str) -> list[dict[str, object]]:
    return [line for line in signer.said() if line["message"].startswith(message)]


# --- SIGHUP -------------------------------------------------------------------------


def test_a_hangup_makes_every_worker_take_the_policy_as_it_is_now(idp, config_file):
    policy_file = config_file.with_name("policy.toml")
    with Signer(config_file, processes=WORKERS) as signer:
        before = workers_of(signer)
        assert validity(signer.sign(request_of(idp))) == 36000
        rewrite(policy_file, {'validity   = "10h"': 'validity   = "1h"'})

        signer.signal(signal.SIGHUP)

        wait_until(lambda: len(log_lines(signer, "policy reloaded")) == READERS)
        answers = [signer.sign(request_of(idp)) for _ in range(10)]
        assert {validity(answer) for answer in answers} == {3600}
        reloaded = log_lines(signer, "policy reloaded")
        new_hash = sha256(policy_file.read_bytes()).hexdigest()
        assert {line["policy_sha256"] for line in reloaded} == {new_hash}
        assert workers_of(signer) == before


def workers_of(signer: Signer) -> set[int]:
    children = Path(f"/proc/{signer.process_id}/task/{signer.process_id}/children")
    return {int(child) for child in children.read_text().split()}


def test_a_wrong_policy_keeps_the_one_before_and_shows_in_readyz(idp, config_file):
    policy_file = config_file.with_name("policy.toml")
    right = policy_file.read_text()
    with Signer(config_file, processes=WORKERS) as signer:
        write_whole(policy_file, right.replace('gets     = ["ada"]', "gets = []"))

        signer.signal(signal.SIGHUP)

        wait_until(lambda: len(log_lines(signer, "policy not reloaded")) == READERS)
        for _ in range(5):
            assert validity(signer.sign(request_of(idp))) == 36000
            ready = signer.get("/readyz")
            assert ready.status == 503
            assert ready.json == {
                "ready": False,
                "problems": ["the policy file is wrong, the one before it holds"],
            }
            assert signer.get("/livez").status == 200

        write_whole(policy_file, right)
        signer.signal(signal.SIGHUP)
        wait_until(lambda: len(log_lines(signer, "policy reloaded")) == READERS)
        assert signer.get("/readyz").json == {"ready": True, "problems": []}


def test_who_takes_a_dead_workers_place_begins_with_the_policy_that_holds(
    idp, config_file
):
    policy_file = config_file.with_name("policy.toml")
    with Signer(config_file) as signer:
        write_whole(policy_file, "wrong")
        signer.signal(signal.SIGHUP)
        wait_until(lambda: len(log_lines(signer, "policy not reloaded")) == 2)
        (before,) = workers_of(signer)

        os.kill(before, signal.SIGKILL)

        wait_until(lambda: workers_of(signer) not in ({before}, set()))
        assert validity(signer.sign(request_of(idp))) == 36000
        assert signer.get("/readyz").json["problems"] == [
            "the policy file is wrong, the one before it holds"
        ]


def test_a_hangup_while_workers_start_kills_none(config_file):
    with Signer(config_file, processes=4) as signer:
        wait_until(lambda: len(workers_of(signer)) == 4)
        before = workers_of(signer)

        signer.signal(signal.SIGHUP)

        wait_until(lambda: len(log_lines(signer, "policy reloaded")) == 5)
        assert workers_of(signer) == before


def test_hangups_under_load_fail_nobody(idp, config_file):
    done = threading.Event()
    statuses: set[int] = set()
    with Signer(config_file, processes=WORKERS) as signer:

        def load():
            while not done.is_set():
                statuses.add(signer.sign(request_of(idp)).status)

        def reload(count):
            signer.signal(signal.SIGHUP)
            wait_until(lambda: len(log_lines(signer, "policy reloaded")) >= count)

        threads = [threading.Thread(target=load) for _ in range(4)]
        for thread in threads:
            thread.start()
        try:
            for count in range(1, 6):
                reload(count * READERS)
        finally:
            done.set()
            for thread in threads:
                thread.join()
    assert statuses == {200}


# --- Mistakes -----------------------------------------------------------------------


def run(*words: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*SERVE[:3], *words],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )


@pytest.mark.parametrize(
    ("file", "old", "new", "words"),
    [
        ("daypass.toml", "[server]", "[sever]", "unknown field `sever`"),
        ("daypass.toml", "daypass.db", "typo.db", "there is no database"),
        ("daypass.toml", 'file = "keys/user_ca"', 'file = "no"', "cannot read"),
        ("daypass.toml", 'file = "keys/user_ca"', 'file = "keys/host_ca"', "active"),
        ("policy.toml", 'gets     = ["ada"]', 'gets     = ["eve"]', "policy.toml"),
    ],
)
def test_a_mistake_in_a_file_is_said_once_in_words(file, old, new, words, config_file):
    rewrite(config_file.with_name(file), {old: new})

    done = run("serve", "--config", config_file)

    assert done.returncode == 1
    assert done.stdout == ""
    assert re.match(r"ca-signer: error: ", done.stderr)
    assert words in done.stderr
    assert done.stderr.count("ca-signer: error: ") == 1
    assert "Traceback" not in done.stderr


def test_no_configuration_is_a_mistake():
    done = run("serve")

    assert done.returncode == 1
    assert done.stderr == (
        "ca-signer: error: no configuration is named\n"
        "ca-signer: hint: ca-signer serve --config FILE\n"
    )


def test_the_environment_may_name_the_configuration(tmp_path):
    missing = str(tmp_path / "missing.toml")

    done = run("serve", DAYPASS_CONFIG=missing)

    assert done.returncode == 1
    assert missing in done.stderr


@pytest.mark.parametrize(
    ("words", "status"), [([], 2), (["--help"], 0), (["-h"], 0)], ids=str
)
def test_help_is_written_by_hand(words, status, capsys):
    assert main(words) == status

    said = capsys.readouterr()
    assert said.out == HELP
    assert said.err == ""


@pytest.mark.parametrize(
    "words", [["restart"], ["serve", "--port", "1"], ["serve", "--config"]], ids=str
)
def test_misuse_is_told_from_failure(words):
    with pytest.raises(SystemExit) as caught:
        main(words)

    assert caught.value.code == 2


# --- The log ------------------------------------------------------------------------


def test_the_log_is_json_with_one_line_a_request_and_no_token_in_it(idp, config_file):
    good, bad = request_of(idp), request_of(idp, principals=("root",))
    forged = replace(good, id_token=good.id_token[:-8] + "AAAAAAAA")
    with Signer(config_file) as signer:
        ready = len(log_lines(signer, "request"))
        answers = [signer.sign(one) for one in (good, bad, forged)]
        answers.append(signer.get(f"/v1/nowhere?token={good.id_token}"))
        answers.append(signer.ask("POST", f"/{good.id_token}", b"{}"))
        body = b'{"id_token": "' + good.id_token.encode() + b'"'
        answers.append(signer.ask("POST", "/v1/user-certificates", body))
        wait_until(lambda: len(log_lines(signer, "request")) >= ready + len(answers))

    lines = log_lines(signer, "request")[ready:]
    assert [line["request_id"] for line in lines] == [
        answer.headers["X-Request-Id"] for answer in answers
    ]
    assert [line["status"] for line in lines] == [200, 403, 401, 404, 404, 400]
    assert lines[0]["key_id"] == "corp:ada@example.com"
    assert lines[0]["serial"] == answers[0].json["serial"]
    assert [line.get("code") for line in lines[1:4]] == [
        "denied",
        "token_signature_invalid",
        "not_found",
    ]
    signature = good.id_token.rpartition(".")[2]
    for one in (good, bad):
        assert one.id_token not in signer.log.read_text()
        assert str(one.salt) not in signer.log.read_text()
    assert signature not in signer.log.read_text()


def test_every_line_from_the_start_to_the_end_is_json(config_file):
    with Signer(config_file) as signer:
        signer.get("/v1/discovery")

    lines = [json.loads(line) for line in signer.log.read_text().splitlines()]
    assert lines
    for line in lines:
        assert line.keys() >= {"time", "level", "logger", "message"}


# --- The end ------------------------------------------------------------------------


def test_who_is_being_served_when_it_is_told_to_stop_gets_an_answer(idp, config_file):
    # The issuer is asked anew about a key it has never published, which takes a while.
    request = replace(request_of(idp), id_token=idp.token(header={"kid": "another"}))
    answers: list[Answer] = []
    asking = threading.Thread(target=lambda: answers.append(signer.sign(request)))
    with Signer(config_file) as signer:
        asked = idp.hits["/jwks"]
        idp.delay_seconds = 0.5
        try:
            asking.start()
            wait_until(lambda: idp.hits["/jwks"] > asked)

            status = signer.stop()
            asking.join()
        finally:
            idp.delay_seconds = 0
    assert status == 0
    assert [answer.status for answer in answers] == [401]
    with pytest.raises(ConnectionRefusedError):
        signer.get("/livez")


def test_no_crash_and_no_neighbour_gets_at_the_memory(config_file):
    ours = "import ctypes; from signer.memory import keep_memory; keep_memory()"
    ask = "print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))"  # PR_GET_DUMPABLE
    said = subprocess.run(
        [sys.executable, "-c", f"{ours}; {ask}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stdout == "0\n"

    with Signer(config_file) as signer:
        for process in (signer.process_id, *workers_of(signer)):
            limits = Path(f"/proc/{process}/limits").read_text()
            assert re.search(r"^Max core file size +0 +0 ", limits, re.MULTILINE)
