"""A new ledger where entries can't be had back: only the root key can begin one.

The commands are those of `docs/operating.md`, and are typed from there.
"""

import copy
import hashlib
import json
import re
import shlex
import shutil
import sqlite3
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest

from ca.admin.__main__ import main
from ca.bundle import (
    CURRENT_NAMESPACE,
    ClosedLog,
    Current,
    join_signed,
    parse_current,
    parse_roots,
    render_current,
    split_signed,
)
from ca.certificate import render_to_be_signed
from ca.checkpoint import parse_proof, render_note
from ca.errors import (
    CAError,
    Conflict,
    JoinTokenRefused,
    LedgerStopped,
    Misconfigured,
    TokenSpent,
)
from ca.hosts import join_host, make_join_token, register_host, vouched
from ca.hosts.registry import require_host
from ca.issue import Caller, issue_user_certificate
from ca.issued import Wanted, find
from ca.krl import KRL, RevokedCertificates, parse_krl, render_krl
from ca.ledger import EntryKind
from ca.ledger.new_log import SERIALS
from ca.ledger.recovery import recover
from ca.signing_key import FileKey
from ca.store import Forgotten, NewLog, TokenUse
from client.ledger import Seen, verify
from client.messages import LedgerProof
from tests.authority import certificate_in, make_ca, opened, request_of, rewrite
from tests.fakes import FakeIdP
from tests.hosts import FakeHost
from tests.ledgers import ONLINE_KEY

ROOT = Path(__file__).parents[2]
CALLER = Caller(ip_address("127.0.0.1"), "test")
WEB = FakeHost("web1", names=("web1.example.com",))
BY = {"identity": None, "by": "grace"}
REVOKED_CA = FileKey.generate()
STEPS = 5
"""Those before the signers are started again."""


def issue(authority, request):
    return issue_user_certificate(authority, request, CALLER, now=datetime.now(UTC))


def spend(authority):
    """Spend a token of a provider whose clock is far ahead."""
    use = TokenUse(b"t" * 32, b"r" * 32, 1 << 40, 1, issued=1 << 40)
    authority.ledger.append(
        None,
        kind=EntryKind.ADMINISTRATION,
        record={"v": 1, "act": "test"},
        now=datetime.now(UTC),
        spends=use,
    )


def current_of(authority, krl, *, version=1):
    """Return the *current* by which a host knows a KRL."""
    sha256 = hashlib.sha256(krl).hexdigest()
    text = render_current(Current(version, 2, "00" * 32, sha256))
    key = authority.trust._online_key  # noqa: SLF001 (as the signer signs)
    return join_signed(text, key.sign_message(CURRENT_NAMESPACE, text))


def note_in(answer):
    return render_note(parse_proof(answer.ledger.proof.encode()).note).decode()


def record_of(authority, answer):
    return json.loads(authority.store.recorded(int(answer.serial)).record)


