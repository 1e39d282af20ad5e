"""A CA comes back from a backup: its hosts go on, and nobody is un-revoked.

A real host pulls from a real signer; a real sshd judges. What was revoked after the
backup is in no database any more, but the host still has it.
"""

from contextlib import ExitStack
from pathlib import Path

import pytest

from ca import wire
from ca.admin.__main__ import main
from ca.certificate import parse_line
from tests.authority import (
    LOOPBACK,
    Signer,
    let_in_our_account,
    make_ca,
    request_of,
)
from tests.fakes import FakeIdP
from tests.pulling import Host
from tests.sshd import Sshd, free_port, make_key

pytestmark = pytest.mark.openssh

WHY = ("--reason", "another laptop")


class Place:
    """A CA, one host that pulls from it, and two people who come in there."""

    def __init__(self, folder: Path, idp: FakeIdP) -> None:
        self.folder, self.idp, self.port = folder, idp, free_port()
        origin = f"http://{LOOPBACK}:{self.port}"
        self.config_file = make_ca(folder / "ca", idp, origin=origin)
        let_in_our_account(self.config_file)
        root = parse_line((folder / "ca/root/root.pub").read_text())
        self.url, self.pin = origin, wire.fingerprint(root)
        self.host = Host(folder / "host", self)

    def signer(self) -> Signer:
        """Return a signer, which is there as long as the `with` block runs."""
        return Signer(self.config_file, port=self.port)

    def admin(self, *words: object) -> None:
        """Run `ca-admin` as on the signer's machine."""
        line = [*map(str, words), "--config", str(self.config_file)]
        assert main(line) == 0, words

    def sign_in(self, signer: Signer, person: str) -> None:
        """Leave a person's key and certificate in the folder."""
        make_key(self.folder / person)
        line = (self.folder / f"{person}.pub").read_text()
        answer = signer.sign(request_of(self.idp, person, key=line)).certificate
        (self.folder / f"{person}-cert.pub").write_text(f"{answer.certificate}\n")

    def admits(self, sshd: Sshd) -> list[str]:
        """Return who gets in."""
        people = sorted(self.folder.glob("*-cert.pub"))
        names = [path.name.removesuffix("-cert.pub") for path in people]
        return [
            name
            for name, path in zip(names, people, strict=True)
            if sshd.login(self.folder / name, path).returncode == 0
        ]

    def pull(self) -> int:
        """Have the host pull; return the version that it has then."""
        done = self.host.pull()
        assert (done.returncode, self.host.status["result"]) == (0, "ok"), done.stderr
        return int(self.host.status["current_version"])


@pytest.fixture
def place(tmp_path):
    with FakeIdP() as idp:
        yield Place(tmp_path, idp)


def test_hosts_go_on_after_a_restore_and_nobody_is_un_revoked(place, tmp_path):
    (tmp_path / "sshd").mkdir()
    with ExitStack() as stack:
        with place.signer() as signer:
            place.sign_in(signer, "ada")
            place.sign_in(signer, "grace")
            place.pull()
            settings = place.host.sshd_settings()
            sshd = stack.enter_context(Sshd(tmp_path / "sshd", settings))
            place.admin("backup", tmp_path / "backup")
            assert place.admits(sshd) == ["ada", "grace"]
            place.admin("revoke", "--key", tmp_path / "ada.pub", "--reason", "stolen")
            revoked = place.pull()
            assert place.admits(sshd) == ["grace"]
            place.admin("ledger", "export", tmp_path / "copy")

            place.admin("restore", tmp_path / "backup")
            # It is stopped, and what it has to say is older than what the host has.
            assert place.host.pull().returncode == 1
            assert place.host.status["reason"] == "older"
            assert place.admits(sshd) == ["grace"]

        place.admin(
            *("ledger", "recover", tmp_path / "copy"),
            *("--krl", place.host.krl, "--yes"),
        )

        with place.signer():
            restored = place.pull()
            assert restored > revoked
            assert place.admits(sshd) == ["grace"]
            # It is in the database again, and so in the KRLs that follow.
            place.admin("revoke", "--key-id", "corp:grace@example.com", *WHY)
            assert place.pull() > restored
            assert place.admits(sshd) == []
