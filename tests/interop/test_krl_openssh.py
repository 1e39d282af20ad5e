"""OpenSSH reads our key revocation lists as we do; sshd lets the right people in.

`ssh-keygen -k` is the counter-example, and docs/ssh-keygen-krl.md is about it: what it
writes, sshd cannot always read. What that page tells to type is typed here.
"""

import hashlib
import re
import shutil
import subprocess
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ca import wire
from ca.errors import Malformed
from ca.krl import KRL, RevokedCertificates, parse_krl, render_krl, runs_of
from ca.krl.serials import LAST_SERIAL
from tests.authority import ROOT
from tests.certificates import (
    NOON,
    ThrowawayCA,
    certificate,
    ed25519_blob,
    write_certificate,
)
from tests.sshd import Sshd, make_key

pytestmark = pytest.mark.openssh

PAGE = ROOT / "docs" / "ssh-keygen-krl.md"

TRAP = range(1, 236 * 70, 70)
"""236 serials spaced 70 apart: with them `ssh-keygen -k` writes too large a bitmap."""

NEIGHBOURS = {
    "236 spaced 70 apart": TRAP,
    "235 spaced 70 apart": range(1, 235 * 70, 70),
    "237 spaced 70 apart": range(1, 237 * 70, 70),
    "236 spaced 69 apart": range(1, 236 * 69, 69),
    "236 spaced 71 apart": range(1, 236 * 71, 71),
    "236 spaced 72 apart": range(1, 236 * 72, 72),
    "each second to 20,000": range(2, 20_001, 2),
    "each second to 16,383": range(2, 16_384, 2),
    "each second to 16,386": range(2, 16_387, 2),
    "each eighth to 200,000": range(8, 200_001, 8),
    "up to the last there is": range(LAST_SERIAL - 20_000, LAST_SERIAL + 1, 2),
}


def revoking(values, ca_key):
    runs = runs_of((value, value) for value in values)
    return KRL(1, NOON, certificates=(RevokedCertificates(ca_key, runs),))


def keygen(*words):
    return subprocess.run(
        ["ssh-keygen", *words], capture_output=True, text=True, check=False
    )


def dumped(file):
    """Return the runs of serials that ssh-keygen finds in a KRL."""
    said = keygen("-Q", "-l", "-f", file)
    assert said.returncode == 0, said.stderr
    found = re.findall(r"^serial: (\d+)(?:-(\d+))?$", said.stdout, re.MULTILINE)
    return runs_of((int(first), int(last or first)) for first, last in found)


@pytest.fixture(scope="module")
def ca():
    return ThrowawayCA()


any_serials = st.one_of(
    st.sets(st.integers(1, LAST_SERIAL), max_size=40),
    st.sets(st.integers(1, 60_000), max_size=400),
    st.builds(
        range,
        st.integers(1, 100_000),
        st.integers(100_000, 150_000),
        st.integers(1, 300),
    ),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=any_serials, others=any_serials)
def test_ssh_keygen_reads_the_serials_that_were_written(values, others, tmp_path, ca):
    krl, file = revoking([*values, *others], ca.key), tmp_path / "krl"
    file.write_bytes(render_krl(krl))

    assert dumped(file) == krl.certificates[0].serials


@pytest.mark.parametrize("case", NEIGHBOURS)
def test_ssh_keygen_reads_what_it_could_not_write(case, tmp_path, ca):
    krl, file = revoking(NEIGHBOURS[case], ca.key), tmp_path / "krl"
    file.write_bytes(render_krl(krl))

    assert dumped(file) == krl.certificates[0].serials


HASHES = {
    "keys": lambda blob: blob,
    "sha1": lambda blob: hashlib.sha1(blob, usedforsecurity=False).digest(),
    "sha256": lambda blob: hashlib.sha256(blob).digest(),
}
ANOTHER = ed25519_blob(bytes([9] * 32))
SUBJECT = certificate().subject_key


