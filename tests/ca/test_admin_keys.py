"""`ca-admin keys sign-roots`: the root key signs what its holder was shown."""

import json
from dataclasses import replace

import pytest

from ca import bundle
from ca.admin.__main__ import main
from ca.admin.init import Answers, make
from ca.trust import load_roots
from tests.ca.test_sshsig import verify


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
    return main(["keys", "sign-roots", str(file), *key, *map(str, more)])


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
        ({"version": 1}, "nobody would take them"),
        ({"root_key": "ssh-ed25519 " + "A" * 16}, "not the one inside"),
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
