"""Plans from facts: no host, no clock; what stands where, and what is said of it."""

from dataclasses import replace

import pytest

from ca.certificate import CertificateType, parse_line, render_line
from deploy import pulling
from deploy.desired import DesiredHost, GroupTable, Source, Taken, UserTable
from deploy.facts import Account, parse_facts
from deploy.failure import BadReport
from deploy.host_certificate import Named, names_of
from deploy.people import People, User
from deploy.plan import make_plan, make_undo
from deploy.planned import Kind, fleet_id
from deploy.pulling import Register
from deploy.sshd_config import without_block
from deploy.trust import Trust
from tests.certificates import ThrowawayCA, certificate, ed25519_blob
from tests.known import FOLDER, INCLUDE, MAIN, NOW, facts, text

DROP_IN = f"{FOLDER}/05-daypass.conf"
DESIRED = DesiredHost({"deploy": ("dev",)})
TRUST = Trust(7, 9, b"ssh-ed25519 AAAA\n", b"version 7\n", b"version 9\n", b"krl")


def plan(known, desired=DESIRED, trust=TRUST):
    return make_plan(Named("h", ("h.example.com",)), known, desired, trust, now=NOW)


def changed(known, desired=DESIRED):
    return {change.path: change.after for change in plan(known, desired).changes}


def settle(known, made):
    """Return the facts of a host on which a plan was done."""
    files = dict(known.files)
    for change in made.changes:
        if change.after is None:
            del files[change.path]
        else:
            files[change.path] = text(change.after.decode())
    return replace(known, files=files)


MAINS = {
    "an Include at the top": INCLUDE,
    "a relative Include": 'Include "sshd_config.d/*.conf"\n',
    "no Include": "Port 22\n",
    "an Include behind a Match": f"Match User x\n{INCLUDE}",
    "a keyword before the Include": f"TrustedUserCAKeys /x\n{INCLUDE}",
    "odd lines": f"=\n\xff\n#\n{INCLUDE}Match all\nPort=22\n",
}


@pytest.mark.parametrize("main", MAINS.values(), ids=MAINS.keys())
def test_a_plan_that_was_done_leaves_nothing_to_do(main):
    known = facts(main)

    made = plan(known)

    assert made.changes
    assert plan(settle(known, made)).changes == ()


@pytest.mark.parametrize(
    ("main", "place"),
    [*zip(MAINS.values(), (DROP_IN, DROP_IN, MAIN, MAIN, MAIN, DROP_IN), strict=True)],
    ids=MAINS.keys(),
)
def test_the_lines_go_where_they_hold(main, place):
    after = changed(facts(main))

    assert {DROP_IN, MAIN} & set(after) == {place}
    if place == MAIN:
        assert after[MAIN].decode().startswith("# daypass: begin")
        assert without_block(after[MAIN].decode()) == main


def test_an_old_sshd_gets_no_drop_in():
    assert MAIN in changed(facts(version=(7, 4)))


def test_an_earlier_drop_in_is_gone_before_and_a_later_one_left():
    other = "TrustedUserCAKeys /x\n"

    assert MAIN in changed(facts(files={f"{FOLDER}/00.conf": text(other)}))
    assert DROP_IN in changed(facts(files={f"{FOLDER}/99.conf": text(other)}))
    below_match = text(f"Match User x\n{other}")
    assert DROP_IN in changed(facts(files={f"{FOLDER}/00.conf": below_match}))


def test_our_drop_in_moves_when_its_name_does():
    known = facts()
    known = settle(known, plan(known))

    after = changed(known, DesiredHost(DESIRED.accounts, drop_in="00-x.conf"))

    assert after[DROP_IN] is None
    assert f"{FOLDER}/00-x.conf" in after


def test_trust_files_only_move_forward():
    newer = facts(files={"/etc/ssh/daypass/roots": text("version 8\n")})

    made = plan(newer)

    assert {change.kind for change in made.changes} == {Kind.CONFIG}
    assert "it has newer trust files than the CA gave us; they stay" in made.risks


def test_a_krl_that_a_host_pulled_meanwhile_stays():
    known = facts()
    done = settle(known, plan(known))
    pulled = replace(
        done,
        files=done.files
        | {
            "/etc/ssh/daypass/current": text("version 10\n"),
            "/etc/ssh/daypass/ca_keys": text("garbage\n"),
        },
    )

    assert set(changed(pulled)) == {"/etc/ssh/daypass/ca_keys"}


