"""A host gets a certificate for the names that policy gives it, and a person never one.

On real parts, as the story of a user certificate: what is answered is on record, and
what is refused leaves no entry. A real ssh believes the host that has one.
"""

import json
import sqlite3
import subprocess
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import pytest
from msgspec import structs

from ca.authority import open_authority
from ca.certificate import CertificateType, parse_line, render_to_be_signed
from ca.certify import refuse_unlike
from ca.config import load_config
from ca.errors import (
    BadRequest,
    CAError,
    Denied,
    KeyUnavailable,
    Malformed,
    Misconfigured,
    NotFound,
    UnacceptableKey,
)
from ca.identity import Binding
from ca.issue import Caller, issue_user_certificate
from ca.issue_host import issue_host_certificate
from ca.messages import HostCertificateRequest, decode
from ca.policy import LONGEST_HOST_VALIDITY, Grant, HostGrant, load_policy
from ca.signing_key import AgentKey, KeyType, SigningKey
from tests.agents import SshAgent
from tests.authority import (
    certificate_in,
    make_ca,
    opened,
    request_of,
    rewrite,
    subject_key,
    to_be_signed_in,
    write_whole,
)
from tests.certificates import certificate as ordinary
from tests.fakes import NOW, FakeIdP
from tests.sshd import Sshd, make_key

HERE = Caller(ip_address("192.0.2.7"), "0123456789abcdef")
WEB = "web1.prod.example.com"

POLICY = """
[[rule]]
name       = "developers"
issuer     = "corp"
match      = { groups = ["dev"], email_domain = "example.com" }
principals = ["{email_local}", "web1.prod.example.com"]
validity   = "10h"

[[host]]
name     = "production"
issuer   = "corp"
match    = { groups = ["oncall"] }
names    = ["*.prod.example.com", "bastion.example.com"]
validity = "30d"

[[host]]
name     = "long-lived"
issuer   = "corp"
match    = { groups = ["oncall"] }
names    = ["old.example.com"]
validity = "90d"
"""
KEY_LINES = """\
[host_ca_key]
# Signs hosts' certificates. Who holds it can be any host; without it there are none.
file = "keys/host_ca"
passphrase_file = "keys/passphrase"
"""


@pytest.fixture(scope="module")
def idp():
    with FakeIdP(now=NOW.timestamp) as idp:
        yield idp


@pytest.fixture(scope="module")
def config_file(idp, tmp_path_factory):
    config_file = make_ca(tmp_path_factory.mktemp("ca") / "ca", idp)
    write_whole(config_file.with_name("policy.toml"), POLICY)
    return config_file


@pytest.fixture(scope="module")
def authority(config_file):
    with opened(config_file) as authority:
        yield authority


@pytest.fixture(scope="module")
def identity(authority, idp):
    """Return who grace is, as her ID token proves it: she may name hosts."""
    return identity_of(authority, idp, "grace")


def identity_of(authority, idp, user):
    request = request_of(idp, user)
    return authority.verifier.verify(
        request.id_token,
        key_blob=parse_line(request.public_key),
        salt=request.salt,
        now=NOW,
    ).identity


def wanting(*principals, **wishes):
    public_key = wishes.pop("public_key", None) or subject_key()
    return HostCertificateRequest(
        public_key=public_key, principals=principals or (WEB,), **wishes
    )


def issue(authority, request, identity, *, now=NOW):
    return issue_host_certificate(
        authority, request, identity, HERE, policy=authority.policy, now=now
    )


def entries(authority):
    file = authority.config.file.with_name("daypass.db")
    with sqlite3.connect(file) as connection:
        return connection.execute("SELECT count(*) FROM entries").fetchone()[0]


