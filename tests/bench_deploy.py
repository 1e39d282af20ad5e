"""What a roll-out costs: a part of `make bench`.

    deploy_100_hosts_s    `ca-deploy plan`, then `apply`, on 100 hosts that trust nobody
                          yet: until the last of them is proved
    deploy_ratio          that, over what asyncssh takes to connect to each of them and
                          run `true`, as many at a time
    deploy_rss_mb         the most memory that ca-deploy has had
    ansible_ratio         the same change by Ansible, a host, over ca-deploy's

A host is an sshd with an /etc and a process namespace of its own (`tests.targets`), on
this machine, so that what hosts do themselves counts for both. Ansible puts the same
files in the same places, has sshd look at the configuration, reloads it, and comes back
on a new connection. It does it with pipelining and as many at a time, on fewer hosts,
and neither plans, nor arms a rollback, nor proves a login.
"""

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import asyncssh

from client.api import CA
from tests.authority import LOOPBACK, ROOT, Signer, make_ca, request_of, write_whole
from tests.fakes import FakeIdP
from tests.sshd import free_port, make_key
from tests.targets import Target, make_login

HOSTS = 100
ANSIBLE_HOSTS = 20
AT_ONCE = 10
STARTS_AT_ONCE = 4

POLICY = """
[[rule]]
name       = "proofs of ca-deploy"
issuer     = "corp"
canary     = true
match      = { groups = ["oncall"] }
principals = ["root", "dev"]
validity   = "10m"

[[rule]]
name       = "on call"
issuer     = "corp"
match      = { groups = ["oncall"] }
principals = ["dev"]
validity   = "10h"

[roles]
provisioner = { issuer = "corp", groups = ["oncall"] }
"""

DESIRED = """
version = 1
ca  = "{url}"
pin = "{pin}"

[host]
accounts = {{ root = ["root"], deploy = ["dev"] }}
pull = false
"""

PLAYBOOK = """
- hosts: all
  gather_facts: false
  tasks:
    - file: {path: /etc/ssh/daypass/principals, state: directory, mode: "0755"}
    - copy: {src: files/, dest: /etc/ssh/daypass/, mode: "0644"}
    - copy:
        src: drop_in
        dest: /etc/ssh/sshd_config.d/05-daypass.conf
        mode: "0644"
        validate: /usr/sbin/sshd -t -f %s
      notify: reload
  handlers:
    - name: reload
      command: kill -HUP {{ listener }}

- hosts: all
  gather_facts: false
  tasks:
    - meta: reset_connection
    - command: sshd -t
"""


def measure_deploy(folder: Path, idp: FakeIdP) -> dict[str, float]:
    """Roll out to hosts that are made for it; nothing where we may make none."""
    if os.geteuid() != 0:
        return {}
    desk = Desk(folder / "deploy")
    desk.folder.mkdir()
    with ExitStack() as stack:
        targets = start_targets(stack, desk, HOSTS + ANSIBLE_HOSTS)
        sign_in(stack, desk, idp)
        bare = seconds(lambda: asyncio.run(connect_to_each(desk, targets[:HOSTS])))
        deploy = seconds(lambda: roll_out(desk))
        ansible = seconds(lambda: run_ansible(desk, targets[HOSTS:]))
    return {
        "deploy_100_hosts_s": round(deploy * 100 / HOSTS, 1),
        "deploy_ratio": round(deploy / bare, 2),
        "deploy_rss_mb": round(desk.most_kb / 1024, 1),
        "ansible_ratio": round((ansible / ANSIBLE_HOSTS) / (deploy / HOSTS), 2),
    }


@dataclass
class Desk:
    """The operator's machine, below a folder."""

    folder: Path
    most_kb: int = 0
    """The most memory that ca-deploy has had."""

    def type(self, *arguments: str) -> str:
        """Run ca-deploy; return what it answered."""
        command = [sys.executable, "-m", "deploy", *arguments]
        given = ["--ssh-config", "ssh_config", "--parallel", str(AT_ONCE)]
        with (self.folder / "answer").open("w+") as answer:
            process = subprocess.Popen(
                [*command, *given],
                cwd=self.folder,
                env=os.environ | {"PYTHONPATH": str(ROOT)},
                stdin=subprocess.DEVNULL,
                stdout=answer,
                stderr=subprocess.DEVNULL,
            )
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            self.most_kb = max(self.most_kb, usage.ru_maxrss)
            answer.seek(0)
            said = answer.read()
        if process.returncode:
            raise RuntimeError(f"{arguments} ended with {process.returncode}: {said}")
        return said