class House:
    """A CA that lost its last two certificates, and what people have of them."""

    def __init__(self, folder, idp):
        self.folder = folder
        self.idp = idp
        make_ca(folder / "ca", idp)
        with opened(self.config_file) as authority:
            spend(authority)
            now = datetime.now(UTC)
            register_host(authority, WEB.new(), BY, now=now)
            life = timedelta(days=1)
            self.join_token = make_join_token(
                authority, host=None, names=(), life=life, by=BY, now=now
            )
            self.kept = issue(authority, request_of(idp))
        backup = (folder / "ca/daypass.db").read_bytes()
        with opened(self.config_file) as authority:
            self.request = request_of(idp)
            self.lost = [
                issue(authority, self.request),
                issue(authority, request_of(idp)),
            ]
        (folder / "ca/daypass.db").write_bytes(backup)
        with opened(self.config_file) as authority:
            # A host has it; the database is from before, and shall hear of it again.
            key = authority.user_ca_key.blob
            sections = (
                RevokedCertificates(key, ((int(self.kept.serial),) * 2,)),
                RevokedCertificates(ONLINE_KEY.blob, ((1, 1),)),  # of another CA
            )
            keys = (REVOKED_CA.blob,)
            krl = render_krl(
                KRL(version=1, generated=1, certificates=sections, keys=keys)
            )
            (folder / "current").write_bytes(current_of(authority, krl))
        (folder / "revoked.krl").write_bytes(krl)
        (folder / "media").mkdir()
        shutil.move(folder / "ca/root", folder / "media/root")

    @property
    def config_file(self):
        return self.folder / "ca/daypass.toml"

    def copy(self, folder):
        """Return another house in the same state."""
        shutil.copytree(self.folder, folder, dirs_exist_ok=True)
        other = copy.copy(self)
        other.folder = folder
        return other

    @property
    def roots(self):
        document = (self.folder / "ca/roots").read_bytes()
        return parse_roots(split_signed(document)[0])

    def run(self, line):
        """Type a line of the manual."""
        for there, here in (
            ("/etc/daypass", f"{self.folder}/ca"),
            ("/media/usb", f"{self.folder}/media"),
            ("roots.", f"{self.folder}/roots."),
            ("revoked.krl", f"{self.folder}/revoked.krl"),
        ):
            line = line.replace(there, here)
        command, *arguments = shlex.split(line.replace("\\\n", " "))
        if "sign-roots" in arguments or "--krl" in arguments:
            arguments.append("--yes")  # there is nobody to ask
        if command == "mv":
            if Path(arguments[0]).exists():  # else it was done before
                Path(arguments[0]).replace(arguments[1])
            return 0
        assert command == "ca-admin"
        return main(arguments)

    def proved(self, answer, before=None):
        """Verify an answer as `ca-login` does."""
        sent = answer.ledger
        proof = LedgerProof(
            sent.leaf, sent.proof, sent.checkpoint_signature, sent.consistency
        )
        return verify(proof, answer.certificate, roots=self.roots, before=before)

    def seen(self, answer):
        return Seen(note_in(answer), answer.ledger.checkpoint_signature)