def test_what_is_answered_is_what_is_on_record(authority, identity):
    request = wanting(WEB, "bastion.example.com", reason="new machine")

    answer = issue(authority, request, identity)

    says = certificate_in(answer)
    entry = authority.store.entry_by_serial(int(answer.serial))
    assert entry is not None
    assert entry.kind == "host-certificate"
    assert to_be_signed_in(answer) == entry.to_be_signed
    assert json.loads(entry.leaf)["kind"] == "host-certificate"
    assert says.type is CertificateType.HOST
    assert says.subject_key == parse_line(request.public_key)
    assert says.ca_key == authority.host_ca_key.blob != authority.user_ca_key.blob
    assert says.key_id == answer.key_id == f"host:{WEB}"
    assert says.principals == answer.principals == (WEB, "bastion.example.com")
    assert says.valid_after == NOW.timestamp() - 60
    assert says.valid_before == (NOW + timedelta(days=30)).timestamp()
    assert (says.critical_options, says.extensions) == ({}, ())
    record = json.loads(entry.record)
    assert len(record.pop("salt")) == 24
    assert record == {
        "v": 1,
        "identity": json.loads(json.dumps(identity.to_record())),
        "parent_serial": None,
        "grant": {
            "principals": [WEB, "bastion.example.com"],
            "validity_seconds": 30 * 86400,
            "critical_options": {},
            "extensions": [],
            "rules": ["production"],
            "left_out": [],
        },
        "asked": {
            "principals": [WEB, "bastion.example.com"],
            "validity_seconds": None,
            "reason": "new machine",
        },
        "policy_sha256": authority.policy.sha256,
        "address": "192.0.2.7",
        "request_id": "0123456789abcdef",
    }


def test_serials_are_of_the_one_ledger(authority, identity, idp):
    host = issue(authority, wanting(), identity)
    person = issue_user_certificate(authority, request_of(idp), HERE, now=NOW)

    assert int(person.serial) == int(host.serial) + 1


@pytest.mark.parametrize(
    ("names", "seconds", "gets"),
    [
        ((WEB,), 3600, 3600),
        ((WEB,), 31 * 86400, 30 * 86400),
        ((WEB,), 10**30, 30 * 86400),
        (("old.example.com",), None, 90 * 86400),
        (("old.example.com", WEB), None, 30 * 86400),
    ],
)
def test_it_lasts_as_long_as_asked_and_no_longer_than_the_rules_say(
    authority, identity, names, seconds, gets
):
    request = wanting(*names, validity_seconds=seconds)

    says = certificate_in(issue(authority, request, identity))

    assert says.valid_before - NOW.timestamp() == gets


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        (wanting("db.example.com"), Denied),
        (wanting(WEB, "db.example.com"), Denied),
        (wanting("*.prod.example.com"), BadRequest),
        (wanting("a.b.prod.example.com"), Denied),
        (wanting(WEB, WEB), BadRequest),
        (wanting("Web1.prod.example.com"), BadRequest),
        (wanting(public_key="ssh-rsa AAAA"), Malformed),
        (
            wanting(public_key="ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA" + "A" * 43),
            CAError,
        ),
    ],
)
def test_what_is_refused_leaves_no_entry(authority, identity, request_, error):
    before = entries(authority)

    with pytest.raises(error):
        issue(authority, request_, identity)

    assert entries(authority) == before


def test_who_matches_no_host_rule_gets_none(authority, idp):
    with pytest.raises(Denied, match=r"no \[\[host\]\] rule gives it to you"):
        issue(authority, wanting(), identity_of(authority, idp, "ada"))


def test_a_token_that_is_bound_to_no_key_gets_none(authority, identity):
    with pytest.raises(Denied, match="bound to no key"):
        issue(authority, wanting(), structs.replace(identity, binding=Binding.NONE))


def test_a_weak_host_key_is_refused(authority, identity, tmp_path):
    command = ["ssh-keygen", "-q", "-t", "rsa", "-b", "2048", "-N", ""]
    subprocess.run([*command, "-f", tmp_path / "key"], check=True)
    line = (tmp_path / "key.pub").read_text()

    with pytest.raises(UnacceptableKey, match="fewer than 3072"):
        issue(authority, wanting(public_key=line), identity)


