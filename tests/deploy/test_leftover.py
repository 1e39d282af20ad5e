"""Lines of authorized_keys as sshd reads them, and which of them a plan takes away."""

import base64

import pytest

from ca import wire
from deploy.authorized_keys import obstacles, parse
from deploy.desired import DesiredHost, Keys
from deploy.facts import File
from deploy.key_report import describe, places
from deploy.leftover import KeysFile, Leftover
from deploy.planned import Change, Kind, Plan
from deploy.retirement import make_restoration, make_retirement
from tests.certificates import ThrowawayCA
from tests.known import facts, text

KEY = ThrowawayCA().line
OTHER = ThrowawayCA().line
PATH = "/home/ada/.ssh/authorized_keys"
FILE = KeysFile("ada", "1000", is_strict=True, home="/home/ada", path=PATH)
DESIRED = DesiredHost({"ada": ("dev",)}, authorized_keys=Keys.RETIRE)
WHOLE = Plan("h", (), (), DESIRED.accounts, None)
FOLDERS = {
    "/home/ada": File("drwxr-xr-x", "1000", "1000", "-"),
    "/home/ada/.ssh": File("drwx------", "1000", "1000", "-"),
}


def file(content, mode="-rw-------", owner="1000"):
    return File(mode, owner, owner, f"1-{len(content)}", content)


def known(content, *files, **changes):
    leftover = Leftover(files or (FILE,), **changes)
    return facts(files={PATH: file(content), **FOLDERS}, leftover=leftover)


@pytest.mark.parametrize(
    ("line", "options", "comment"),
    [
        (KEY, "", ""),
        (f"  {KEY} ada's laptop, the old one", "", "ada's laptop, the old one"),
        (f'command="echo a b",no-pty {KEY} x', 'command="echo a b",no-pty', "x"),
        (f'command="say \\"hi you\\"" {KEY}', 'command="say \\"hi you\\""', ""),
        (f"restrict\t{KEY} x", "restrict", "x"),
    ],
    ids=["bare", "indented", "quotes", "quotes in quotes", "tab"],
)
def test_a_line_is_read_as_sshd_does(line, options, comment):
    (entry,) = parse(f"# here\n\n{line}\n")

    assert (entry.number, entry.type) == (3, "ssh-ed25519")
    assert (entry.options, entry.comment) == (options, comment)
    assert entry.weakness is None


@pytest.mark.parametrize(
    "line",
    ["garbage", "ssh-ed25519", "ssh-ed25519 AAAA", f"{KEY[:-9]}", '"open ssh-rsa AAAA'],
    ids=["word", "no key", "short", "shorter than it says", "open quote"],
)
def test_what_is_no_key_to_sshd_is_none(line):
    assert parse(line) == ()


def test_a_weak_key_and_a_ca_are_told():
    modulus = wire.mpint((1 << 1023) + 1)
    blob = wire.text("ssh-rsa") + wire.mpint(65537) + modulus
    small = f"ssh-rsa {base64.b64encode(blob).decode()}"
    content = f"cert-authority {KEY} other\n{small} old\n"
    ca, weak = parse(content)

    assert ca.is_ca
    assert weak.weakness == "the RSA key has 1024 bits, fewer than 3072"
    text_of = "".join(t for _, t in describe(places("h", known(content), DESIRED)))
    assert "a CA's: whoever it certifies comes in" in text_of
    assert "not ours to retire" in text_of
    assert "weak: the RSA key has 1024 bits" in text_of


MODES = {
    "is writable by everybody: chmod 700": {
        "/home/ada/.ssh": File("drwxrwxrwx", "1000", "1000", "-")
    },
    "is writable by its group: chmod 755, but on Debian": {
        "/home/ada": File("drwxrwxr-x", "1000", "1000", "-")
    },
    "belongs to uid 7, and not to ada": {
        "/home/ada": File("drwxr-xr-x", "7", "7", "-")
    },
    "ada cannot read": {PATH: File("-rw-------", "0", "0", "1-1", "")},
}


@pytest.mark.parametrize("said", MODES)
def test_what_keeps_sshd_from_taking_a_key_is_said(said):
    found = known(f"{KEY}\n")

    assert list(obstacles(found, FILE)) == []
    bad = facts(files=dict(found.files) | MODES[said], leftover=found.leftover)
    assert said in "\n".join(obstacles(bad, FILE))


def test_nothing_is_in_the_way_where_sshd_does_not_mind():
    lax = KeysFile("ada", "1000", is_strict=False, home="/home/ada", path=PATH)
    files = {PATH: file(KEY), **MODES["is writable by everybody: chmod 700"]}

    assert list(obstacles(facts(files=files), lax)) == []
    assert list(obstacles(facts(), FILE)) == []


def retire(found, whole=WHOLE, desired=DESIRED):
    return make_retirement(whole, found, desired)