def lines():
    """Return what the manual says to type."""
    text = (ROOT / "docs/operating.md").read_text()
    _, _, section = text.partition("### A new ledger\n")
    section = section.partition("\n## ")[0]
    blocks = re.findall(r"^ *```sh\n(.*?)^ *```$", section, re.MULTILINE | re.DOTALL)
    *typed, restart = (block.strip() for block in blocks)
    assert restart.startswith("systemctl")
    return typed


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Make the CA once. Its ledger is not stopped yet."""
    with FakeIdP() as idp:
        yield House(tmp_path_factory.mktemp("made"), idp)


@pytest.fixture(scope="module")
def made_stopped(made, tmp_path_factory):
    house = made.copy(tmp_path_factory.mktemp("stopped"))
    with opened(house.config_file) as authority, pytest.raises(LedgerStopped):
        issue(authority, request_of(house.idp))
    return house


@pytest.fixture(scope="module")
def made_anew(made_stopped, tmp_path_factory):
    house = made_stopped.copy(tmp_path_factory.mktemp("anew"))
    assert [house.run(line) for line in lines()] == [0] * STEPS
    return house


@pytest.fixture
def house(made, tmp_path):
    return made.copy(tmp_path)


@pytest.fixture
def stopped(made_stopped, tmp_path):
    return made_stopped.copy(tmp_path)


@pytest.fixture
def renewed(made_anew, tmp_path):
    return made_anew.copy(tmp_path)


def refuses(house):
    """Tell whether a signer that is started now, or asked, gives nothing."""
    try:
        with opened(house.config_file) as authority:
            issue(authority, request_of(house.idp))
    except (LedgerStopped, Misconfigured):
        return True
    return False


# --- The manual -------------------------------------------------------------------


def test_the_manual_s_commands_lead_to_a_new_ledger(stopped, capsys):
    typed = lines()
    assert len(typed) == STEPS

    for at, line in enumerate(typed):
        assert at == STEPS - 1 or refuses(stopped), f"issued before step {at + 1}"
        assert stopped.run(line) == 0, capsys.readouterr().err

    with opened(stopped.config_file) as authority:
        answer = issue(authority, request_of(stopped.idp))
        assert authority.problems() == []
        assert authority.store.entry_by_serial(int(stopped.kept.serial)) is not None
    assert int(answer.serial) == 2 * SERIALS + 2
    assert stopped.roots.log_origin.endswith("/log/2")
    assert stopped.roots.closed_logs == (ClosedLog("127.0.0.1:8440/log/1", 6),)
    assert stopped.proved(answer).warning is None


def test_each_command_can_be_typed_again(stopped, capsys):
    plan, sign, put, begin, adopt = lines()
    twice = [plan, plan, sign, plan, sign, sign, put, put, begin, begin, adopt, adopt]

    for line in twice:
        assert stopped.run(line) == 0, capsys.readouterr().err

    with opened(stopped.config_file) as authority:
        issue(authority, request_of(stopped.idp))
        assert authority.store.log_head().tree.size == 2


def test_a_crash_between_the_database_and_the_high_water_file_is_made_good(stopped):
    typed = lines()
    before = (stopped.folder / "ca/high-water").read_bytes()
    for line in typed[:4]:
        assert stopped.run(line) == 0
    (stopped.folder / "ca/high-water").write_bytes(before)

    with opened(stopped.config_file) as authority, pytest.raises(CAError):
        issue(authority, request_of(stopped.idp))
    assert stopped.run(typed[3]) == 0

    assert not refuses(stopped)


def test_what_is_printed_says_what_is_lost(stopped, capsys):
    typed = lines()
    assert stopped.run(f"{typed[0]} --json") == 0
    planned = json.loads(capsys.readouterr().out)
    for line in typed[1:3]:
        stopped.run(line)
    capsys.readouterr()
    assert stopped.run(f"{typed[3]} --json") == 0

    said = json.loads(capsys.readouterr().out)
    assert (planned["closed"], planned["size"]) == ("127.0.0.1:8440/log/1", 6)
    assert planned["serial_base"] == said["serial_base"] == str(2 * SERIALS)
    assert said["revoked_serials"] == [["4", str(2 * SERIALS)]]


# --- What is refused ----------------------------------------------------------------


def change_roots(house, old, new):
    """Change what the roots in place say, under the signature they have."""
    file = house.folder / "ca/roots"
    document = file.read_bytes()
    assert document.count(old) == 1
    file.write_bytes(document.replace(old, new))


def test_roots_that_were_changed_after_they_were_signed_begin_nothing(stopped, capsys):
    typed = lines()
    for line in typed[:3]:
        stopped.run(line)
    change_roots(stopped, b"/log/2", b"/log/7")
    capsys.readouterr()

    assert stopped.run(typed[3]) == 1

    assert "signature" in capsys.readouterr().err
    assert refuses(stopped)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (b"/log/1 6", b"/log/1 2", "close 127.0.0.1:8440/log/1 at 2 entries"),
        (b"%d" % (2 * SERIALS), b"5", "give serials from 5 again"),
    ],
)
def test_roots_that_fit_not_what_is_known_begin_nothing(
    stopped, capsys, old, new, says
):
    typed = lines()
    stopped.run(typed[0])
    file = stopped.folder / "roots.new"
    assert old in file.read_bytes()
    file.write_bytes(file.read_bytes().replace(old, new))
    for line in typed[1:3]:
        stopped.run(line)
    capsys.readouterr()

    assert stopped.run(typed[3]) == 1

    assert says in capsys.readouterr().err
    assert refuses(stopped)


def test_a_ledger_that_is_not_stopped_is_not_given_up(house, capsys):
    (house.folder / "ca/high-water").unlink()
    config = "--config /etc/daypass/daypass.toml"
    assert house.run(f"ca-admin ledger adopt-head {config}") == 0
    assert house.run(lines()[0]) == 1
    assert "the ledger is not stopped" in capsys.readouterr().err

    with opened(house.config_file) as authority:
        base = 2 * SERIALS
        begun = NewLog("l/2", base, "127.0.0.1:8440/log/1", 4, Forgotten(), build, 0)
        with pytest.raises(Conflict, match="is not stopped"):
            authority.store.begin_log(begun)
        with pytest.raises(Conflict, match="holds 4 entries"):
            authority.store.begin_log(replace(begun, size=5))


def build(index, serial):
    raise AssertionError


def test_a_plan_is_made_once(stopped, capsys):
    typed = lines()
    for line in typed[:3]:
        stopped.run(line)
    capsys.readouterr()

    assert stopped.run(typed[0]) == 1
    assert "name a new log already" in capsys.readouterr().err


# --- Afterwards -------------------------------------------------------------------


def test_ca_login_takes_the_new_ledger_with_one_warning(renewed):
    with opened(renewed.config_file) as authority:
        answer = issue(authority, request_of(renewed.idp))

    proved = renewed.proved(answer, before=renewed.seen(renewed.lost[-1]))

    assert "closed its ledger 127.0.0.1:8440/log/1 at 6 entries" in proved.warning
    assert renewed.proved(answer, before=proved.seen).warning is None


def test_a_checkpoint_of_the_closed_ledger_stops_nobody_and_is_put_on_record(renewed):
    note = note_in(renewed.lost[-1])
    with opened(renewed.config_file) as authority:
        answer = issue(authority, request_of(renewed.idp, checkpoint=note))
        recorded = record_of(authority, answer)
        forged = note.replace("\n6\n", "\n9\n")
        other = issue(authority, request_of(renewed.idp, checkpoint=forged))
        unrecorded = record_of(authority, other)

    assert recorded["closed_log"] == {
        "origin": "127.0.0.1:8440/log/1",
        "size": 6,
        "checkpoint": note,
    }
    assert "closed_log" not in unrecorded


def test_the_first_entry_holds_the_newest_checkpoint_of_the_closed_ledger(renewed):
    with opened(renewed.config_file) as authority:
        (first,) = authority.store.entries(0, 2)

    record = json.loads(first.record or b"")
    assert first.kind == "administration"
    assert record["act"] == "begin-log"
    assert record["closed"]["checkpoints"][-1] == note_in(renewed.lost[-1])
    assert (record["closed"]["size"], record["closed"]["in_database"]) == (6, 4)


def test_what_is_lost_or_was_revoked_is_in_the_next_krl(renewed):
    with opened(renewed.config_file) as authority:
        current = authority.trust.current(now=datetime.now(UTC))
        sha256 = parse_current(split_signed(current)[0]).krl_sha256
        krl = parse_krl(authority.trust.blob(sha256))
        keys = (authority.user_ca_key, authority.host_ca_key)
        answer = issue(authority, request_of(renewed.idp))
        now = datetime.now(UTC)
        states = {
            str(issued.stored.serial): issued.state(now=now)
            for issued in find(authority.store, Wanted(), now=now)
        }

    assert {one.ca_key: one.serials for one in krl.certificates} == {
        key.blob: ((4, 2 * SERIALS),) for key in keys if key is not None
    }
    assert krl.keys == (REVOKED_CA.blob,)
    for revoked in (renewed.kept, *renewed.lost):
        assert krl.revokes(certificate_in(revoked))
    assert not krl.revokes(certificate_in(answer))
    assert states == {renewed.kept.serial: "revoked", answer.serial: "live"}


def test_a_token_from_before_the_new_ledger_buys_nothing(renewed):
    before = pytest.raises(TokenSpent, match="before the ledger was recovered")
    with opened(renewed.config_file) as authority:
        with before:
            issue(authority, renewed.request)
        with before:  # the provider's clock is far ahead, but it was spent before
            spend(authority)


def test_hosts_of_the_closed_ledger_and_of_the_new_one_are_vouched_for(renewed):
    other = FakeHost("web2", names=("web2.example.com",))
    with opened(renewed.config_file) as authority:
        register_host(authority, other.new(), BY, now=datetime.now(UTC))
        for host in (WEB, other):
            known = vouched(authority, require_host(authority, host.id))

            assert known.names == host.names


def test_a_join_token_from_before_the_new_ledger_registers_nobody(renewed):
    now = datetime.now(UTC)
    document = FakeHost("web2").join(renewed.join_token, at=now)

    with opened(renewed.config_file) as authority:
        with pytest.raises(JoinTokenRefused, match="has ended"):
            join_host(authority, document, BY, now=now)
        life = timedelta(days=1)
        fresh = make_join_token(
            authority, host=None, names=(), life=life, by=BY, now=now
        )
        document = FakeHost("web2").join(fresh, at=now)
        assert join_host(authority, document, BY, now=now).id == "web2"


def test_a_signer_with_the_old_roots_neither_issues_nor_publishes(house, tmp_path):
    shutil.copytree(house.folder / "ca", tmp_path / "peer")
    rewrite(
        tmp_path / "peer/daypass.toml",
        {"sqlite:///daypass.db": f"sqlite:///{house.folder}/ca/daypass.db"},
    )
    with opened(tmp_path / "peer/daypass.toml") as peer:
        refuses(house)
        for line in lines():
            assert house.run(line) == 0

        with pytest.raises(Misconfigured, match="/log/2 by now"):
            issue(peer, request_of(house.idp))
        with pytest.raises(Misconfigured, match="/log/2 by now"):
            peer.trust.current(now=datetime.now(UTC))
        assert any("/log/2 by now" in problem for problem in peer.problems())
        with pytest.raises(Misconfigured, match="/log/2 by now"):
            recover(peer.ledger, peer.store, now=datetime.now(UTC))

    with opened(house.config_file) as authority:
        assert authority.problems() == []


def test_the_new_ledger_is_served_verified_and_shown_from_its_own_first_entry(
    renewed, capsys
):
    config = ["--config", str(renewed.config_file)]
    with opened(renewed.config_file) as authority:
        answer = issue(authority, request_of(renewed.idp))

    assert main(["ledger", "verify", *config]) == 0
    assert "2 entries checked: nothing wrong" in capsys.readouterr().out
    assert main(["ledger", "export", str(renewed.folder / "copy"), *config]) == 0
    assert main(["ledger", "verify", str(renewed.folder / "copy"), *config]) == 0
    capsys.readouterr()
    assert main(["ledger", "show", answer.serial, "--json", *config]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["index"], "index 1" in shown["proof"]) == (1, True)
    assert main(["ledger", "show", renewed.kept.serial, *config]) == 0
    assert "on a log that was closed" in capsys.readouterr().out


def test_a_record_of_the_closed_ledger_can_be_erased(renewed, capsys):
    serial, config = renewed.kept.serial, ["--config", str(renewed.config_file)]
    says = replace(certificate_in(renewed.kept), valid_after=1, valid_before=2)
    ended = [render_to_be_signed(says), serial]  # nobody waits for its end
    with sqlite3.connect(renewed.folder / "ca/daypass.db") as connection:
        connection.execute(
            "UPDATE entries SET to_be_signed = ? WHERE serial = ?", ended
        )

    assert main(["ledger", "erase-record", "--serial", serial, *config]) == 0

    assert f"the record of serial {serial}; entry 1 says" in capsys.readouterr().out
    with opened(renewed.config_file) as authority:
        found = authority.store.entry_by_serial(int(serial))
    assert found is not None
    assert (found.record, found.to_be_signed) == (None, None)


def test_of_a_ledger_that_forked_every_serial_is_lost(house, capsys):
    plan, sign, put, begin, _ = lines()
    config = "--config /etc/daypass/daypass.toml"
    (house.folder / "ca/high-water").unlink()
    assert house.run(f"ca-admin ledger adopt-head {config}") == 0
    with opened(house.config_file) as authority:
        issue(authority, request_of(house.idp))
        other = note_in(house.lost[0])
        with pytest.raises(LedgerStopped):
            issue(authority, request_of(house.idp, checkpoint=other))

    for line in (plan, sign, put, f"{begin} --json"):
        assert house.run(line) == 0, capsys.readouterr().err

    said = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert said["revoked_serials"] == [["1", str(2 * SERIALS)]]


def test_a_second_new_ledger_follows_on_the_first(renewed, capsys):
    backup = (renewed.folder / "ca/daypass.db").read_bytes()
    with opened(renewed.config_file) as authority:
        issue(authority, request_of(renewed.idp))
    (renewed.folder / "ca/daypass.db").write_bytes(backup)
    assert refuses(renewed)

    for line in lines():
        assert renewed.run(line) == 0, capsys.readouterr().err

    with opened(renewed.config_file) as authority:
        answer = issue(authority, request_of(renewed.idp))
    assert int(answer.serial) == 4 * SERIALS + 2
    assert [log.origin[-1] for log in renewed.roots.closed_logs] == ["1", "2"]
    proved = renewed.proved(answer, before=renewed.seen(renewed.lost[-1]))
    assert "/log/1 at 6 entries" in proved.warning