@pytest.mark.parametrize(
    "body",
    [
        b'{"public_key":"k"}',
        b'{"public_key":"k","principals":[]}',
        b'{"public_key":"k","principals":["a"],"extensions":[]}',
        b'{"public_key":"k","principals":["a"],"validity_seconds":0}',
    ],
)
def test_a_request_says_which_names_and_nothing_unknown(body):
    with pytest.raises(BadRequest):
        decode(body, HostCertificateRequest)


# --- Which key signs what ---------------------------------------------------------


@pytest.mark.parametrize("principals", [(), ("ada",), (WEB,), (WEB, "ada")], ids=str)
def test_a_person_never_gets_a_host_certificate(authority, idp, principals):
    request = request_of(idp, principals=principals, reason="a host")

    says = certificate_in(issue_user_certificate(authority, request, HERE, now=NOW))

    assert says.type is CertificateType.USER
    assert says.ca_key == authority.user_ca_key.blob


HOST = ordinary(
    type=CertificateType.HOST,
    serial=0,
    valid_after=int(NOW.timestamp()) - 60,
    valid_before=int(NOW.timestamp()) + 86400,
    principals=(WEB,),
    extensions=(),
)
HOST_GRANT = HostGrant(principals=(WEB,), validity=timedelta(days=1), rules=("one",))


def test_bytes_that_say_what_a_host_was_granted_pass():
    refuse_unlike(render_to_be_signed(HOST), HOST, HOST_GRANT, now=NOW)


@pytest.mark.parametrize(
    "change",
    [
        {"type": CertificateType.USER},
        {"principals": (WEB, "db.example.com")},
        {"valid_before": HOST.valid_before + 1},
    ],
    ids=str,
)
def test_a_wanted_certificate_that_a_host_was_not_granted_is_a_fault(change):
    wanted = replace(HOST, **change)

    with pytest.raises(RuntimeError):
        refuse_unlike(render_to_be_signed(wanted), wanted, HOST_GRANT, now=NOW)


def test_a_host_certificate_by_a_grant_for_people_is_a_fault():
    grant = Grant(
        principals=(WEB,),
        validity=timedelta(days=1),
        extensions=(),
        critical_options={},
        rules=(),
        left_out=(),
    )

    with pytest.raises(RuntimeError):
        refuse_unlike(render_to_be_signed(HOST), HOST, grant, now=NOW)


def test_a_grant_above_the_ceiling_in_code_is_a_fault():
    validity = LONGEST_HOST_VALIDITY + timedelta(seconds=1)
    wanted = replace(HOST, valid_before=int((NOW + validity).timestamp()))
    grant = replace(HOST_GRANT, validity=validity)

    with pytest.raises(RuntimeError):
        refuse_unlike(render_to_be_signed(wanted), wanted, grant, now=NOW)


# --- The host CA key --------------------------------------------------------------


def test_a_signer_without_a_host_ca_key_certifies_no_hosts(idp, identity, tmp_path):
    config_file = make_ca(tmp_path / "ca", idp)
    rewrite(config_file, {KEY_LINES: ""})
    write_whole(config_file.with_name("policy.toml"), POLICY)

    with opened(config_file) as authority:
        with pytest.raises(NotFound, match="certifies no hosts") as refused:
            issue(authority, wanting(), identity)

        assert "[host_ca_key]" in str(refused.value.hint)
        assert entries(authority) == 0
        issue_user_certificate(authority, request_of(idp), HERE, now=NOW)


def test_a_host_ca_key_that_the_roots_do_not_list_keeps_a_signer_from_starting(
    idp, tmp_path
):
    config_file = make_ca(tmp_path / "ca", idp)
    rewrite(config_file, {'file = "keys/host_ca"': 'file = "keys/online"'})

    with pytest.raises(Misconfigured, match="do not list"):
        open_authority(load_config(config_file))


