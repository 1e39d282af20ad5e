"""Users, groups and lines for sudo: made, changed, locked, and all of it taken back.

On a host of the tests' own, by the real useradd, usermod, gpasswd, chage and visudo.
The first tests leave it as it was; the others find it as the one before left it.
"""

import asyncio
import os
import subprocess
from dataclasses import replace

import msgspec
import pytest

from deploy.desired import DesiredHost, GroupTable, Password, UserTable
from deploy.failure import Blocked, NotProved, NotRoot, StepFailed
from deploy.planned import SUDOERS, Kind
from tests.fleet import Office
from tests.targets import Target, make_login, wait_until

pytestmark = [
    pytest.mark.openssh,
    pytest.mark.skipif(os.geteuid() != 0, reason="targets take root"),
]

ROOT = {"root": ("root",)}
OPERATE = {"uid": 2501, "shell": "/bin/sh", "groups": ["ops"]}
OPS = DesiredHost(
    ROOT | {"operate": ("ops",)},
    groups={"ops": GroupTable(gid=2500)},
    users={"operate": msgspec.convert(OPERATE, UserTable)},
    sudoers=("%ops ALL=(ALL) NOPASSWD: ALL",),
)
DATABASES = ("etc/passwd", "etc/shadow", "etc/group", "etc/gshadow")


@pytest.fixture(scope="module")
def office(tmp_path_factory):
    folder = tmp_path_factory.mktemp("office")
    for parent in (folder, *folder.parents[:2]):
        parent.chmod(0o755)
    return Office(folder, make_login(folder), clock_seconds=60)


@pytest.fixture(scope="module")
def target(office):
    with Target(office.folder / "host", office.login.line) as target:
        office.know(target)
        yield target


async def deploy(office, desired, observe=lambda _: None):
    async with office.on("t0") as visit:
        return await visit.apply(desired, observe)


async def look(office, desired):
    async with office.on("t0") as visit:
        return (await visit.plan(desired))[1]


def hasty(office):
    """Return an operator whose hosts take a change back soon."""
    return replace(office, clock_seconds=3)


def run(coroutine):
    return asyncio.run(coroutine)


def databases(target):
    return {name: target.path(name).read_text() for name in DATABASES}


def entry(target, database, name):
    lines = target.path(database).read_text().splitlines()
    return next((ln.split(":") for ln in lines if ln.startswith(f"{name}:")), None)


def members(target, group):
    found = entry(target, "etc/group", group)
    return set(found[3].split(",")) - {""} if found else None


def put_into(target, user, *groups):
    """Put a user into groups, as somebody once did."""
    path = target.path("etc/group")
    lines = path.read_text().splitlines()
    for group in groups:
        at = next(n for n, ln in enumerate(lines) if ln.startswith(f"{group}:"))
        lines[at] += f",{user}" if not lines[at].endswith(":") else user
    path.write_text("\n".join(lines) + "\n")


def add_group(target, name, gid):
    with target.path("etc/group").open("a") as file:
        file.write(f"{name}:x:{gid}:\n")
    with target.path("etc/gshadow").open("a") as file:
        file.write(f"{name}:!::\n")


LEFT = DesiredHost(
    ROOT | {"deploy": ("dev",)},
    users={"deploy": UserTable(groups=("adm",)), "ada": UserTable(gone=True)},
)


async def undo(office):
    """Take the last change back, as `ca-deploy rollback` does."""
    async with office.on("t0") as visit:
        return await visit.undo(DesiredHost(ROOT))


BLOCKED = {
    "you came in as ada": DesiredHost(ROOT, users={"ada": UserTable(gone=True)}),
    "the uid 2001 is ada's already": DesiredHost(
        ROOT, users={"new": UserTable(uid=2001)}
    ),
    "has the uid 2002, not 3000": DesiredHost(
        ROOT, users={"deploy": UserTable(uid=3000)}
    ),
    "the gid 2001 is ada's already": DesiredHost(
        ROOT, groups={"new": GroupTable(gid=2001)}
    ),
    "there is no such group": DesiredHost(
        ROOT, users={"deploy": UserTable(groups=("nowhere",))}
    ),
    "move it yourself": DesiredHost(ROOT, users={"deploy": UserTable(home="/srv/d")}),
}


