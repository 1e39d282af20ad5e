"""`ca-admin keys`: new roots are drafted, and signed once their changes were shown."""

import json
import os
import pty
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from ca import bundle
from ca.admin.__main__ import main
from ca.admin.init import Answers, make
from ca.bundle import ClosedLog, HostCAKey, KeyState, TrustedKey
from ca.signing_key import FileKey
from ca.trust import load_roots
from ca.trust.draft import differences, draft_new_log, warnings
from tests.agents import SshAgent
from tests.authority import rewrite
from tests.ca.test_sshsig import verify

NEW = FileKey.generate()
SMALL_ORDER = FileKey.generate().line[:-43] + "A" * 43


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made") / "ca"
    make(folder, Answers("http://127.0.0.1:8440", "https://login", "id", "example.com"))
    return folder


@pytest.fixture
def before(folder):
    """Return the roots that there are; whatever a test writes is undone."""
    document = (folder / "roots").read_bytes()
    yield load_roots(folder / "roots").roots
    (folder / "roots").write_bytes(document)


def new_text(before, tmp_path, **changes):
    """Write the text of new roots; return its file."""
    roots = replace(before, **{"version": before.version + 1} | changes)
    file = tmp_path / "roots.new"
    file.write_bytes(bundle.render_roots(roots))
    return file


def sign(folder, file, *more):
    key = ["--root-key", str(folder / "root/root")]
    return main(["keys", "sign-roots", str(file), *key, "--yes", *map(str, more)])


def test_new_roots_are_shown_signed_and_put_in_place(folder, before, tmp_path, capsys):
    file = new_text(before, tmp_path)

    assert sign(folder, file, "--config", folder / "daypass.toml") == 0
    assert sign(folder, file, "--config", folder / "daypass.toml") == 0  # no change

    assert file.read_text() in capsys.readouterr().err
    text, armour = bundle.split_signed((folder / "roots").read_bytes())
    assert text == file.read_bytes()

    class Root:
        line = before.root_key

    assert verify(tmp_path, Root, armour, namespace="daypass-roots", message=text)


def test_another_machine_signs_with_the_root_key_alone(
    folder, before, tmp_path, capsys
):
    passphrase = tmp_path / "elsewhere"
    (folder / "root/passphrase").rename(passphrase)
    output = tmp_path / "signed"
    more = ["--output", output, "--passphrase-file", passphrase, "--json"]

    assert sign(folder, new_text(before, tmp_path), *more) == 0

    passphrase.rename(folder / "root/passphrase")
    said = json.loads(capsys.readouterr().out)
    assert said == {"v": 1, "file": str(output), "version": before.version + 1}
    assert load_roots(output).roots.version == before.version + 1


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"version": 1}, "does not grow"),
        ({"root_key": "ssh-ed25519 " + "A" * 16}, "not the one inside"),
        ({"root_key": NEW.line}, "which readers have pinned"),
        ({"user_ca": (TrustedKey(KeyState.ACTIVE, SMALL_ORDER),)}, "bad key"),
        ({"log_origin": "no origin"}, "'log' must have 2 words"),
    ],
)
def test_what_readers_would_refuse_is_not_signed(
    folder, before, tmp_path, capsys, changes, says
):
    file = new_text(before, tmp_path, **changes)

    assert sign(folder, file, "--config", folder / "daypass.toml") == 1

    assert says in capsys.readouterr().err
    assert load_roots(folder / "roots").roots == before


def test_another_root_key_signs_nothing(folder, before, tmp_path, capsys):
    make(tmp_path / "other", Answers("http://127.0.0.1:1", "https://l", "id", "a.com"))
    output = ["--output", tmp_path / "signed"]

    assert sign(tmp_path / "other", new_text(before, tmp_path), *output) == 1

    assert "not the root key that these roots name" in capsys.readouterr().err
    assert not (tmp_path / "signed").exists()