class FailingKey(SigningKey):
    """The real host CA key on a day when the hardware that holds it is gone."""

    def __init__(self, key):
        self.blob = key.blob

    def sign(self, data):
        raise KeyUnavailable("the key does not answer")


def test_a_host_ca_key_that_fails_leaves_an_entry_and_no_certificate(
    authority, identity
):
    before = entries(authority)
    broken = replace(authority, host_ca_key=FailingKey(authority.host_ca_key))

    with pytest.raises(KeyUnavailable):
        issue(broken, wanting(), identity)

    assert entries(authority) == before + 1


@pytest.mark.openssh
@pytest.mark.parametrize("key_type", KeyType)
def test_both_ca_keys_sign_from_an_ssh_agent(idp, tmp_path, key_type):
    config_file = make_ca(tmp_path / "ca", idp, key_type=key_type)
    keys = config_file.with_name("keys")
    write_whole(config_file.with_name("policy.toml"), POLICY)
    with SshAgent(tmp_path) as agent:
        for name in ("user_ca", "host_ca"):
            passphrase = (keys / "passphrase").read_text().strip()
            agent.add(keys / name, answer=passphrase)
            (keys / name).unlink()
            file = f'file = "keys/{name}"\npassphrase_file = "keys/passphrase"\n'
            there = f'agent = "{agent.socket}"\npublic_key = "keys/{name}.pub"\n'
            rewrite(config_file, {file: there})
        with opened(config_file) as authority:
            assert isinstance(authority.user_ca_key, AgentKey)
            assert isinstance(authority.host_ca_key, AgentKey)
            identity = identity_of(authority, idp, "grace")
            host = issue(authority, wanting(), identity)
            person = issue_user_certificate(authority, request_of(idp), HERE, now=NOW)

            agent.stop()
            before = entries(authority)
            with pytest.raises(KeyUnavailable, match="is gone"):
                issue(authority, wanting(), identity)
            # It was on record before the agent was asked.
            assert entries(authority) == before + 1
            agent.start()

    for answer in (host, person):
        (tmp_path / "cert.pub").write_text(f"{answer.certificate}\n")
        command = ["ssh-keygen", "-L", "-f", tmp_path / "cert.pub"]
        assert subprocess.run(command, capture_output=True, check=True).stdout


@pytest.mark.openssh
def test_ssh_believes_the_host_and_no_other_name(authority, identity, tmp_path):
    make_key(tmp_path / "host")
    make_key(tmp_path / "ada")
    line = (tmp_path / "host.pub").read_text()
    answer = issue(authority, wanting(public_key=line), identity, now=datetime.now(UTC))
    (tmp_path / "host-cert.pub").write_text(f"{answer.certificate}\n")
    settings = [
        f"HostKey {tmp_path}/host",
        f"HostCertificate {tmp_path}/host-cert.pub",
        f"AuthorizedKeysFile {tmp_path}/ada.pub",
    ]
    (tmp_path / "sshd").mkdir()
    with Sshd(tmp_path / "sshd", settings) as sshd:
        host_ca = authority.host_ca_key.line
        sshd.known_hosts.write_text(f"@cert-authority *.prod.example.com {host_ca}\n")

        def reach(name):
            return sshd.login(
                tmp_path / "ada", options=("-o", f"HostKeyAlias={name}")
            ).returncode

        assert reach(WEB) == 0
        assert reach("web2.prod.example.com") == 255
        assert reach("web1.example.com") == 255


def test_a_policy_can_give_no_longer_than_the_ceiling():
    too_long = POLICY.replace('validity = "90d"', 'validity = "91d"')

    with pytest.raises(Misconfigured):
        load_policy(too_long.encode(), issuers=frozenset({"corp"}))