def test_what_would_end_badly_is_not_begun(office, target):
    office.know(target, users=["ada"])
    before = target.snapshot("etc")

    for said, desired in BLOCKED.items():
        with pytest.raises(Blocked, match=said):
            run(deploy(office, desired))

    assert target.snapshot("etc") == before
    office.know(target)


def test_a_user_without_a_shadow_entry_is_one_that_is_locked(office, target):
    with target.path("etc/passwd").open("a") as file:
        file.write("bare:x:2999:2999::/home/bare:/bin/sh\n")

    made = run(look(office, DesiredHost(ROOT, users={"bare": UserTable()})))

    assert "bare was locked by somebody, and is opened" in made.risks
    passwd = target.path("etc/passwd")
    passwd.write_text(passwd.read_text().partition("bare:x:")[0])


def test_a_shell_that_is_not_there_is_said_before_anything_is_changed(office, target):
    before = databases(target)
    wanted = DesiredHost(
        ROOT, users={"new": msgspec.convert({"shell": "/bin/nosuch"}, UserTable)}
    )

    with pytest.raises(StepFailed, match="there is no shell /bin/nosuch for new"):
        run(deploy(office, wanted))

    assert databases(target) == before


REFUSED = (
    ("%ops ALL=(ALL NOPASSWD: ALL",),
    # An alias that another file has, too.
    ("User_Alias ONES = ada", "ONES ALL=(ALL) ALL"),
)


def test_lines_that_sudo_would_not_take_change_nothing(office, target):
    target.write("etc/sudoers.d/other", "User_Alias ONES = deploy\n", 0o440)
    before = target.snapshot("etc")

    for lines in REFUSED:
        with pytest.raises(StepFailed, match="visudo: "):
            run(deploy(office, DesiredHost(ROOT, sudoers=lines)))

    after = target.snapshot("etc")
    assert {n: c for n, c in after.items() if n in before} == before
    assert not target.path(SUDOERS[1:]).exists()
    target.path("etc/sudoers.d/other").unlink()


def test_what_was_made_for_a_change_that_failed_is_gone(office, target):
    before = databases(target)
    other = Office(office.folder, office.login)
    confused = Office(office.folder, office.login, office.ca, minter=other)

    with pytest.raises(NotProved, match="the host is as it was"):
        run(deploy(confused, OPS))

    assert databases(target) == before
    assert not target.path("home/operate").exists()
    assert not target.path(SUDOERS[1:]).exists()
    (kept,) = target.path("var/lib/daypass/deploy").glob("*/home.operate")
    assert kept.is_dir()


def test_a_user_is_taken_back_by_the_host_itself_when_all_is_cut(office, target):
    before = databases(target)

    class Cut(BaseException):
        pass

    async def cut():
        async with hasty(office).on("t0") as visit:

            def observe(done):
                if done == "swap":
                    visit.root.connection.abort()
                    raise Cut

            with pytest.raises(Cut):
                await visit.apply(OPS, observe)

    run(cut())

    assert entry(target, "etc/passwd", "operate")
    wait_until(lambda: not target.locks, 20)
    assert databases(target) == before


def test_a_user_is_made_with_a_group_and_sudo_and_opens_by_certificate(office, target):
    first = run(deploy(office, OPS))
    second = run(look(office, OPS))

    said = first.render()
    assert "+made, gid 2500\n" in said
    assert "+made, uid 2501, home /home/operate, shell /bin/sh, no password\n" in said
    assert "+joins ops\n" in said
    assert "+%ops ALL=(ALL) NOPASSWD: ALL" in said
    assert second.changes == (), second.render()
    assert entry(target, "etc/passwd", "operate")[2:3] == ["2501"]
    assert entry(target, "etc/shadow", "operate")[1] == "*"
    assert members(target, "ops") == {"operate"}
    home = target.path("home/operate").stat()
    assert (home.st_uid, home.st_mode & 0o777) == (2501, 0o700)
    assert target.path(SUDOERS[1:]).stat().st_mode & 0o777 == 0o440
    assert "Accepted publickey for operate" in target.log


