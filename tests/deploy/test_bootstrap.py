"""What other tools carry: it leaves a machine as `ca-deploy apply` would have.

The script runs as root on machines of the tests' own, beside a real signer; afterwards
`ca-deploy plan` and `verify` come over SSH and judge it.
"""

import base64
import gzip
import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from client.api import CA
from tests.authority import LOOPBACK, ROOT, Signer, make_ca, request_of, write_whole
from tests.fakes import FakeIdP
from tests.sshd import find_sshd, free_port, make_key
from tests.targets import MAIN, Target, make_login

pytestmark = [
    pytest.mark.openssh,
    pytest.mark.skipif(os.geteuid() != 0, reason="targets take root"),
]

POLICY = """
[[rule]]
name       = "proofs of ca-deploy"
issuer     = "corp"
canary     = true
match      = { groups = ["oncall"] }
principals = ["root", "dev", "ops"]
validity   = "10m"

[[rule]]
name       = "everybody"
issuer     = "corp"
match      = { groups = ["dev", "oncall"] }
principals = ["dev"]
validity   = "10h"

[[host]]
name     = "web"
issuer   = "corp"
match    = { groups = ["oncall"] }
names    = ["web1", "web2"]
validity = "1h"

[roles]
provisioner = { issuer = "corp", groups = ["oncall"] }
"""

DESIRED = """
version = 1
ca  = "{url}"
pin = "{pin}"

[host]
accounts = {{ root = ["root"], deploy = ["dev"] }}

[group.people]
host_certificate = true
end_sessions = true
accounts = {{ operate = ["ops"] }}
groups   = {{ ops = {{ gid = 2500 }} }}
users    = {{ operate = {{ uid = 2501, groups = ["ops"] }}, ada = {{ gone = true }} }}
sudoers  = ["%ops ALL=(ALL) NOPASSWD: ALL"]
"""