def start_targets(stack: ExitStack, desk: Desk, count: int) -> list[Target]:
    """Start hosts, and write down how ssh reaches them."""
    for parent in (desk.folder, *desk.folder.parents):
        parent.chmod(parent.stat().st_mode | 0o055)
    login = make_login(desk.folder)
    targets = [Target(desk.folder / f"t{n}", login.line) for n in range(count)]
    for target in targets:
        target.pause_seconds = 2
    with ThreadPoolExecutor(STARTS_AT_ONCE) as pool:
        list(pool.map(stack.enter_context, targets))
    known = desk.folder / "known_hosts"
    known.write_text("".join(target.known_hosts for target in targets))
    (desk.folder / "ssh_config").write_text(
        "".join(
            f"Host t{n}\n  HostName {target.address}\n  Port {target.port}\n"
            for n, target in enumerate(targets)
        )
        + f"Host *\n  User root\n  IdentityFile {login.key}\n  IdentityAgent none\n"
        f"  UserKnownHostsFile {known}\n  GlobalKnownHostsFile /dev/null\n"
    )
    (desk.folder / "hosts").write_text("".join(f"t{n}\n" for n in range(HOSTS)))
    return targets


def sign_in(stack: ExitStack, desk: Desk, idp: FakeIdP) -> None:
    """Start a signer, and have a provisioner's certificate, and a deploy.toml."""
    port = free_port()
    config = make_ca(desk.folder / "ca", idp, origin=f"http://{LOOPBACK}:{port}")
    write_whole(config.with_name("policy.toml"), POLICY)
    signer = stack.enter_context(Signer(config, port=port))
    make_key(desk.folder / "default")
    line = (desk.folder / "default.pub").read_text().strip()
    answer = signer.sign(request_of(idp, "grace", key=line)).certificate
    (desk.folder / "default-cert.pub").write_text(f"{answer.certificate}\n")
    with CA(signer.url) as ca:
        pin = ca.unverified_root_fingerprint()
    desired = DESIRED.format(url=signer.url, pin=pin)
    (desk.folder / "deploy.toml").write_text(desired)


async def connect_to_each(desk: Desk, targets: Sequence[Target]) -> None:
    """Run `true` on each host: what nobody can do without."""
    turns = asyncio.Semaphore(AT_ONCE)

    async def one(target: Target) -> None:
        async with (
            turns,
            asyncssh.connect(
                target.address,
                target.port,
                username="root",
                client_keys=[str(desk.folder / "operator")],
                known_hosts=str(desk.folder / "known_hosts"),
                agent_path=None,
                config=None,
            ) as connection,
        ):
            await connection.run("true", check=True)

    await asyncio.gather(*map(one, targets))


def roll_out(desk: Desk) -> None:
    """Plan, and apply what was planned."""
    planned = desk.type("plan").splitlines()[-1].split()[1].rstrip(":")
    desk.type("apply", "--plan", planned, "--key", "default")


def run_ansible(desk: Desk, targets: Sequence[Target]) -> None:
    """Make the same change, from the files that ca-deploy has put on a host."""
    place = desk.folder / "ansible"
    done = desk.folder / "t0/etc/ssh"
    shutil.copytree(done / "daypass", place / "files")
    shutil.copy(done / "sshd_config.d/05-daypass.conf", place / "drop_in")
    (place / "playbook.yml").write_text(PLAYBOOK)
    (place / "inventory").write_text(
        "".join(
            f"t{n} listener={target.listener}\n"
            for n, target in enumerate(targets, HOSTS)
        )
    )
    arguments = ["-i", "inventory", "--forks", str(AT_ONCE), "playbook.yml"]
    with tempfile.TemporaryDirectory() as short:  # paths of sockets are
        settings = {
            "ANSIBLE_HOME": str(place / "home"),
            "ANSIBLE_PIPELINING": "true",
            "ANSIBLE_SSH_ARGS": f"-F {desk.folder}/ssh_config -o ControlMaster=auto "
            "-o ControlPersist=60s",
            "ANSIBLE_SSH_CONTROL_PATH_DIR": short,
            "ANSIBLE_PYTHON_INTERPRETER": "/usr/bin/python3",
        }
        done_by = subprocess.run(
            [Path(sys.executable).with_name("ansible-playbook"), *arguments],
            cwd=place,
            env=os.environ | settings,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
    if done_by.returncode:
        raise RuntimeError(done_by.stdout + done_by.stderr)


def seconds(work: Callable[[], None]) -> float:
    """Return how long something takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def main() -> int:
    """Measure this alone."""
    build = ROOT / "build"
    build.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=build) as folder, FakeIdP() as idp:
        for name, value in measure_deploy(Path(folder), idp).items():
            sys.stdout.write(f"{name:20}  {value:10,.3f}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