def test_a_file_of_which_nothing_stays_goes_and_another_keeps_its_lines():
    kept = DESIRED.__class__(
        DESIRED.accounts,
        authorized_keys=Keys.RETIRE,
        kept_keys=frozenset({parse(OTHER)[0].fingerprint}),
    )
    content = f"# ours\n{KEY} a\n{OTHER} console\n"

    (gone,) = retire(known(content)).changes
    (fewer,) = retire(known(content), desired=kept).changes

    assert (gone.kind, gone.owner, gone.after) == (Kind.KEYS, "ada", None)
    assert fewer.after == f"# ours\n{OTHER} console\n".encode()
    assert retire(known(f"{OTHER}\n"), desired=kept).changes == ()


def test_what_to_mind_of_a_retirement_is_said():
    made = retire(known(f"{KEY}\ncert-authority {OTHER}\n", command="/usr/bin/x"))

    said = "\n".join(made.risks)
    assert "/usr/bin/x gives sshd keys, too" in said
    assert "line 2 trusts another CA" in said
    assert "no key to keep is on it" in said
    (change,) = made.changes
    assert change.after == f"cert-authority {OTHER}\n".encode()


SHARED = KeysFile("grace", "1001", is_strict=True, home="/home/grace", path=PATH)
STAYS = {
    "grace takes no certificates": (known(f"{KEY}\n", FILE, SHARED), {}),
    "its folder is somebody else's": (
        known(f"{KEY}\n"),
        {"/home/ada/.ssh": File("drwxr-xr-x", "7", "7", "-")},
    ),
    "its folder is root's, within the home": (
        known(f"{KEY}\n"),
        {"/home/ada/.ssh": File("drwxr-xr-x", "0", "0", "-")},
    ),
    "it is a link": (known(f"{KEY}\n"), {PATH: text("", "lrwxrwxrwx")}),
}


@pytest.mark.parametrize("said", STAYS)
def test_a_file_that_is_not_ours_to_change_stays(said):
    found, files = STAYS[said]
    central = KeysFile("ada", "1000", is_strict=True, home="/h", path="/etc/keys/d")
    found = facts(
        files={**found.files, **files, "/etc/keys/d": text(f"{KEY}\n"), **CENTRAL},
        leftover=Leftover((*found.leftover.files, central)),
    )

    made = retire(found)

    assert [(c.path, c.owner) for c in made.changes] == [("/etc/keys/d", "root")]
    assert f"{PATH} stays: {said}" in "\n".join(made.risks)


CENTRAL = {
    "/etc": File("drwxr-xr-x", "0", "0", "-"),
    "/etc/keys": File("drwxr-xr-x", "0", "0", "-"),
}
WRITABLE = {
    "its owner's": {"/etc/keys": File("drwxr-xr-x", "1000", "1000", "-")},
    "everybody's": {"/etc/keys": File("drwxrwxrwt", "0", "0", "-")},
    "a group's": {"/etc": File("drwxrwxr-x", "0", "50", "-")},
    "another's": {"/etc": File("drwxr-xr-x", "1001", "0", "-")},
    "a link": {"/etc/keys": File("lrwxrwxrwx", "0", "0", "-")},
}


@pytest.mark.parametrize("whose", WRITABLE)
def test_root_does_not_write_where_others_could_lead_it_elsewhere(whose):
    central = KeysFile("ada", "1000", is_strict=True, home="/h", path="/etc/keys/d")
    files = {"/etc/keys/d": text(f"{KEY}\n"), **CENTRAL, **WRITABLE[whose]}

    made = retire(facts(files=files, leftover=Leftover((central,))))

    owners = [change.owner for change in made.changes]
    assert owners == (["ada"] if whose == "its owner's" else [])


def test_a_file_that_is_too_long_to_be_read_is_told():
    found = known("")
    files = {**found.files, PATH: File("-rw-------", "1000", "1000", "-")}

    made = retire(facts(files=files, leftover=found.leftover))

    assert made.changes == ()
    assert made.blockers == (
        f"{PATH} is longer than anybody writes: see what is in it",
    )


def test_a_host_that_is_not_as_it_should_be_comes_first():
    change = Change(Kind.CONFIG, "/etc/x", None, b"")
    unready = Plan("h", (change,), (), DESIRED.accounts, None)

    made = retire(known(f"{KEY}\n"), unready)

    assert made.blockers == ("it is not yet as deploy.toml says: ca-deploy apply",)
    assert retire(known("# none\n"), unready).blockers == ()


def test_what_was_added_since_stays_when_keys_come_back():
    found = known(f"{OTHER}\n", retired="abc", back={PATH: ("ada", f"{KEY} a\n")})

    made = make_restoration("h", found)

    (change,) = made.changes
    assert change.after == f"{OTHER}\n{KEY} a\n".encode()
    assert (change.owner, made.undoes, made.slot) == ("ada", "abc", "retired")
    there = known(f"{KEY} a\n", retired="abc", back={PATH: ("ada", f"{KEY} a\n")})
    assert make_restoration("h", there).changes == ()
