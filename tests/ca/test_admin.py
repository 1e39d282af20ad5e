"""`ca-admin`: a new CA works as it stands, and mistakes are answered in words."""

import json
import os
import re
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys

import pytest

from ca import bundle
from ca.admin.__main__ import COMMANDS, HELP, main
from ca.authority import open_authority
from ca.config import load_config
from ca.store.tables import SCHEMA
from ca.trust import load_roots
from tests.ca.test_sshsig import verify


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Make a CA with the command, once, under the most careless umask."""
    folder = tmp_path_factory.mktemp("made") / "new" / "ca"
    before = os.umask(0)
    assert main(["init", str(folder)]) == 0
    os.umask(before)
    return folder


@pytest.fixture
def folder(made, tmp_path, capsys):
    """Return a copy of that CA, modes and all, and forget what was said."""
    capsys.readouterr()
    return shutil.copytree(made, tmp_path / "new" / "ca")


def config_of(folder):
    return ["--config", str(folder / "daypass.toml")]


def test_init_prints_the_root_keys_fingerprint_and_the_next_steps(tmp_path, capsys):
    assert main(["init", str(tmp_path / "ca")]) == 0

    said = capsys.readouterr()
    listing = ["ssh-keygen", "-l", "-f", str(tmp_path / "ca/root/root.pub")]
    listed = subprocess.run(listing, capture_output=True, text=True, check=True).stdout
    fingerprint = listed.split()[1]
    assert said.out == f"root key {fingerprint}\n"
    assert f"ca-login setup http://127.0.0.1:8440 --pin {fingerprint}" in said.err


def test_init_says_which_hosts_are_believed(tmp_path, capsys):
    domains = "*.prod.example,db.example"

    assert main(["init", str(tmp_path / "ca"), "--host-domains", domains]) == 0
    (host_ca,) = load_roots(tmp_path / "ca/roots").roots.host_ca
    assert host_ca.domains == ("*.prod.example", "db.example")

    assert main(["init", str(tmp_path / "any"), "--host-domains", "*"]) == 2
    assert not (tmp_path / "any").exists()


def test_what_init_makes_opens(folder):
    authority = open_authority(load_config(folder / "daypass.toml"))

    assert authority.store.newest_current() is None
    authority.store.close()


def test_all_that_init_makes_is_private_under_any_umask(folder):
    for path in [folder, *folder.rglob("*")]:
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode == (0o700 if path.is_dir() else 0o600), path


def test_no_key_is_stored_in_the_clear_and_the_roots_passphrase_is_its_own(folder):
    assert (folder / "root/passphrase").read_bytes() != (
        folder / "keys/passphrase"
    ).read_bytes()
    for name in ("keys/user_ca", "keys/host_ca", "keys/online", "root/root"):
        command = ["ssh-keygen", "-y", "-P", "", "-f", str(folder / name)]
        assert subprocess.run(command, capture_output=True, check=False).returncode


def test_no_setting_names_the_root_key(folder):
    assert "root/" not in (folder / "daypass.toml").read_text()


def test_the_roots_are_signed_by_the_root_key_and_list_the_others(folder, tmp_path):
    text, armour = bundle.split_signed((folder / "roots").read_bytes())
    roots = bundle.parse_roots(text)

    class Root:
        line = roots.root_key

    assert verify(tmp_path, Root, armour, namespace="daypass-roots", message=text)
    for name, (trusted,) in {
        "user_ca": roots.user_ca,
        "host_ca": roots.host_ca,
        "online": roots.online,
    }.items():
        assert trusted.key in (folder / f"keys/{name}.pub").read_text()


@pytest.mark.parametrize(
    ("key_type", "name"), [("ecdsa", "ecdsa-sha2-nistp256"), ("rsa", "ssh-rsa")]
)
def test_init_makes_ca_keys_of_another_type(tmp_path, key_type, name):
    made = tmp_path / "ca"

    assert main(["init", str(made), "--key-type", key_type]) == 0

    for key in ("user_ca", "host_ca"):
        assert (made / f"keys/{key}.pub").read_text().startswith(f"{name} ")
    for key in ("keys/online", "root/root"):
        assert (made / f"{key}.pub").read_text().startswith("ssh-ed25519 ")
    authority = open_authority(load_config(made / "daypass.toml"))
    authority.store.close()
    assert authority.user_ca_key.type == name


def test_init_makes_no_ca_key_of_an_unknown_type(tmp_path, capsys):
    assert main(["init", str(tmp_path / "ca"), "--key-type", "dsa"]) == 2

    assert "'dsa' (choose from" in capsys.readouterr().err
    assert not (tmp_path / "ca").exists()


def test_init_never_writes_over_anything(folder, capsys):
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}

    assert main(["init", str(folder)]) == 1

    assert "never written over" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--origin", "http://ca.example.com"], "https"),
        (["--issuer", "ftp://x"], "must begin with https"),
        (["--email-domain", "*"], "email_domain"),
    ],
)
def test_init_with_wrong_answers_leaves_nothing_behind(
    tmp_path, capsys, arguments, says
):
    assert main(["init", str(tmp_path / "ca"), *arguments]) == 1

    assert says in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_init_where_it_cannot_write_says_so(tmp_path, capsys):
    (tmp_path / "file").touch()

    assert main(["init", str(tmp_path / "file" / "ca")]) == 1

    assert "cannot make" in capsys.readouterr().err


def test_init_in_place_of_a_dangling_link_says_so_and_leaves_nothing(tmp_path, capsys):
    (tmp_path / "ca").symlink_to(tmp_path / "nowhere")

    assert main(["init", str(tmp_path / "ca")]) == 1

    assert "cannot make" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["ca"]


def test_check_config_prints_what_is_in_force(folder, capsys):
    assert main(["check-config", *config_of(folder)]) == 0

    lines = capsys.readouterr().out.splitlines()
    assert "origin http://127.0.0.1:8440" in lines
    assert any(line.startswith("user CA key SHA256:") for line in lines)
    assert any("client daypass flow browser binding nonce" in line for line in lines)


def test_check_config_reads_the_environment_variable(folder, capsys, monkeypatch):
    monkeypatch.setenv("DAYPASS_CONFIG", str(folder / "daypass.toml"))

    assert main(["check-config"]) == 0
    assert capsys.readouterr().out


def test_without_a_configuration_the_hint_says_how_to_name_one(capsys):
    assert main(["check-config"]) == 1
    assert "ca-admin check-config --config FILE" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("policy.toml", None, "cannot read"),
        ("policy.toml", b"[[rule]]\n", "policy.toml"),
        ("roots", b"", "no signature"),
        ("keys/user_ca", b"", "cannot open"),
        ("keys/passphrase", b"wrong", "cannot open"),
        ("daypass.db", None, "there is no database"),
        ("daypass.toml", b"", "daypass.toml"),
    ],
)
def test_check_config_names_the_file_that_is_wrong(folder, capsys, name, content, says):
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(content)

    assert main(["check-config", *config_of(folder)]) == 1

    assert says in capsys.readouterr().err


def test_keys_swapped_in_the_configuration_are_noticed(folder, capsys):
    file = folder / "daypass.toml"
    file.write_text(file.read_text().replace("keys/user_ca", "keys/host_ca"))

    assert main(["check-config", *config_of(folder)]) == 1

    assert "the roots do not list" in capsys.readouterr().err


def test_an_older_database_is_refused_until_it_is_upgraded(folder, capsys):
    with sqlite3.connect(folder / "daypass.db") as connection:
        for (table,) in connection.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table'"
        ).fetchall():
            connection.execute(f"DROP TABLE {table}")
    assert main(["check-config", *config_of(folder)]) == 1
    assert "ca-admin db upgrade" in capsys.readouterr().err

    assert main(["db", "upgrade", *config_of(folder)]) == 0

    assert capsys.readouterr().out == f"database schema none -> {SCHEMA}\n"
    assert main(["check-config", *config_of(folder)]) == 0


# --- The command itself -------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "status"), [(["--help"], 0), (["-h"], 0), ([], 2)], ids=str
)
def test_help_is_printed(capsys, arguments, status):
    assert main(arguments) == status
    assert capsys.readouterr().out == HELP


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_explains_itself(capsys, name):
    assert main([name, "--help"]) == 0

    said = capsys.readouterr()
    assert said.out == COMMANDS[name].HELP
    assert said.out.startswith(f"usage: ca-admin {name} ")
    assert f"\n  ca-admin {name}" in said.out
    assert "\nexit codes: 0 " in said.out
    assert said.err == ""


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["frobnicate"], "ca-admin --help"),
        (["check-config", "--conf", "x"], "ca-admin check-config --help"),
        (["db", "downgrade"], "ca-admin db --help"),
    ],
    ids=str,
)
def test_misuse_is_told_from_failure_and_says_where_help_is(capsys, arguments, hint):
    assert main(arguments) == 2

    said = capsys.readouterr()
    assert said.out == ""
    assert re.match(r"ca-admin: error: .", said.err)
    assert said.err.endswith(f"\nca-admin: hint: {hint}\n")


def test_every_result_is_one_json_object_for_who_wants_it(folder, tmp_path, capsys):
    new = str(tmp_path / "json")
    for arguments, keys in (
        (["init", new], {"folder", "root_key"}),
        (["check-config", *config_of(folder)], {"origin", "policy", "clients"}),
        (["db", "upgrade", *config_of(folder)], {"before", "after"}),
    ):
        assert main([*arguments, "--json"]) == 0

        (line,) = capsys.readouterr().out.splitlines()
        document = json.loads(line)
        assert document["v"] == 1
        assert keys <= set(document)


def test_a_failure_is_json_too(capsys, tmp_path):
    missing = str(tmp_path / "missing.toml")

    assert main(["check-config", "--config", missing, "--json"]) == 1

    said = capsys.readouterr()
    error = json.loads(said.out)["error"]
    assert (error["code"], error["exit_code"]) == ("misconfigured", 1)
    assert error["hint"] == "make a configuration with: ca-admin init DIR"
    assert error["why"] in said.err


def test_a_fault_of_ours_is_named_without_its_words(capsys):
    assert main(["init", 7, "a secret"]) == 1  # type: ignore[list-item]  # the fault

    said = capsys.readouterr()
    assert re.match(r"ca-admin: error: a fault in ca-admin itself: \w+ in ", said.err)
    assert "secret" not in said.err
    assert "Traceback" not in said.err


def test_what_others_wrote_cannot_move_the_cursor(capsys):
    assert main(["check-config", "--config", "\x1b[2J\u202e"]) == 1

    assert "\\x1b[2J\\u202e" in capsys.readouterr().err


def test_who_interrupts_it_is_not_shown_a_traceback(folder):
    (folder / "policy.toml").unlink()
    os.mkfifo(folder / "policy.toml")
    process = subprocess.Popen(
        [sys.executable, "-m", "ca.admin", "check-config", *config_of(folder)],
        stderr=subprocess.PIPE,
    )
    # Opens once the command has: it now waits for a policy that nobody writes.
    with (folder / "policy.toml").open("wb"):
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=20)

    assert process.returncode == 130
    assert said == b"ca-admin: interrupted\n"


def test_a_reader_that_leaves_early_is_no_traceback(folder):
    with subprocess.Popen(
        [sys.executable, "-m", "ca.admin", "check-config", *config_of(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout
        process.stdout.close()

        assert process.stderr
        assert process.stderr.read() == b""
    assert process.returncode == 1