def test_a_host_without_a_krl_is_said_to_have_none():
    made = plan(facts(), DesiredHost(DESIRED.accounts, krl=False))

    assert "RevokedKeys" not in {effect.keyword for effect in made.effects}
    assert not any(change.path.endswith("krl") for change in made.changes)
    assert any(risk.startswith("no KRL") for risk in made.risks)


def test_the_id_is_that_of_what_would_happen():
    ids = {
        plan(facts()).id,
        plan(facts(INCLUDE + "Port 22\n")).id,
        plan(facts("Port 22\n")).id,
        plan(facts(), DesiredHost({"deploy": ("ops",)})).id,
        plan(facts(), trust=replace(TRUST, ca_keys=b"ssh-ed25519 AAAB\n")).id,
    }

    assert len(ids) == 4
    later = replace(TRUST, current_version=10, current=b"version 10\n", krl=b"krl 2")
    assert plan(facts(), trust=later).id == plan(facts()).id
    assert plan(facts(clock=NOW + 5, listener="7")).id == plan(facts()).id
    assert len(fleet_id([plan(facts())])) == 12


def test_a_mode_that_others_may_write_is_put_right():
    known = facts()
    done = settle(known, plan(known))
    path = "/etc/ssh/daypass/principals/deploy"
    loose = replace(done, files=done.files | {path: text("dev\n", "-rw-rw-rw-")})

    made = plan(loose)

    assert [change.path for change in made.changes] == [path]
    assert "its mode or owner" in made.changes[0].diff
    assert f"{path} is writable by everybody" in made.risks


EFFECTIVE = facts().effective["deploy"]


def with_value(keyword, value, account="deploy"):
    known = facts()
    return replace(
        known,
        effective={**known.effective, account: {**EFFECTIVE, keyword: (value,)}},
    )


BLOCKERS = {
    "is not OpenSSH's sshd": facts(is_served=False),
    "with sshd, a relative path": facts(relative="sshd"),
    "with -f x, a relative path": facts(config="x"),
    "sshd -t fails before any change: bad": facts(broken="line 1\nbad"),
    "its clock is about 2 min behind ours": facts(clock=NOW - 120),
    "its clock is about 10 min ahead of ours": facts(clock=NOW + 600),
    "no space left": facts(space_kb=3),
    "no ssh-keygen": facts(tools=frozenset()),
    "TrustedUserCAKeys on its command line": facts(options=("-oTrustedUserCAKeys=x",)),
    "there is no account deploy": facts(accounts={"deploy": Account("missing")}),
    "is locked": facts(accounts={"deploy": Account("locked", "1", "/", "/bin/sh")}),
    "PubkeyAuthentication is no": with_value("pubkeyauthentication", "no"),
    "DenyUsers names deploy": with_value("denyusers", "de*@192.0.2.1"),
    "has no ssh-ed25519-cert-v01@openssh.com": with_value(
        "pubkeyacceptedalgorithms", "ssh-ed25519,rsa-sha2-512"
    ),
    "does not see from which address": facts(connection=("UNKNOWN", "1", "::1", "22")),
    "has no ssh-ed25519, the CA": with_value("casignaturealgorithms", "rsa-sha2-512"),
    "TrustedUserCAKeys is /x, a file that does not exist": with_value(
        "trustedusercakeys", "/x", ""
    ),
}


@pytest.mark.parametrize("said", BLOCKERS)
def test_what_would_not_end_well_is_not_begun(said):
    assert said in "\n".join(plan(BLOCKERS[said]).blockers)


def test_a_link_is_not_replaced_by_a_file():
    linked = facts("Port 22\n", {MAIN: text("Port 22\n", "lrwxrwxrwx")})

    assert "is no plain file" in plan(linked).blockers[0]


CERTIFIED = DesiredHost(DESIRED.accounts, host_certificate=True)
HOST_KEY = "/etc/ssh/ssh_host_ed25519_key"
HOST_CA = ThrowawayCA()
WITH_HOST_CA = replace(TRUST, host_ca_keys=(HOST_CA.line,))


