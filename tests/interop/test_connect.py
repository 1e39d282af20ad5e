"""From nothing to a shell: `ca-login ssh` and its kin, at a real CA and a real sshd."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ca.bundle import parse_roots, split_signed
from client.__main__ import main
from client.failure import Misuse
from client.openssh import AGENT, PORTS, PTY, X11, needed_extensions, parse
from tests.fakes import FakeIdP
from tests.laptop import House, Laptop, open_house
from tests.login_table import ACCOUNT
from tests.sshd import Sshd

pytestmark = pytest.mark.openssh

ROOT = Path(__file__).parents[2]

RULES = f"""
[[rule]]
name       = "everybody"
issuer     = "corp"
match      = {{ groups = ["dev"] }}
principals = ["{ACCOUNT}"]
validity   = "10h"
extensions = ["permit-pty", "permit-port-forwarding"]

[[rule]]
name       = "the special account"
issuer     = "corp"
on_request = true
match      = {{ groups = ["dev"] }}
require    = {{ max_auth_age = "1h", reason = true }}
principals = ["special"]
validity   = "30m"
extensions = ["permit-pty"]
"""


@pytest.fixture(scope="module")
def idp():
    with FakeIdP() as idp:
        yield idp


@pytest.fixture(scope="module")
def house(idp, tmp_path_factory):
    with open_house(tmp_path_factory.mktemp("ca") / "ca", idp.issuer, rules=RULES) as h:
        yield h


def sshd_for(folder: Path, house: House, *principals: str) -> Sshd:
    text, _ = split_signed((house.folder / "roots").read_bytes())
    (folder / "user_ca").write_text("\n".join(parse_roots(text).user_ca_keys()) + "\n")
    (folder / "principals").write_text("\n".join(principals) + "\n")
    settings = [
        f"TrustedUserCAKeys {folder}/user_ca",
        f"AuthorizedPrincipalsFile {folder}/principals",
        "Subsystem sftp internal-sftp",
    ]
    return Sshd(folder, settings, log_level="DEBUG")


@pytest.fixture(scope="module")
def sshd(house, tmp_path_factory):
    with sshd_for(tmp_path_factory.mktemp("sshd"), house, ACCOUNT) as sshd:
        yield sshd


@pytest.fixture(scope="module")
def special(house, tmp_path_factory):
    with sshd_for(tmp_path_factory.mktemp("special"), house, "special") as sshd:
        yield sshd


@pytest.fixture
def laptop(house, idp, tmp_path):
    """Return a laptop on which nobody has signed in yet."""
    idp.hits.clear()
    idp.signed_in_ago = 0
    script = ROOT / "tests/client/a_browser.py"
    return house.laptop(
        BROWSER=f"{sys.executable} {script} {tmp_path}/seen.json honest %s"
    )


def settings(*hosts: Sshd) -> list[str]:
    """Return what has ssh know these hosts and ask nothing."""
    known = [f"UserKnownHostsFile={' '.join(str(host.known_hosts) for host in hosts)}"]
    return [w for one in [*known, "BatchMode=yes"] for w in ("-o", one)]


def options(sshd: Sshd) -> list[str]:
    return [*settings(sshd), "-p", str(sshd.port)]


def where() -> str:
    return f"{ACCOUNT}@127.0.0.1"


def test_from_nothing_to_a_shell_and_the_exit_code_of_what_ran_there(laptop, sshd, idp):
    done = laptop.run("ssh", *options(sshd), where(), "echo in; exit 42")
    again = laptop.run("ssh", *options(sshd), where(), "exit 3")

    assert (done.stdout, done.returncode) == ("in\n", 42), done.stderr
    assert (again.stdout, again.returncode) == ("", 3)
    assert "ca-login" not in again.stderr
    assert idp.hits["/authorize"] == 1


def test_it_jumps_through_a_host_that_wants_our_key_as_well(
    laptop, house, sshd, tmp_path
):
    with sshd_for(tmp_path, house, ACCOUNT) as bastion:
        jump = ["-J", f"{ACCOUNT}@127.0.0.1:{bastion.port}"]
        # The ssh that jumps is told no options, but for files.
        config = Path(os.environ["HOME"], ".ssh/config")
        config.parent.mkdir(exist_ok=True)
        known = f"{bastion.known_hosts} {sshd.known_hosts}"
        config.write_text(f"UserKnownHostsFile {known}\nBatchMode yes\n")
        with bastion.listening():
            done = laptop.run(
                "ssh", *jump, "-p", str(sshd.port), where(), "echo through"
            )

        assert done.stdout == "through\n", done.stderr
        assert "Accepted publickey" in bastion.said


def test_scp_and_sftp_copy(laptop, sshd, tmp_path):
    source, copy = tmp_path / "source", tmp_path / "copy"
    source.write_text("what is copied")
    port = ["-P", str(sshd.port)]

    scp = laptop.run("scp", *settings(sshd), *port, source, f"{where()}:{copy}")
    batch = tmp_path / "batch"
    batch.write_text(f"get {copy} {tmp_path}/back\n")
    sftp = laptop.run(
        "sftp", "--one-shot", *settings(sshd), *port, "-b", str(batch), where()
    )

    assert (scp.returncode, sftp.returncode) == (0, 0), scp.stderr + sftp.stderr
    assert (tmp_path / "back").read_text() == "what is copied"


def test_a_configuration_of_one_s_own_stays_in_force(laptop, sshd, tmp_path):
    config = tmp_path / "config"
    config.write_text(f"Host web1\n  HostName 127.0.0.1\n  Port {sshd.port}\n")

    done = laptop.run(
        "ssh", *settings(sshd), "-F", str(config), f"{ACCOUNT}@web1", "echo in"
    )

    assert done.stdout == "in\n", done.stderr


# --- exec ---------------------------------------------------------------------------


def test_exec_runs_what_runs_ssh(laptop, sshd, tmp_path):
    repository = tmp_path / "repository"
    subprocess.run(["git", "init", "-q", "--bare", repository], check=True)
    config = Path(os.environ["HOME"], ".ssh/config")
    config.parent.mkdir(exist_ok=True)
    config.write_text(f"UserKnownHostsFile {sshd.known_hosts}\nBatchMode yes\n")
    url = f"ssh://{where()}:{sshd.port}{repository}"

    git = laptop.run("exec", "--", "git", "ls-remote", url)
    ssh = f'ssh -F "$DAYPASS_SSH_CONFIG" -p {sshd.port} {where()}'
    plain = laptop.run("exec", "sh", "-c", f"{ssh} echo in; exit 9")

    assert git.returncode == 0, git.stderr
    assert (plain.stdout, plain.returncode) == ("in\n", 9)


def test_exec_tells_the_others_by_their_own_variables(laptop):
    names = ("RSYNC_RSH", "GIT_SSH_COMMAND", "ANSIBLE_SSH_COMMON_ARGS")
    show = "import json, os; print(json.dumps(dict(os.environ)))"

    done = laptop.run("exec", "--", sys.executable, "-c", show)
    more = Laptop({"RSYNC_RSH": "ssh -p 22"}).run(
        "exec", "--", sys.executable, "-c", show
    )

    told = json.loads(done.stdout)
    file = told["DAYPASS_SSH_CONFIG"]
    assert [told[name] for name in names] == [
        f"ssh -F {file}",
        f"ssh -F {file}",
        f"-F {file}",
    ]
    assert json.loads(more.stdout)["RSYNC_RSH"] == f"ssh -p 22 -F {file}"
    assert "CA_LOGIN_APART" not in told


def test_what_cannot_be_run_is_said(laptop):
    done = laptop.run("exec", "--", "no-such-program")

    assert done.returncode == 1
    assert "no-such-program cannot be run" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["ssh"],
        ["exec", "--"],
        ["ssh", "--principal", "a,b", "x"],
        ["ssh", "--frob", "x"],
        ["exec", "--one-shot", "x"],
        ["scp", "--one-shot", "--principal", "a", "x"],
    ],
)
def test_what_was_typed_wrong_is_misuse(arguments):
    assert main(arguments) == 2


# --- --principal --------------------------------------------------------------------


def test_what_is_given_on_request_is_signed_in_for_and_kept_apart(
    laptop, sshd, special, idp
):
    assert laptop.run().returncode == 0
    morning = laptop.certificate.read_bytes()
    idp.signed_in_ago = 7200
    asked = ("ssh", "--principal", "special", "--reason", "disk full")

    done = laptop.run(*asked, *options(special), where(), "echo in")
    again = laptop.run(*asked, *options(special), where(), "echo in")

    assert done.stdout == "in\n", done.stderr
    assert "policy wants a fresh sign-in" in done.stderr
    assert again.stdout == "in\n"
    assert "ca-login" not in again.stderr
    # The morning's, one that was not fresh enough, one that was.
    assert idp.hits["/authorize"] == 3
    assert laptop.certificate.read_bytes() == morning
    assert laptop.run("ssh", *options(special), where(), "true").returncode == 255

    assert laptop.run("logout").returncode == 0
    # No key and no certificate: only what ssh must go on knowing of hosts.
    left = {path.name for path in laptop.key.parent.iterdir()}
    assert left == {"default.known_hosts", "default.revoked_hosts"}


def why(laptop, host, account):
    config = laptop.key.with_name(".default") / "ssh_config"
    done = laptop.run(
        "why", "--json", "-F", str(config), *options(host), f"{account}@127.0.0.1"
    )
    return done.returncode, json.loads(done.stdout)["cause"]


def test_why_says_what_policy_gives_and_how_to_get_it(laptop, sshd, special):
    assert laptop.run("ssh", *options(sshd), where(), "true").returncode == 0

    on_request = why(laptop, special, "special")
    never = why(laptop, special, "root2")

    assert (on_request[0], on_request[1]["code"]) == (3, "wrong_principal")
    assert on_request[1]["hint"] == (
        'ca-login ssh --principal special --reason "..." special@127.0.0.1'
    )
    assert (never[0], never[1]["code"]) == (5, "denied_by_policy")
    assert "no rule" in never[1]["why"]


def test_what_policy_refuses_is_exit_code_5(laptop, special):
    done = laptop.run("ssh", "--principal", "root2", *options(special), where())

    assert done.returncode == 5


# --- --one-shot ---------------------------------------------------------------------


def test_one_shot_has_what_its_options_need_and_leaves_nothing(laptop, sshd, idp):
    assert laptop.run().returncode == 0
    before = sorted(path.name for path in laptop.key.parent.iterdir())

    with sshd.listening():
        plain = laptop.run("ssh", "--one-shot", *options(sshd), where(), "echo in")
    said_plain = sshd.said
    with sshd.listening():
        terminal = laptop.run(
            "ssh", "--one-shot", *options(sshd), "-tt", where(), "tty"
        )
    said_terminal = sshd.said

    assert (plain.stdout, plain.returncode) == ("in\n", 0), plain.stderr
    assert "/dev/pts/" in terminal.stdout
    assert "pty" not in key_options(said_plain)
    assert key_options(said_terminal) == {"pty"}
    assert idp.hits["/authorize"] == 1
    assert sorted(path.name for path in laptop.key.parent.iterdir()) == before


def key_options(said: str) -> set[str]:
    """Return what sshd says a certificate may do."""
    lines = [line for line in said.splitlines() if "key options:" in line]
    allowed = {"pty", "agent-forwarding", "port-forwarding", "x11-forwarding"}
    return allowed.intersection(lines[-1].split()) if lines else set()


def test_one_shot_passes_signals_on_and_cleans_up(laptop, sshd):
    assert laptop.run().returncode == 0
    before = sorted(path.name for path in laptop.key.parent.iterdir())
    process = laptop.start(
        "ssh", "--one-shot", *options(sshd), where(), "echo x; sleep 60"
    )
    assert process.stdout is not None
    process.stdout.readline()

    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=20)

    assert process.returncode != 0
    assert sorted(path.name for path in laptop.key.parent.iterdir()) == before


def test_one_shot_never_falls_back_to_the_key_of_the_day(laptop, house, sshd):
    config = Path(os.environ["HOME"], ".ssh/config")
    assert laptop.run().returncode == 0
    config.parent.mkdir(exist_ok=True)
    ensure = f"{Path(sys.executable).with_name('ca-login')} ensure"
    config.write_text(
        f'Match host 127.0.0.1 exec "{ensure}"\n  IdentityFile {laptop.key}\n'
    )

    done = laptop.run("ssh", "--one-shot", "-v", *options(sshd), where(), "true")

    assert done.returncode == 0, done.stderr
    offered = [line for line in done.stderr.splitlines() if "Will attempt key" in line]
    assert not [line for line in offered if f"{laptop.key} " in line]


@pytest.mark.parametrize(
    ("arguments", "needs"),
    [
        ("h", {PTY}),
        ("h uptime", set()),
        ("-t h uptime", {PTY}),
        ("-T h", set()),
        ("-N h", set()),
        ("-s h sftp", set()),
        ("-A h uptime", {AGENT}),
        ("-X h xterm", {X11}),
        ("-NL 1:x:2 h", {PORTS}),
        ("-N -R1:x:2 h", {PORTS}),
        ("-ND1080 h", {PORTS}),
        ("h -A -p 22 uptime -t", {AGENT}),
        ("-W x:22 h", {PORTS}),
        ("-J j h uptime", {PORTS}),
        ("-o ForwardAgent=yes h uptime", {AGENT}),
        ("-oRequestTTY=force h uptime", {PTY}),
        ("-o RemoteCommand=top h", set()),
        ("-l ada -- h", {PTY}),
        ("-l ada", set()),
    ],
)
def test_what_an_ssh_command_line_needs(arguments, needs):
    line = parse("ssh", arguments.split())

    assert needed_extensions(line, "/dev/null") == needs


@pytest.mark.parametrize(
    ("tool", "arguments", "needs"),
    [
        ("scp", "a h:b", set()),
        ("scp", "-J j a ada@h:b", {PORTS}),
        ("scp", "-P 22 -o ProxyJump=j scp://ada@h:22/a .", {PORTS}),
        ("scp", "a b", set()),
        ("sftp", "-o ProxyCommand=x ada@[::1]:a", {PORTS}),
        ("sftp", "sftp://h:22/a", set()),
    ],
)
def test_what_a_copy_needs(tool, arguments, needs):
    line = parse(tool, arguments.split())

    assert needed_extensions(line, "/dev/null") == needs


def test_an_option_without_its_value_is_misuse():
    with pytest.raises(Misuse):
        parse("ssh", ["h", "-p"])
    with pytest.raises(Misuse):
        needed_extensions(parse("ssh", ["-o", "Frob=1", "h"]), "/dev/null")


def test_it_waits_for_whoever_signs_in_already(laptop, idp, sshd):
    idp.delay_seconds = 0.3
    processes = [
        laptop.start("ssh", *options(sshd), where(), "echo in") for _ in range(3)
    ]

    said = [process.communicate(timeout=60)[0] for process in processes]

    idp.delay_seconds = 0
    assert said == ["in\n"] * 3
    assert idp.hits["/authorize"] == 1
