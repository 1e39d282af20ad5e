"""A real sshd lets in exactly the certificates that it should.

The table of `tests.login_table` is tried on every way in which a host can trust a
CA. What sshd's log says of a refusal must be what the row says, so that no row
passes because of another row's mistake.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from ca import wire
from ca.admin.ledger.reconcile import read_logins
from ca.certificate import parse_certificate, parse_line
from ca.errors import BadRequest
from tests.certificates import write_certificate
from tests.login_table import (
    AUTHORIZED_KEYS,
    AUTHORIZED_KEYS_AND_LIST,
    CA,
    CA_FILE,
    CA_FILE_AND_LIST,
    IN,
    ODD,
    REASONS,
    TABLE,
    UNKNOWN,
    WAYS,
    Bench,
    Row,
)
from tests.offering import offer
from tests.sshd import Sshd, make_key

pytestmark = pytest.mark.openssh

GOOD = TABLE[0]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """Return a fresh key to certify."""
    key = tmp_path_factory.mktemp("key") / "key"
    make_key(key)
    return Bench(key)


@pytest.fixture(scope="module", params=WAYS)
def way(request: pytest.FixtureRequest) -> str:
    """Name one way after the other in which a host can trust a CA."""
    return str(request.param)


@pytest.fixture(scope="module")
def sshd(way: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    """Run an sshd that trusts our CA that way."""
    folder = tmp_path_factory.mktemp("sshd")
    trust = tmp_path_factory.mktemp("trust")
    (trust / "ca.pub").write_text(f"{CA.line}\n")
    (trust / "list").write_text(f"deploy\n{ODD}\n")
    (trust / "keys").write_text(f"cert-authority {CA.line}\n")
    (trust / "keys_and_list").write_text(
        f'cert-authority,principals="deploy,{ODD}" {CA.line}\n'
    )
    ca_file = f"TrustedUserCAKeys {trust}/ca.pub"
    settings = {
        CA_FILE: (ca_file,),
        CA_FILE_AND_LIST: (ca_file, f"AuthorizedPrincipalsFile {trust}/list"),
        AUTHORIZED_KEYS: (f"AuthorizedKeysFile {trust}/keys",),
        AUTHORIZED_KEYS_AND_LIST: (f"AuthorizedKeysFile {trust}/keys_and_list",),
    }
    # Why a CA or a format was refused, sshd only says to those who debug.
    with Sshd(folder, settings[way], log_level="DEBUG2") as running:
        yield running


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
def test_sshd_decides_as_the_table_says(row: Row, sshd: Sshd, way: str, bench: Bench):
    verdict = row.verdicts[way]

    answer = offer(sshd, bench.key, row.make(bench), command="echo asked")

    if verdict is UNKNOWN:
        return
    reasons = frozenset(reason for reason in REASONS if re.search(reason, sshd.said))
    assert reasons == verdict, sshd.said
    assert answer == (row.answer if verdict == IN else None)


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
def test_our_parser_reads_what_we_would_write_and_nothing_else(row: Row, bench: Bench):
    blob = row.make(bench)

    if row.ours:
        parse_certificate(blob)
    else:
        with pytest.raises(BadRequest):
            parse_certificate(blob)


def test_ssh_logs_in_and_sshd_logs_who_it_was(sshd: Sshd, bench: Bench, tmp_path: Path):
    certificate = write_certificate(tmp_path / "cert.pub", GOOD.make(bench))

    answer = sshd.login(bench.key, certificate, command="echo asked")

    assert answer.stdout == "asked\n"
    assert re.search(
        r"Accepted publickey for .* ID corp:ada@example.com \(serial 7\) CA ED25519",
        sshd.said,
    )
    (login,) = read_logins(sshd.said.splitlines())
    assert (login.serial, login.key_id) == (7, "corp:ada@example.com")
    assert login.ca == wire.fingerprint(parse_line(CA.line))
    assert login.address == "127.0.0.1"


def test_ssh_is_refused_without_the_certificate(sshd: Sshd, bench: Bench):
    answer = sshd.login(bench.key)

    assert answer.returncode == 255
    assert "Permission denied (publickey)" in answer.stderr


@pytest.mark.parametrize("extensions", [(), ("permit-pty",)], ids=["none", "pty"])
def test_a_terminal_is_given_exactly_when_the_certificate_permits_it(
    extensions: tuple[str, ...], sshd: Sshd, bench: Bench, tmp_path: Path
):
    blob = bench.signed(extensions=extensions)
    certificate = write_certificate(tmp_path / "cert.pub", blob)

    answer = sshd.login(
        bench.key,
        certificate,
        options=("-tt",),
    )

    # Whether it works then depends on the machine: where an sshd that isn't root may
    # not give its terminal to the group tty, it ends the connection.
    assert ("debug1: Allocating pty" in sshd.said) == bool(extensions)
    assert ("PTY allocation request failed" in answer.stderr) != bool(extensions)


@pytest.mark.parametrize(
    "extensions", [(), ("permit-port-forwarding",)], ids=["none", "forwarding"]
)
def test_a_port_is_forwarded_exactly_when_the_certificate_permits_it(
    extensions: tuple[str, ...], sshd: Sshd, bench: Bench, tmp_path: Path
):
    blob = bench.signed(extensions=extensions)
    certificate = write_certificate(tmp_path / "cert.pub", blob)

    answer = sshd.login(
        bench.key, certificate, options=("-R", "0:127.0.0.1:9", "-o", FAIL_IF_REFUSED)
    )

    assert (answer.returncode == 0) == bool(extensions)


FAIL_IF_REFUSED = "ExitOnForwardFailure=yes"