def host_certificate(key, **changes):
    ordinary = {
        "type": CertificateType.HOST,
        "subject_key": parse_line(key.line),
        "principals": ("h.example.com",),
        "valid_after": NOW - 60,
        "valid_before": NOW + 3600,
        "extensions": (),
    }
    return render_line(HOST_CA.certify(certificate(**(ordinary | changes))), "host")


def with_certificate(content, key):
    known = facts(host_keys={"/etc/ssh/rsa": "ssh-rsa AAAA", HOST_KEY: key.line})
    done = settle(known, plan(known, CERTIFIED, WITH_HOST_CA))
    files = done.files | {f"{HOST_KEY}-cert.pub": text(content)}
    return replace(done, files=files)


def test_a_host_is_certified_by_its_ed25519_key():
    known = facts(host_keys={"/etc/ssh/rsa": "ssh-rsa AAAA", HOST_KEY: HOST_CA.line})

    made = plan(known, CERTIFIED, WITH_HOST_CA)

    assert made.certify is not None
    assert made.certify.path == f"{HOST_KEY}-cert.pub"
    assert made.certify.names == ("h.example.com",)
    assert "(to be asked of the CA)" in made.render()
    given = made.with_certificate("line\n").changes
    assert [c.after for c in given if c.path == made.certify.path] == [b"line\n"]


def test_a_good_host_certificate_is_not_asked_for_again():
    key = ThrowawayCA()

    half_over = host_certificate(key, valid_after=NOW - 3600, valid_before=NOW + 3500)

    settled = with_certificate(half_over, key)

    assert plan(settled, CERTIFIED, WITH_HOST_CA).changes == ()


@pytest.mark.parametrize(
    "changes",
    [
        {"valid_before": NOW},
        {"valid_after": NOW - 3600, "valid_before": NOW + 899},
        {"principals": ("other.example.com",)},
        {"subject_key": ed25519_blob()},
        {"type": CertificateType.USER},
    ],
)
def test_a_host_certificate_that_will_not_do_is_asked_for_anew(changes):
    key = ThrowawayCA()

    settled = with_certificate(host_certificate(key, **changes), key)

    assert plan(settled, CERTIFIED, WITH_HOST_CA).certify is not None


def test_a_host_certificate_of_another_ca_or_none_is_asked_for_anew():
    key = ThrowawayCA()
    good = with_certificate(host_certificate(key), key)
    stranger = replace(TRUST, host_ca_keys=(ThrowawayCA().line,))

    assert plan(good, CERTIFIED, stranger).certify is not None
    assert plan(with_certificate("garbage\n", key), CERTIFIED, WITH_HOST_CA).certify


@pytest.mark.parametrize(
    ("known", "trust", "said"),
    [
        (facts(), WITH_HOST_CA, "no host key"),
        (facts(host_keys={HOST_KEY: HOST_CA.line}), TRUST, "no host CA key"),
    ],
)
def test_why_a_host_can_have_no_certificate_is_said(known, trust, said):
    assert said in "\n".join(plan(known, CERTIFIED, trust).blockers)


def test_a_number_is_no_name():
    assert names_of("web1", "192.0.2.7") == ("web1",)
    assert names_of("web1", "Web1.example.com") == ("web1.example.com",)
    assert names_of("2001:db8::1", "2001:db8::1") == ()
    known = facts(host_keys={HOST_KEY: HOST_CA.line})
    made = make_plan(Named("192.0.2.7"), known, CERTIFIED, WITH_HOST_CA, now=NOW)
    assert "known by a number" in made.blockers[0]


PULLING = DesiredHost(
    DESIRED.accounts, source=Source("https://ca.example.com", f"SHA256:{'A' * 43}")
)
READY = facts(
    host_keys={HOST_KEY: HOST_CA.line},
    tools=frozenset({"ssh-keygen", "curl", "cron.d"}),
)


def test_a_host_that_can_pull_does_and_is_registered_for_it():
    made = plan(READY, PULLING)

    after = {change.path: change for change in made.changes}
    assert after["/usr/local/sbin/daypass-pull"].mode == 0o755
    assert "lines of ours)" in after["/usr/local/sbin/daypass-pull"].diff
    configuration = after["/etc/ssh/daypass/pull.conf"].after or b""
    assert b"host=h\n" in configuration
    assert b"end_sessions=no\n" in configuration
    assert after["/etc/cron.d/daypass"].kind is Kind.TRUST
    assert made.register == Register("h", HOST_CA.line, ())