@dataclass(frozen=True)
class Desk:
    """The operator's machine, and the CA's."""

    folder: Path
    config: Path

    def type(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "deploy", *arguments],
            cwd=self.folder,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )

    def admin(self, *arguments: str) -> str:
        command = [sys.executable, "-m", "ca.admin", *arguments]
        return subprocess.run(
            [*command, "--config", self.config],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    def render(self, form: str, *more: str) -> str:
        done = self.type("render", "--format", form, *more)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def token(self, id_: str) -> Path:
        path = self.folder / f"{id_}.token"
        path.write_text(self.admin("hosts", "join-token", "--id", id_, "--name", id_))
        return path

    def know(self, *targets: Target, key: Path) -> None:
        known = self.folder / "known_hosts"
        known.write_text("".join(target.known_hosts for target in targets))
        (self.folder / "ssh_config").write_text(
            "".join(
                f"Host web{number}\n  HostName {target.address}\n  Port {target.port}\n"
                for number, target in enumerate(targets, 1)
            )
            + f"Host *\n  User root\n  IdentityFile {key}\n  IdentityAgent none\n"
            f"  UserKnownHostsFile {known}\n  GlobalKnownHostsFile /dev/null\n"
        )
        names = "".join(f"web{number}\n" for number in range(1, len(targets) + 1))
        (self.folder / "hosts").write_text(f"[people]\n{names}")


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    port = free_port()
    folder = tmp_path_factory.mktemp("desk")
    with FakeIdP() as idp:
        home = tmp_path_factory.mktemp("ca") / "ca"
        config = make_ca(home, idp, origin=f"http://{LOOPBACK}:{port}")
        write_whole(home / "policy.toml", POLICY)
        with Signer(config, port=port) as signer:
            make_key(folder / "default")
            line = (folder / "default.pub").read_text().strip()
            answer = signer.sign(request_of(idp, "grace", key=line)).certificate
            (folder / "default-cert.pub").write_text(f"{answer.certificate}\n")
            with CA(signer.url) as ca:
                pin = ca.unverified_root_fingerprint()
            text = DESIRED.format(url=signer.url, pin=pin)
            (folder / "deploy.toml").write_text(text)
            yield Desk(folder, config)


@pytest.fixture
def login(tmp_path):
    for parent in (tmp_path, *tmp_path.parents[:2]):
        parent.chmod(0o755)
    return make_login(tmp_path)


def test_a_machine_that_nobody_reached_is_what_a_plan_would_have_made_it(
    desk, login, tmp_path
):
    token = desk.token("web1").read_text()
    script = desk.render("sh", "--group", "people", "--id", "web1", "--name", "web1")
    assert token.strip() not in script
    with Target(tmp_path / "host", login.line) as target:
        desk.know(target, key=login.key)
        target.write("var/lib/script", script, 0o700)
        target.write("var/lib/token", token, 0o600)

        done = target.run("sh", "/var/lib/script", "/var/lib/token")
        again = target.run("sh", "/var/lib/script")
        planned = desk.type("plan", "--ssh-config", "ssh_config")
        proved = desk.type("verify", "--ssh-config", "ssh_config", "--key", "default")

        assert done.returncode == 0, done.stderr
        assert not target.path("var/lib/token").exists()
        assert again.returncode == 0, again.stderr
        assert "nothing to change" in again.stderr
        assert planned.stdout.startswith("web1: nothing to change\n"), planned.stdout
        assert proved.returncode == 0, proved.stderr
        assert "result=ok" in target.path("etc/ssh/daypass/status").read_text()
        assert "web1" in desk.admin("hosts", "list")
        shown = target.path("etc/ssh/ssh_host_ed25519_key-cert.pub")
        assert shown.exists()


def test_a_machine_without_an_include_and_a_token_gets_a_block(desk, login, tmp_path):
    plain = MAIN.replace("Include /etc/ssh/sshd_config.d/*.conf\n", "")
    script = desk.render("sh", "--id", "web1")
    with Target(
        tmp_path / "host", login.line, main=plain, programs={"bin/sh": "/bin/busybox"}
    ) as target:
        desk.know(target, key=login.key)
        (desk.folder / "hosts").write_text("web1\n")

        done = subprocess.run(
            [*("ssh", "-F", desk.folder / "ssh_config"), "web1", "sh -s"],
            input=script,
            capture_output=True,
            text=True,
            check=False,
        )
        planned = desk.type("plan", "--ssh-config", "ssh_config")

    assert done.returncode == 0, done.stderr
    assert target.path("etc/ssh/sshd_config").read_text().startswith("# daypass: begin")
    assert planned.stdout.startswith("web1: nothing to change\n"), planned.stdout


TAKEN = {"etc/ssh/sshd_config.d/00-other.conf": "TrustedUserCAKeys /etc/ssh/other\n"}
TYPO = {"etc/ssh/sshd_config.d/50.conf": "PermitRotLogin yes\n"}
REFUSED = {
    "TrustedUserCAKeys is /etc/ssh/other": TAKEN,
    "sshd -t fails before any change": TYPO,
}


@pytest.mark.parametrize("said", REFUSED)
def test_a_machine_is_left_alone_where(said, desk, login, tmp_path):
    script = desk.render("sh")
    with Target(tmp_path / "host", login.line) as target:
        target.write("var/lib/script", script, 0o700)
        for name, text in REFUSED[said].items():
            target.write(name, text)
        before = target.snapshot("etc")

        done = target.run("sh", "/var/lib/script")

        assert done.returncode == 1
        assert said in done.stderr
        assert target.snapshot("etc") == before


def test_a_step_that_fails_leaves_the_machine_as_it_was(desk, login, tmp_path):
    script = desk.render("sh", "--group", "people").replace(
        "ALL=(ALL) NOPASSWD", "ALL=(ALL NOPASSWD"
    )
    with Target(tmp_path / "host", login.line) as target:
        target.write("var/lib/script", script, 0o700)
        before = target.snapshot("etc")

        done = target.run("sh", "/var/lib/script")

        assert done.returncode == 1
        assert "visudo: " in done.stderr
        assert "the machine is as it was" in done.stderr
        after = target.snapshot("etc")
        assert {n: c for n, c in after.items() if n in before} == before


GONE = """
users = { web = { gone = true }, ada = { gone = true }, deploy = {}, new = {} }
"""


def test_who_is_gone_or_not_named_any_more_has_no_way_in(desk, login, tmp_path):
    """Also where `!` or nothing stands for a password."""
    text = (desk.folder / "deploy.toml").read_text().partition("[group.")[0]
    (desk.folder / "gone.toml").write_text(text + GONE)
    script = desk.render("sh", "--file", "gone.toml")
    with Target(tmp_path / "host", login.line) as target:
        target.write("var/lib/script", script, 0o700)
        target.lock_account("web")
        shadow = target.path("etc/shadow")
        edited = re.sub(r"(?m)^ada:[^:]*:", "ada::", shadow.read_text())
        edited = re.sub(r"(?m)^deploy:.*$", "deploy::19000:0:99999:7::1:", edited)
        shadow.write_text(edited)
        target.write("etc/ssh/daypass/principals/web", "dba\n")
        target.write("etc/ssh/daypass/principals/deploy", "dev\n", 0o666)
        target.write("etc/sudoers.d/daypass", "%web ALL=(ALL) ALL\n", 0o440)

        done = target.run("sh", "/var/lib/script")
        again = target.run("sh", "/var/lib/script")

        assert done.returncode == 0, done.stderr
        assert "nothing to change" in again.stderr
        found = {
            line.split(":")[0]: line.split(":")
            for line in shadow.read_text().splitlines()
        }
        for name in ("web", "ada"):
            assert found[name][1].startswith("!"), name
            assert found[name][7] == "1", name
        assert (found["deploy"][1], found["deploy"][7]) == ("*", "")
        assert found["new"][1] == "*"
        principals = target.path("etc/ssh/daypass/principals").iterdir()
        modes = {path.name: path.stat().st_mode & 0o777 for path in principals}
        assert modes == {"root": 0o644, "deploy": 0o644}
        assert not target.path("etc/sudoers.d/daypass").exists()


def test_a_machine_does_not_lock_root_by_another_name(desk, login, tmp_path):
    text = (desk.folder / "deploy.toml").read_text().partition("[group.")[0]
    (desk.folder / "toor.toml").write_text(
        f"{text}users = {{ toor = {{ gone = true }} }}"
    )
    script = desk.render("sh", "--file", "toor.toml")
    with Target(tmp_path / "host", login.line) as target:
        target.write("var/lib/script", script, 0o700)
        with target.path("etc/passwd").open("a") as file:
            file.write("toor:x:0:0::/root:/bin/sh\n")
        before = target.snapshot("etc")

        done = target.run("sh", "/var/lib/script")

        assert done.returncode == 1
        assert "toor is root by another name" in done.stderr
        assert target.snapshot("etc") == before


LIAR = """
kill "$(cat /run/sshd.pid)"
echo 299 >/proc/sys/kernel/ns_last_pid
{sshd} </dev/null >/dev/null 2>&1
echo 99 >/proc/sys/kernel/ns_last_pid
setpriv --reuid 2002 --regid 2002 --clear-groups bash -c \\
    'exec -a "sshd: /home/ada/mine -D [listener]" sleep 300' >/dev/null 2>&1 &
until grep -q listener /proc/$!/cmdline && [ -s /run/sshd.pid ]; do sleep 0.05; done
echo $! "$(cat /run/sshd.pid)"
"""


def test_a_process_that_calls_itself_sshd_is_not_taken_for_it(desk, login, tmp_path):
    """Root would start its command line anew, once it is gone."""
    script = desk.render("sh")
    with Target(tmp_path / "host", login.line) as target:
        target.write("var/lib/script", script, 0o700)
        said = target.run("sh", "-c", LIAR.format(sshd=find_sshd())).stdout
        liar, listener = said.split()
        assert f"/proc/{liar}" < f"/proc/{listener}", "it is looked at first"

        done = target.run("sh", "/var/lib/script")

        assert done.returncode == 0, done.stderr
        (change,) = target.path("var/lib/daypass/deploy").glob("rendered-*")
        settings = (change / "settings").read_text()
        assert f"listener='{listener}'" in settings
        assert "/home/ada/mine" not in settings


def test_a_script_of_which_a_part_arrived_does_nothing(desk, tmp_path):
    whole = desk.render("sh")
    part = tmp_path / "part.sh"
    part.write_text(whole[: len(whole) // 2])

    done = subprocess.run(["dash", part], capture_output=True, check=False)

    assert done.returncode != 0
    assert not Path("/var/lib/daypass/deploy/rendered").exists()


def test_cloud_init_takes_it_by_its_own_schema(desk, tmp_path):
    token = desk.token("web2")
    given = ["--group", "people", "--id", "web2"]
    user_data = tmp_path / "user-data"
    user_data.write_text(desk.render("cloud-init", *given, "--join-token", str(token)))

    said = subprocess.run(
        ["cloud-init", "schema", "--config-file", user_data],
        capture_output=True,
        text=True,
        check=False,
    )

    assert said.returncode == 0, said.stderr
    assert "Valid cloud-config" in said.stdout
    packed = re.search(r"content: (H4\S+)", user_data.read_text())
    assert packed
    script = gzip.decompress(base64.b64decode(packed[1])).decode()
    assert script == desk.render("sh", *given)
    assert user_data.read_text().count(token.read_text().strip()) == 1
    assert "runcmd:\n  - [sh, /run/daypass-bootstrap, /run/daypass-join-token]\n" in (
        user_data.read_text()
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["render"], "takes the CA's URL and --pin"),
        (["render", "--format", "sh", "http://x"], "are in deploy.toml"),
        (["render", "--format", "sh", "--join-token", "x"], "holds no secret"),
        (["render", "--format", "sh", "--group", "x"], "there is no such group"),
        (["render", "--format", "cloud-init", "--join-token", "none"], "cannot read"),
        (
            ["render", "--format", "cloud-init", "--join-token", "hosts"],
            "no join token",
        ),
    ],
)
def test_what_is_asked_wrong_is_misuse(desk, arguments, words):
    (desk.folder / "hosts").write_text("[x]\nweb1\n")

    said = desk.type(*arguments)

    assert said.returncode == 2
    assert words in said.stderr


def test_what_is_printed_as_json_is_one_object(desk):
    said = desk.type("render", "--format", "sh", "--json")

    assert set(json.loads(said.stdout)) == {"v", "sh"}
