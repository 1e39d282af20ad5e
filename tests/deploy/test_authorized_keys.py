"""Authorized keys that certificates have replaced: listed, moved away, brought back.

On a host of the tests' own, where each test finds what the one before left. The
operator comes in by a key of root's that is to keep; ada and deploy have their own.
"""

import asyncio
import os
import subprocess
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from ca.certificate import parse_line
from ca.wire import fingerprint
from deploy.authorized_keys import parse
from deploy.desired import DesiredHost, Keys
from deploy.failure import Blocked, NotProved, PlanChanged
from deploy.key_report import describe, places
from tests.fleet import Office
from tests.sshd import make_key
from tests.targets import MAIN, Target, make_login, wait_until

pytestmark = [
    pytest.mark.openssh,
    pytest.mark.skipif(os.geteuid() != 0, reason="targets take root"),
]

ADA = "home/ada/.ssh/authorized_keys"
HOME = "home/deploy"
DEPLOY = f"{HOME}/.ssh/authorized_keys"
ROOT = "root/.ssh/authorized_keys"


def fingerprint_of(line):
    return fingerprint(parse_line(" ".join(line.split()[:2])))


@pytest.fixture(scope="module")
def office(tmp_path_factory):
    folder = tmp_path_factory.mktemp("office")
    for parent in (folder, *folder.parents[:2]):
        parent.chmod(0o755)
    return Office(folder, make_login(folder), clock_seconds=60)


@pytest.fixture(scope="module")
def wanted(office):
    return DesiredHost(
        {"root": ("root",), "deploy": ("dev",)},
        authorized_keys=Keys.RETIRE,
        kept_keys=frozenset({fingerprint_of(office.login.line)}),
    )


@pytest.fixture(scope="module")
def old(office):
    """A key that somebody once put there."""
    path = office.folder / "old"
    make_key(path)
    return path


def own(target, name, uid, mode=0o600):
    path = target.path(name)
    for each, bits in ((path.parent, 0o700), (path, mode)):
        os.chown(each, uid, uid)
        each.chmod(bits)


@pytest.fixture(scope="module")
def target(office, old):
    with Target(office.folder / "host", office.login.line) as target:
        office.know(target)
        line = old.with_suffix(".pub").read_text().split()
        key = f"{line[0]} {line[1]}"
        with target.path(ROOT).open("a") as file:
            file.write(f"# by hand\n{key} alan@laptop\n")
        target.write(DEPLOY, f'from="127.0.0.0/8" {key} alan@laptop\n')
        own(target, DEPLOY, 2002)
        with target.path(ADA).open("a") as file:
            file.write(f"{key} alan@laptop\n")
        own(target, ADA, 2001)
        # Whoever owns the folder could have root, or us, wait there.
        os.mkfifo(target.path(f"{DEPLOY}.daypass"))
        os.chown(target.path(f"{DEPLOY}.daypass"), 2002, 2002)
        log = (
            "Nov 29 01:02:03 t0 sshd[7]: Accepted publickey for root from 192.0.2.1 "
            f"port 5 ssh2: ED25519 {fingerprint_of(key)}\n"
        )
        target.write("var/log/auth.log", log.replace("29", "28") + log)
        yield target


def run(coroutine):
    return asyncio.run(coroutine)


async def look(office, desired):
    async with office.on("t0") as visit:
        return await visit.keys(desired)


async def retire(office, desired, observe=lambda _: None):
    async with office.on("t0") as visit:
        return await visit.retire(desired, observe)


async def restore(office, desired):
    async with office.on("t0") as visit:
        return await visit.restore(desired)


async def deploy(office, desired):
    async with office.on("t0") as visit:
        return await visit.apply(desired)


def opens(office, key, user):
    options = ["-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", "-i", key, "-l", user]
    config = office.folder / "plain_config"
    text = office.config.read_text()
    config.write_text(text.replace(f"  IdentityFile {office.login.key}\n", ""))
    done = subprocess.run(["ssh", "-F", config, *options, "t0", "true"], check=False)
    return done.returncode == 0


def test_every_key_is_reported_with_what_is_to_be_known_of_it(office, target, wanted):
    os.chown(target.path("home/ada/.ssh"), 2001, 100)
    target.path("home/ada/.ssh").chmod(0o770)

    facts, _ = run(look(office, wanted))
    said = describe(places("t0", facts, wanted))

    documents = {(d["account"], d["comment"]): d for d, _ in said}
    text = "".join(text for _, text in said)
    old_root = documents["root", "alan@laptop"]
    assert old_root["line"] == 3
    assert old_root["last_used"] == "Nov 29 01:02:03"
    assert old_root["opens"] == 3
    assert old_root["replaced"]
    assert documents["deploy", "alan@laptop"]["options"] == 'from="127.0.0.0/8"'
    assert "  opens 3 accounts or hosts of these\n" in text
    assert "  to keep, as deploy.toml says\n" in text
    assert "ada takes no certificates" in text
    ignored = (
        "sshd does not take it: /home/ada/.ssh is writable by its group: chmod 700"
    )
    assert ignored in text
    assert not opens(office, office.login.key, "ada"), "as sshd says itself"
    own(target, ADA, 2001)
    assert opens(office, office.login.key, "ada")


def test_nothing_is_retired_where_certificates_do_not_open_yet(office, target, wanted):
    with pytest.raises(Blocked, match="ca-deploy apply"):
        run(retire(office, wanted))


def test_keys_stay_where_they_are_to_be_kept(office, target, wanted):
    run(deploy(office, wanted))

    kept = run(look(office, replace(wanted, authorized_keys=Keys.KEEP)))[1]

    assert kept.changes == ()