def test_a_host_with_systemd_gets_timers_and_one_with_a_certificate_renews_it():
    certified = replace(PULLING, host_certificate=True, end_sessions=True)
    known = replace(READY, manager="systemd", unit="ssh.service")

    made = plan(known, certified, WITH_HOST_CA)

    after = {change.path: change.after or b"" for change in made.changes}
    assert "/etc/systemd/system/daypass-pull.timer" in after
    assert "/etc/systemd/system/daypass-renew.timer" in after
    configuration = after["/etc/ssh/daypass/pull.conf"]
    assert (
        b"names=h.example.com\nreload=systemctl reload ssh.service\nend_sessions=yes\n"
        in configuration
    )
    assert made.register == Register("h", HOST_CA.line, ("h.example.com",))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"version": (8, 0)}, "older than 8.1"),
        ({"tools": frozenset({"ssh-keygen", "cron.d"})}, "neither curl nor wget"),
        ({"tools": frozenset({"ssh-keygen", "wget"})}, "neither systemd nor"),
        ({"host_keys": {}}, "no host key to sign"),
    ],
)
def test_why_a_host_cannot_pull_is_said(changes, said):
    made = plan(replace(READY, **changes), PULLING)

    assert any(said in risk for risk in made.risks)
    assert made.register is None
    assert not any("pull" in change.path for change in made.changes)


@pytest.mark.parametrize(
    ("status", "said"),
    [
        ("", []),
        (f"result=kept\nchecked={NOW - 590}\n", []),
        (
            f"checked={NOW - 660}\n",
            ["it has not pulled for 11 min: see its timer or cron"],
        ),
        (
            f"checked={NOW}\nalarm=yes\ndetail=current 7 expired\n",
            ["its trust bundle is out of date: current 7 expired"],
        ),
    ],
)
def test_a_host_that_has_stopped_pulling_is_found(status, said):
    known = facts(files={"/etc/ssh/daypass/status": text(status)})

    assert list(pulling.signs_of_standstill(known)) == said


def test_a_name_that_is_no_host_id_is_said():
    made = make_plan(Named("h:22"), READY, PULLING, TRUST, now=NOW)

    assert any("cannot be a host id" in risk for risk in made.risks)


def test_a_host_that_nobody_could_enter_is_left_alone():
    assert "no account" in plan(facts(), DesiredHost({})).blockers[0]


def test_what_is_replaced_is_said():
    known = with_value("trustedusercakeys", "/x", "")
    known = replace(known, named={"/x": ("/x is not a public key file.",)})
    known = replace(known, files=known.files | {"/x": text("garbage\n")})

    risks = plan(known, DesiredHost(DESIRED.accounts, taken=Taken.REPLACE)).risks

    assert any("is no longer asked" in risk for risk in risks)
    assert any("has lines that sshd cannot read" in risk for risk in risks)
    assert any("until now any account" in risk for risk in risks)


def test_a_command_that_gives_principals_is_said():
    risks = plan(with_value("authorizedprincipalscommand", "/x", "")).risks

    assert any(risk.startswith("AuthorizedPrincipalsCommand") for risk in risks)


def test_undoing_brings_back_what_was_there_and_no_trust():
    known = facts()
    done = replace(
        settle(known, plan(known)),
        last="abc",
        undo={DROP_IN: None, "/etc/ssh/daypass/principals/deploy": "ops\n"},
    )

    made = make_undo("h", done)

    assert {change.path: change.after for change in made.changes} == {
        DROP_IN: None,
        "/etc/ssh/daypass/principals/deploy": b"ops\n",
    }
    assert {change.kind for change in made.changes} == {Kind.CONFIG}
    assert made.folder == FOLDER


PEOPLED = DesiredHost(
    DESIRED.accounts,
    groups={"ops": GroupTable(), "team": GroupTable(gid=7)},
    users={
        "deploy": UserTable(groups=("ops",)),
        "ada": UserTable(uid=5),
        "grace": UserTable(),
        "alan": UserTable(gone=True),
        "edsger": UserTable(gone=True),
    },
    sudoers=("%ops ALL=ALL",),
)
SOME = People(
    {
        "deploy": User(
            "none", "1000", 1, "/home/deploy", "/bin/sh", ("deploy", "wheel")
        ),
        "ada": User("none", "6", None, "/home/ada", "/bin/sh", ("docker", "users")),
        "grace": User("foreign"),
        "alan": User("none", "0", None, "/root", "/bin/sh", ("root",)),
        "edsger": User("locked", "9", 1, "/home/edsger", "/bin/sh", ("edsger",)),
    },
    {"ops": "foreign", "team": "missing"},
    {("gid", "7"): "others"},
)