def test_going_back_later_locks_a_user_who_may_own_files_by_now(office, target):
    target.path("home/operate/work").write_text("mine\n")

    run(undo(office))

    assert entry(target, "etc/shadow", "operate")[1] == "!*"
    assert entry(target, "etc/shadow", "operate")[7] == "1"
    assert target.path("home/operate/work").read_text() == "mine\n"
    assert not target.path(SUDOERS[1:]).exists()
    run(deploy(office, OPS))
    assert entry(target, "etc/shadow", "operate")[1:8:6] == ["*", ""]


def test_a_user_leaves_powerful_groups_and_another_is_locked_and_not_removed(
    office, target
):
    add_group(target, "docker", 2600)
    add_group(target, "lxd", 2601)
    put_into(target, "deploy", "docker", "lxd", "adm", "users")
    hash_before = entry(target, "etc/shadow", "ada")[1]

    made = run(deploy(office, LEFT))
    again = run(look(office, LEFT))

    said = made.render()
    assert "+leaves docker\n  +leaves lxd\n" in said
    assert "mind: sessions and jobs of ada that run now go on until they end" in said
    assert hash_before not in said
    assert again.changes == (), again.render()
    assert members(target, "docker") == members(target, "lxd") == set()
    assert members(target, "users") == members(target, "adm") == {"deploy"}
    assert entry(target, "etc/shadow", "ada")[1:2] == [f"!{hash_before}"]
    assert entry(target, "etc/shadow", "ada")[7] == "1"
    assert target.path("home/ada/.ssh/authorized_keys").exists()
    # The key that opened it until now does so no more.
    options = ["-F", office.config, "-o", "BatchMode=yes", "-l", "ada"]
    login = subprocess.run(["ssh", *options, "t0", "true"], check=False)
    assert login.returncode == 255

    run(undo(office))

    assert entry(target, "etc/shadow", "ada")[1:8:6] == [hash_before, ""]
    assert members(target, "docker") == members(target, "lxd") == {"deploy"}
    login = subprocess.run(["ssh", *options, "t0", "true"], check=False)
    assert login.returncode == 0


def test_a_locked_user_is_opened_and_a_password_taken_away_unless_kept(office, target):
    target.lock_account("deploy")
    kept = DesiredHost(ROOT, users={"ada": UserTable(password=Password.KEEP)})
    wanted = DesiredHost(
        ROOT | {"deploy": ("dev",)}, users={"deploy": UserTable(), "ada": UserTable()}
    )

    assert not [c for c in run(look(office, kept)).changes if c.kind is Kind.ACCOUNT]
    made = run(deploy(office, wanted))

    assert entry(target, "etc/shadow", "ada")[1] == "*"
    assert entry(target, "etc/shadow", "deploy")[1] == "*"
    assert "deploy was locked by somebody, and is opened" in made.risks
    assert "Accepted publickey for deploy" in target.log


def test_lines_that_take_sudo_from_the_operator_are_taken_back(office, target):
    office.know(target, users=["ada"])
    wanted = DesiredHost(ROOT, sudoers=("ada ALL=(ALL) !ALL",))
    # Of several lines about somebody, sudo goes by the last.
    target.path("etc/sudoers.d/ada").rename(target.path("etc/sudoers.d/aaa"))

    with pytest.raises(NotRoot, match="takes the change back by itself"):
        run(deploy(hasty(office), wanted))

    wait_until(lambda: not target.locks, 20)
    assert not target.path(SUDOERS[1:]).exists()
    assert run(look(office, DesiredHost(ROOT))).changes


def test_users_are_left_alone_where_nothing_could_change_them(office, tmp_path):
    """As on Alpine, where busybox has an adduser that can neither lock nor expire."""
    with Target(
        tmp_path / "host", office.login.line, programs={"sbin/useradd": ""}
    ) as target:
        office.know(target)

        with pytest.raises(Blocked, match="no useradd, usermod and so on"):
            run(deploy(office, OPS))