def test_files_that_cannot_be_read_or_written_are_named(
    folder, before, tmp_path, capsys
):
    config = ["--config", folder / "daypass.toml"]
    assert sign(folder, tmp_path / "none", *config) == 1
    assert "cannot read" in capsys.readouterr().err

    output = tmp_path / "none/signed"
    assert sign(folder, new_text(before, tmp_path), "--output", output) == 1
    assert "cannot write" in capsys.readouterr().err


# --- Asked, or not ----------------------------------------------------------------


def sign_at_a_terminal(folder, file, answer):
    """Run the command as a person would, who answers what it asks."""
    person, terminal = pty.openpty()
    command = [sys.executable, "-m", "ca.admin", "keys", "sign-roots", str(file)]
    command += ["--root-key", str(folder / "root/root")]
    command += ["--config", str(folder / "daypass.toml")]
    os.write(person, answer)
    try:
        return subprocess.run(
            command, check=False, stdin=terminal, stderr=subprocess.PIPE
        ).returncode
    finally:
        os.close(person)
        os.close(terminal)


@pytest.mark.parametrize(
    ("answer", "status"), [(b"y\n", 0), (b"YES\n", 0), (b"\n", 1), (b"no\n", 1)]
)
def test_a_person_is_asked(folder, before, tmp_path, answer, status):
    file = new_text(before, tmp_path)

    assert sign_at_a_terminal(folder, file, answer) == status

    signed = load_roots(folder / "roots").roots.version == before.version + 1
    assert signed == (status == 0)


def test_a_program_has_to_say_that_it_has_read_it(folder, before, tmp_path, capsys):
    key = ["--root-key", str(folder / "root/root")]
    file = new_text(before, tmp_path)
    output = ["--output", str(tmp_path / "signed")]

    assert main(["keys", "sign-roots", str(file), *key, *output]) == 2

    said = capsys.readouterr().err
    assert "nobody to ask" in said
    assert "no roots in" in said
    assert not (tmp_path / "signed").exists()


def test_another_machine_compares_with_the_roots_that_it_is_given(
    folder, before, tmp_path, capsys
):
    file = new_text(before, tmp_path, version=before.version)
    more = ["--present", folder / "roots", "--output", tmp_path / "signed"]

    assert sign(folder, file, *more) == 0  # the same once more
    changed = new_text(before, tmp_path, version=before.version, serial_base=1)
    assert sign(folder, changed, *more) == 1

    assert "does not grow" in capsys.readouterr().err


# --- Drafts -----------------------------------------------------------------------


def public_file(tmp_path, key, name="new.pub"):
    (tmp_path / name).write_text(f"{key.line} a comment\n")
    return tmp_path / name


def draft(folder, *more):
    config = ["--config", str(folder / "daypass.toml")]
    return main(["keys", "draft-roots", *config, *map(str, more)])


def drafted(folder, capsys, *more):
    """Return the roots that are drafted, and what is said about them."""
    assert draft(folder, *more) == 0
    said = capsys.readouterr()
    return bundle.parse_roots(said.out.encode()), said.err


def test_a_draft_is_the_present_roots_with_a_higher_version(folder, before, capsys):
    roots, said = drafted(folder, capsys)

    assert roots == replace(before, version=roots.version)
    assert roots.version > before.version
    assert said == f"ca-admin: version {before.version} becomes {roots.version}\n"


def test_the_host_ca_key_gets_domains(folder, before, capsys):
    domains = ("*.prod.example", "db.example")

    roots, said = drafted(folder, capsys, "--host-domains", ",".join(domains))

    assert [one.domains for one in roots.host_ca] == [domains]
    assert "is active for *.prod.example, db.example, and was active for no" in said