def test_a_retirement_that_locks_the_operator_out_is_taken_back(
    office, target, wanted, old
):
    before = target.snapshot("root", "home")

    with pytest.raises(NotProved, match="lets you in as before"):
        run(retire(office, replace(wanted, kept_keys=frozenset())))

    assert target.snapshot("root", "home") == before
    assert opens(office, old, "root")


def test_keys_are_brought_back_by_the_host_itself_when_all_is_cut(
    office, target, wanted, old
):
    before = target.snapshot("root", "home")
    hasty = replace(office, clock_seconds=3)

    class Cut(BaseException):
        pass

    async def cut():
        async with hasty.on("t0") as visit:

            def observe(done):
                if done == "swap":
                    assert not target.path(DEPLOY).exists()
                    assert opens(office, office.login.key, "root")
                    visit.root.connection.abort()
                    raise Cut

            with pytest.raises(Cut):
                await visit.retire(wanted, observe)

    run(cut())

    wait_until(lambda: not target.locks, 20)
    assert target.snapshot("root", "home") == before
    assert opens(office, old, "deploy")


def test_a_folder_that_leads_elsewhere_leads_nobody(office, target, wanted):
    """An owner who makes it a link between plan and change meets their own rights."""

    async def change_between():
        async with office.on("t0") as visit:
            seen = await visit.keys(wanted)
            folder = target.path(f"{HOME}/.ssh")
            folder.rename(folder.with_name("ssh"))
            folder.symlink_to(f"/{Path(ROOT).parent}")
            await visit.change(seen)

    before = target.path(ROOT).read_text()
    with pytest.raises(PlanChanged, match="is not what it was"):
        run(change_between())

    assert target.path(ROOT).read_text() == before
    folder = target.path(f"{HOME}/.ssh")
    folder.unlink()
    folder.with_name("ssh").rename(folder)


def test_what_certificates_have_replaced_is_moved_and_the_kept_key_stays(
    office, target, wanted, old
):
    made = run(retire(office, wanted))
    again = run(look(office, wanted))[1]

    assert "-ssh-ed25519" in made.render()
    assert (
        "/home/ada/.ssh/authorized_keys stays: ada takes no certificates" in made.risks
    )
    assert again.changes == ()
    assert not target.path(DEPLOY).exists()
    assert target.path(ROOT).read_text() == f"{office.login.line}\n# by hand\n"
    assert not opens(office, old, "root")
    assert not opens(office, old, "deploy")
    assert opens(office, office.login.key, "ada")
    kept = target.path("var/lib/daypass/deploy").glob("*/old/*")
    assert any("alan@laptop" in path.read_text() for path in kept)


def test_a_second_retirement_and_both_are_undone_one_after_the_other(
    office, target, wanted, old
):
    # What is older than a month is cleared away, but no keys.
    for change in target.path("var/lib/daypass/deploy").glob("*-*"):
        os.utime(change, (0, 0))
    key = old.with_suffix(".pub").read_text()
    target.write(DEPLOY, f"{key}")
    own(target, DEPLOY, 2002)
    second = run(retire(office, wanted))
    assert [change.path for change in second.changes] == [f"/{DEPLOY}"]

    run(restore(office, wanted))
    assert target.path(DEPLOY).read_text() == key
    assert target.path(DEPLOY).stat().st_uid == 2002
    run(restore(office, wanted))

    assert len(parse(target.path(DEPLOY).read_text())) == 2
    assert opens(office, old, "root")
    assert opens(office, old, "deploy")
    with pytest.raises(Blocked, match="no keys of it are retired"):
        run(restore(office, wanted))
    # What rollback takes back is something else, and still there.
    assert target.path("var/lib/daypass/deploy/last").exists()


def test_keys_in_a_folder_of_roots_stay_readable_there_and_back(office, wanted, old):
    """For sshd reads them with the rights of the account."""
    place = "etc/ssh/keys/deploy"
    line = old.with_suffix(".pub").read_text()
    main = f"{MAIN}AuthorizedKeysFile .ssh/authorized_keys /etc/ssh/keys/%u\n"
    with Target(office.folder / "central", office.login.line, main=main) as target:
        office.know(target)
        target.write(place, f"{office.login.line}\n{line}")
        before = target.path(place).read_text()
        run(deploy(office, wanted))

        with pytest.raises(NotProved):
            run(
                retire(
                    replace(office, minter=Office(office.folder, office.login)), wanted
                )
            )
        assert target.path(place).read_text() == before
        assert opens(office, old, "deploy")
        run(retire(office, wanted))
        assert opens(office, office.login.key, "deploy"), "the key to keep"
        assert not opens(office, old, "deploy")
        run(restore(office, wanted))
        assert opens(office, old, "deploy")

        target.write(place, line)
        run(retire(office, wanted))
        assert not target.path(place).exists()
        run(restore(office, wanted))
        assert opens(office, old, "deploy")


STALLS = ["kill -STOP $$", "mkfifo {folder}/x; cat {folder}/x", "sleep 60"]


@pytest.mark.parametrize("code", STALLS)
def test_nobody_keeps_root_waiting_for_what_runs_by_their_rights(code, tmp_path):
    """A rollback would never come to the keys of the next."""
    script = (Path(__file__).parents[2] / "deploy/host/keys.sh").read_text()
    assert "sleep 10;" in script
    path = tmp_path / "keys.sh"
    # Not below pytest's own folder, into which nobody else may look.
    with TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        call = f"as nobody '{code.format(folder=folder)}' x\necho ended $?\n"
        path.write_text(script.replace("sleep 10;", "sleep 1;") + call)

        done = subprocess.run(
            ["sh", path], capture_output=True, text=True, check=False, timeout=20
        )

    assert done.stdout == "ended 137\n"
