"""OpenSSH's own regression tests pass with our core in the place of ssh-keygen.

Debian ships them (openssh-tests), in the version of the sshd that they try. They log in
hundreds of times, with every key type, with certificates that must work and with more
that must not. Where they certify a key, `tests/openssh_shim.py` answers; how often it
had to do what our core refuses, and how often it left it to ssh-keygen, is stated here.
The KRLs of `krl` are all written by `ca.krl`.
"""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.krl_shim import Answer
from tests.openssh_shim import Certifier, certify
from tests.sshd import find_sshd

REGRESS = Path("/usr/lib/openssh/regress")
PATIENCE_SECONDS = 900

# Not the core's: DSA keys, which OpenSSH has given up too, FIDO keys as CA keys, and
# what the core refuses to write, with a reason each in `ca.certificate`.
DSA = ("ssh-keygen", "the subject key is a DSA key")
FIDO_CA = ("ssh-keygen", "the CA key is a FIDO key")
UNNAMED = ("hand", "no principals")
HOST_OPTIONS = ("hand", "a host certificate with options")


@dataclass(frozen=True)
class Expected:
    """What becomes of the certificates and KRLs that a script wants."""

    certificates: int
    """At least so many are written by the core and signed by a key of ours."""
    others: Mapping[tuple[str, str], int]
    """At most so many are not, by who made them and why."""
    krls: int = 0
    """At least so many KRLs are written by the core; none is by anything else."""


SCRIPTS = {
    "cert-file": Expected(4, {}),
    "cert-hostkey": Expected(
        43, {UNNAMED: 36, HOST_OPTIONS: 9, DSA: 10, FIDO_CA: 2}, krls=4
    ),
    "cert-userkey": Expected(60, {UNNAMED: 8, DSA: 2, FIDO_CA: 2}, krls=40),
    "krl": Expected(0, {UNNAMED: 22, DSA: 4}, krls=100),
    "sshsig": Expected(7, {DSA: 1}),
}

pytestmark = pytest.mark.openssh


@dataclass(frozen=True)
class Run:
    """What a script did."""

    status: int
    said: str
    answers: list[Answer]
    faults: list[Exception]


@pytest.fixture(scope="module")
def runs():
    """Run the scripts beside each other: most of their time they wait."""
    assert REGRESS.is_dir(), "OpenSSH's tests are missing: install openssh-tests"
    with ThreadPoolExecutor(len(SCRIPTS)) as pool:
        yield {script: pool.submit(run, script, account()) for script in SCRIPTS}


def account():
    """Return the account that the scripts run as: ours, unless we are root.

    As root they would try another sshd than the one they are written for, and it has to
    have a shell. Whoever ran `make system` has PostgreSQL's.
    """
    return pwd.getpwnam("postgres") if os.geteuid() == 0 else pwd.getpwuid(os.getuid())


def run(script, owner, make=certify):
    # Below the system's own folder for such things: pytest's is closed to others, and
    # the path of a socket must be short.
    folder = Path(tempfile.mkdtemp(prefix="regress-"))
    try:
        shutil.copytree(REGRESS, folder, dirs_exist_ok=True)
        for path in (folder, *folder.rglob("*")):
            os.chown(path, owner.pw_uid, owner.pw_gid)
        real = shutil.which("ssh-keygen")
        assert real
        with Certifier(folder, real=real, certify=make) as certifier:
            done = run_in(folder, script, certifier.shim, owner)
        log = folder / "failed-regress.log"
        said = done.stdout + (log.read_text() if log.exists() else "")
        return Run(done.returncode, said, certifier.answers, certifier.faults)
    finally:
        shutil.rmtree(folder)


def run_in(folder, script, shim, owner):
    as_owner = {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []}
    return subprocess.run(
        ["sh", folder / "test-exec.sh", folder, folder / f"{script}.sh"],
        cwd=folder,
        env={
            "PATH": "/usr/bin:/bin:/usr/sbin:/sbin",
            "HOME": str(folder),
            "LOGNAME": owner.pw_name,
            "BUILDDIR": str(folder),
            "TEST_SHELL": "sh",
            "TEST_SSH_ECC": "yes",
            "TEST_SSH_SFTPSERVER": "/usr/lib/openssh/sftp-server",
            "TEST_SSH_SSHD": find_sshd(),
            "TEST_SSH_SSHKEYGEN": str(shim),
            # It complains of a folder below one that everybody may write to.
            "TEST_SSH_UNSAFE_PERMISSIONS": "1",
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
        **(as_owner if os.geteuid() == 0 else {}),
    )


@pytest.mark.parametrize("script", SCRIPTS)
def test_the_script_passes_with_our_certificates(runs, script):
    finished, expected = runs[script].result(), SCRIPTS[script]

    assert finished.faults == []
    assert finished.status == 0, finished.said
    assert "SKIPPED" not in finished.said
    made = Counter((answer.what, answer.by) for answer in finished.answers)
    assert made["certificate", "core"] >= expected.certificates
    assert made["KRL", "core"] >= expected.krls
    others = Counter(
        (answer.by, answer.why) for answer in finished.answers if answer.by != "core"
    )
    assert others.keys() <= expected.others.keys()
    assert all(count <= expected.others[what] for what, count in others.items())
    # Each signature has been verified; none of them uses SHA-1.
    signed = {answer.algorithm for answer in finished.answers} - {""}
    assert "ssh-rsa" not in signed
    assert signed >= ({"rsa-sha2-512"} if "key" in script else {"ssh-ed25519"})


def test_a_script_fails_where_certificates_are_not_what_it_wants():
    def for_somebody_else(wish):
        return certify(replace(wish, principals=("mallory",)))

    finished = run("cert-file", account(), for_somebody_else)

    assert finished.faults == []
    assert finished.status != 0
    assert "failed ssh with certificates" in finished.said