def test_a_stolen_ca_key_is_revoked_and_another_takes_its_place(
    folder, before, tmp_path, capsys
):
    stolen = folder / "keys/user_ca.pub"
    more = ["--revoke-ca", stolen, "--user-ca", public_file(tmp_path, NEW)]

    roots, said = drafted(folder, capsys, *more)

    assert roots.user_ca == (TrustedKey(KeyState.ACTIVE, NEW.line),)
    assert roots.revoked_ca == tuple(one.key for one in before.user_ca)
    assert "NO LONGER TRUSTED: user CA key" in said
    assert f"TRUSTED FROM NOW ON: user CA key {NEW.fingerprint}, active" in said
    assert "REVOKED for ever" in said


def test_a_new_host_ca_key_speaks_for_the_same_hosts(folder, tmp_path, capsys):
    new = public_file(tmp_path, NEW)
    more = ["--host-domains", "*.a.example", "--host-ca", new]

    roots, _ = drafted(folder, capsys, *more)

    assert roots.host_ca[-1] == HostCAKey(KeyState.ACTIVE, NEW.line, ("*.a.example",))


def test_a_key_is_retired_or_dropped(folder, before, tmp_path, capsys):
    retire = ["--retire", folder / "keys/user_ca.pub"]
    drop = ["--drop", folder / "keys/online.pub"]

    roots, said = drafted(folder, capsys, *retire, *drop)

    assert roots.user_ca == (TrustedKey(KeyState.RETIRING, before.user_ca[0].key),)
    assert roots.online == ()
    assert "is retiring, and was active" in said
    assert "NO LONGER TRUSTED: online key" in said
    assert "no user CA key is active: no signer will start" in said
    assert "no online key is active" in said


def test_what_cannot_be_meant_is_not_drafted(folder, tmp_path, capsys):
    new, ours = public_file(tmp_path, NEW), folder / "keys/user_ca.pub"
    for options, says in (
        (["--drop", new], "not in the present roots"),
        (["--retire", new], "not in the present roots"),
        (["--revoke-ca", folder / "keys/online.pub"], "dropped"),
        (["--user-ca", ours], "in the present roots"),
        (["--user-ca", new, "--revoke-ca", new], "or revoked"),
        (["--user-ca", tmp_path / "none"], "cannot read"),
        (["--user-ca", folder / "daypass.toml"], "no public key file"),
        (["--user-ca", folder / "daypass.db"], "no public key file"),
    ):
        assert draft(folder, *options) == 1, options
        assert says in capsys.readouterr().err
    assert draft(folder, "--host-domains", "*") == 2


def test_a_revoked_key_never_comes_back(folder, before, tmp_path, capsys):
    revoked = replace(before, version=before.version + 1, revoked_ca=(NEW.line,))
    file = new_text(revoked, tmp_path, version=revoked.version)
    config = ["--config", folder / "daypass.toml"]
    assert sign(folder, file, *config) == 0
    capsys.readouterr()

    forgotten = new_text(revoked, tmp_path, revoked_ca=())
    assert sign(folder, forgotten, *config) == 1
    assert "never comes back" in capsys.readouterr().err

    assert draft(folder, "--revoke-ca", public_file(tmp_path, NEW)) == 1
    assert "revoked already" in capsys.readouterr().err
    assert draft(folder, "--user-ca", public_file(tmp_path, NEW)) == 1
    later = replace(revoked, version=revoked.version + 1)
    assert "REVOKED" not in "\n".join(differences(revoked, later))


def test_who_signs_is_warned_of_roots_with_which_no_signer_starts(
    folder, before, tmp_path, capsys
):
    retiring = tuple(replace(one, state=KeyState.RETIRING) for one in before.online)
    file = new_text(before, tmp_path, online=retiring)

    assert sign(folder, file, "--output", tmp_path / "signed") == 0

    assert "ca-admin: warning: no online key is active" in capsys.readouterr().err