def test_each_thing_against_users_and_groups_is_said():
    made = plan(facts(people=SOME), PEOPLED)

    said = "\n".join(made.blockers)
    for words in (
        "the group ops comes from a directory",
        "the gid 7 is others's already",
        "ada has the uid 6, not 5",
        "the user grace comes from a directory",
        "alan is root by another name",
        "no useradd, usermod and so on",
        "no visudo",
    ):
        assert words in said
    assert not any("edsger" in change.path for change in made.changes)
    steps = {c.path: c.after for c in made.changes if c.kind is Kind.ACCOUNT}
    assert steps["user deploy"] == (
        b"user-join deploy ops\nuser-leave deploy wheel\nuser-renew deploy\n"
    )
    assert "user ada" not in steps, "the primary group stays"


def test_sudo_that_would_not_read_our_lines_is_said():
    lines = DesiredHost(DESIRED.accounts, sudoers=("a ALL=ALL",))
    known = facts(tools=frozenset({"ssh-keygen", "visudo"}))

    assert "does not include /etc/sudoers.d" in plan(known, lines).blockers[0]


def test_undoing_steps_on_users_removes_nobody():
    done = facts(
        last="abc",
        unaccount=(
            "user-leave ada docker",
            "user-del ada /home/ada",
            "group-del ops",
            "user-secret grace abc",
            "reboot now",
        ),
    )

    made = make_undo("h", done)

    assert {change.path: change.after for change in made.changes} == {
        "user ada": b"user-leave ada docker\nuser-lock ada\n",
        "user grace": b"user-secret grace abc\n",
    }
    assert "+locked and expired" in made.render()


def test_there_is_nothing_to_undo_where_nothing_was_done():
    made = make_undo("h", facts())

    assert made.blockers == ("there is no change of ours to take back",)


REPORT = b"""\
= daypass-facts-v1
= root 0
= connection 192.0.2.1 50000 192.0.2.7 22
= clock 1767268800
= os Linux - -
= manager none
= selinux none
= space 1000
= served yes
= listener 99 ssh.service
= command /usr/sbin/sshd -D
= sshd /usr/sbin/sshd
= config /etc/ssh/sshd_config
= version OpenSSH_9.2p1
= test ok
= login ada
= user ada 2001 2001 set 20000
> /home/ada
> /bin/sh
> ada adm
= user new missing
= group ops 2500
= uid 2001 ada
= file -rw-r--r-- 0 0 12-3 /etc/ssh/sshd config
> \xff
= end
"""


def test_a_report_is_read():
    known = parse_facts(REPORT)

    assert known.version == (9, 2)
    assert known.unit == "ssh.service"
    people = known.people
    assert people.users["ada"] == User(
        "set", "2001", 20000, "/home/ada", "/bin/sh", ("ada", "adm")
    )
    assert people.users["new"].state == "missing"
    assert people.groups == {"ops": "2500"}
    assert people.owners == {("uid", "2001"): "ada"}
    assert known.login == "ada"
    content = known.files["/etc/ssh/sshd config"].content
    assert content is not None
    assert content.encode("utf-8", "surrogateescape") == b"\xff\n"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"= end\n", b""),
        (b"= daypass-facts-v1\n", b""),
        (b"= daypass-facts-v1", b"= daypass-facts-v2"),
        (b"= root 0\n", b""),
        (b"= root 0\n", b"= rot 0\n"),
        (b"= root 0\n", b"= root 0\nmotd\n"),
        (b"= clock 1767268800", b"= clock now"),
        (b"OpenSSH_9.2p1", b"dropbear"),
        (b"= listener 99 ssh.service", b"= listener 99"),
        (b"= root 0\n", b"= root 0\n= user ada 1 1 none -\n"),
        (b"= root 0\n", b"= root 0\n= group\n"),
    ],
)
def test_a_report_that_is_not_one_is_refused(old, new):
    with pytest.raises(BadReport):
        parse_facts(REPORT.replace(old, new))