@st.composite
def small_lists(draw, ca_key):
    """Lists that are as likely as not to revoke a certificate of the CA."""
    serials = draw(st.sets(st.integers(1, 40)))
    revoked = RevokedCertificates(
        draw(st.sampled_from([ca_key, ANOTHER, b""])),
        runs_of((value, value) for value in serials),
        tuple(draw(st.lists(st.sampled_from(["ada", " a b", "c:ada#1", "ä\t"])))),
    )
    form = draw(st.sampled_from(sorted(HASHES)))
    keys = draw(st.sets(st.sampled_from([SUBJECT, ca_key, ANOTHER])))
    listed = dict.fromkeys(HASHES, ())
    listed[form] = tuple(map(HASHES[form], sorted(keys)))
    return KRL(
        1,
        NOON,
        certificates=(revoked,),
        keys=listed["keys"],
        sha1=listed["sha1"],
        sha256=listed["sha256"],
    )


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_ssh_keygen_gives_the_verdicts_that_we_give(data, tmp_path, ca):
    krl, file = data.draw(small_lists(ca.key)), tmp_path / "krl"
    file.write_bytes(render_krl(krl))
    shown = certificate(ca_key=ca.key, key_id="ada")
    blob = write_certificate(tmp_path / "a-cert.pub", ca.certify(shown))

    verdict = keygen("-Q", "-f", file, blob)

    assert verdict.returncode == (1 if krl.revokes(shown) else 0), verdict


@pytest.fixture(scope="module")
def host(tmp_path_factory, ca):
    """An sshd that trusts the CA and reads the KRL in its folder."""
    folder = tmp_path_factory.mktemp("host")
    (folder / "ca.pub").write_text(ca.line)
    (folder / "names").write_text("ada\n")
    settings = (
        f"TrustedUserCAKeys {folder}/ca.pub",
        f"AuthorizedPrincipalsFile {folder}/names",
        f"RevokedKeys {folder}/krl",
    )
    (folder / "krl").write_bytes(render_krl(KRL(1, NOON)))
    make_key(folder / "key")
    with Sshd(folder, settings) as sshd:
        yield sshd


def logs_in(host, ca, serial):
    """Tell whether a certificate with this serial opens the host."""
    folder, now = host.folder, int(time.time())
    line = (folder / "key.pub").read_text().split()
    shown = certificate(
        subject_key=wire.decode_base64(line[1]),
        serial=serial,
        valid_after=now - 60,
        valid_before=now + 600,
        principals=("ada",),
    )
    file = write_certificate(folder / "key-cert.pub", ca.certify(shown))
    return host.login(folder / "key", file).returncode == 0


@pytest.mark.parametrize(
    ("case", "revoked", "unrevoked"),
    [
        ("236 spaced 70 apart", 71, 72),
        ("each second to 20,000", 20_000, 19_999),
        ("up to the last there is", LAST_SERIAL, LAST_SERIAL - 1),
    ],
)
def test_sshd_refuses_who_is_revoked_and_nobody_else(
    case, revoked, unrevoked, host, ca
):
    (host.folder / "krl").write_bytes(render_krl(revoking(NEIGHBOURS[case], ca.key)))

    assert logs_in(host, ca, unrevoked)
    assert not logs_in(host, ca, revoked)
    assert "revoked" in host.said


def test_what_the_page_says_of_ssh_keygen_is_so(tmp_path, host, ca):
    """If this fails with a new OpenSSH, it was mended there: say so on the page."""
    block = re.search(r"^```sh\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert block is not None
    ca.write(tmp_path / "ca")

    typed = subprocess.run(
        ["sh", "-eu", "-c", block[1]],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    assert typed.returncode == 255
    assert "bignum is too large" in typed.stderr
    assert "bignum is too large" in PAGE.read_text()
    written = tmp_path / "krl"
    with pytest.raises(Malformed, match="larger than sshd reads"):
        parse_krl(written.read_bytes())
    shutil.copy(written, host.folder / "krl")
    assert not logs_in(host, ca, 999_999)