def test_a_new_log_closes_the_one_before(before):
    now = datetime.fromtimestamp(before.version / 1000, UTC)

    roots = draft_new_log(
        before, origin="ca/log/2", serial_base=1000, closed_size=17, now=now
    )

    assert roots.version == before.version + 1
    assert roots.closed_logs == (ClosedLog(before.log_origin, 17),)
    said = "\n".join(differences(before, roots))
    assert "the ledger is ca/log/2 with serials from 1000" in said
    assert f"{before.log_origin} is closed with 17 entries" in said
    assert "NOT CLOSED ANY MORE" in "\n".join(differences(roots, before))
    assert list(warnings(roots)) == []


# --- New keys ---------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
def test_a_new_key_is_encrypted_and_for_its_owner_alone(tmp_path, capsys, kind):
    (tmp_path / "passphrase").write_text("a passphrase\n")
    (tmp_path / "passphrase").chmod(0o600)
    path = tmp_path / "user_ca2"

    assert main(["keys", "new", str(path), "--key-type", kind]) == 0

    assert path.stat().st_mode & 0o777 == 0o600
    key = FileKey.open(path, tmp_path / "passphrase")
    assert path.with_suffix(".pub").read_text() == f"{key.line} daypass user_ca2\n"
    assert key.fingerprint in capsys.readouterr().out


def test_a_key_is_never_written_over(tmp_path, capsys):
    words, file, other = (tmp_path / name for name in ("words", "key", "other"))
    words.write_text("a passphrase\n")
    words.chmod(0o600)
    assert main(["keys", "new", str(file), "--passphrase-file", str(words)]) == 0
    before = file.read_bytes()

    assert main(["keys", "new", str(file), "--passphrase-file", str(words)]) == 1
    assert "File exists" in capsys.readouterr().err
    assert file.read_bytes() == before

    words.write_text("\n")
    assert main(["keys", "new", str(other), "--passphrase-file", str(words)]) == 1
    assert "no passphrase" in capsys.readouterr().err
    assert not other.exists()


# --- The list ---------------------------------------------------------------------


def test_each_key_is_listed_with_its_state_and_place(folder, before, tmp_path, capsys):
    more = ["--revoke-ca", public_file(tmp_path, NEW), "--host-domains", "*.a.example"]
    roots, _ = drafted(folder, capsys, *more)
    assert (
        sign(
            folder,
            new_text(roots, tmp_path, version=roots.version),
            *["--config", folder / "daypass.toml"],
        )
        == 0
    )
    capsys.readouterr()

    assert main(["keys", "list", "--config", str(folder / "daypass.toml")]) == 0

    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [
        "pinned",
        "active",
        "active",
        "active",
        "revoked",
    ]
    assert lines[1].endswith(f"in {folder / 'keys/user_ca'}")
    assert "for *.a.example in" in lines[2]
    assert NEW.fingerprint in lines[4]


def test_a_key_is_listed_wherever_it_is_and_when_it_cannot_be_opened(tmp_path, capsys):
    make(tmp_path / "ca", Answers("http://127.0.0.1:1", "https://l", "id", "a.com"))
    config, keys = tmp_path / "ca/daypass.toml", tmp_path / "ca/keys"
    (keys / "user_ca").unlink()
    at_agent = 'agent = "../agent"\npublic_key = "keys/online.pub"\n'
    in_file = 'file = "keys/online"\npassphrase_file = "keys/passphrase"\n'
    rewrite(config, {in_file: at_agent})
    capsys.readouterr()

    with SshAgent(tmp_path) as agent:
        agent.add(keys / "online", answer=(keys / "passphrase").read_text().strip())
        status = main(["keys", "list", "--json", "--config", str(config)])

    assert status == 0
    said = capsys.readouterr()
    listed = [json.loads(line)["where"] for line in said.out.splitlines()]
    agent_place = f"agent {tmp_path}/ca/../agent"
    assert listed == [None, None, str(keys / "host_ca"), agent_place]
    assert "user_ca_key cannot be opened" in said.err
