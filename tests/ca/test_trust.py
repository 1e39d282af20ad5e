"""The bundle that a signer serves: signed, growing, and never beyond the roots."""

import hashlib
from datetime import UTC, datetime, timedelta

import pytest

from ca import bundle
from ca.admin import database
from ca.bundle import KeyState, Roots, TrustedKey
from ca.errors import Misconfigured, NotFound
from ca.signing_key import FileKey
from ca.store import Store
from ca.trust import LIFE, REFRESH, Trust, load_roots, require_active, sign_roots
from tests.ca.test_sshsig import verify

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ROOT, USER_CA, ONLINE = (FileKey.generate() for _ in range(3))
ROOTS = Roots(
    version=1,
    root_key=ROOT.line,
    log_origin="ca.example.com/log/1",
    serial_base=0,
    user_ca=(TrustedKey(KeyState.ACTIVE, USER_CA.line),),
    host_ca=(),
    online=(TrustedKey(KeyState.ACTIVE, ONLINE.line),),
)


@pytest.fixture
def roots_file(tmp_path):
    (tmp_path / "roots").write_bytes(sign_roots(ROOTS, ROOT))
    return tmp_path / "roots"


@pytest.fixture
def store(tmp_path):
    url = f"sqlite:///{tmp_path}/daypass.db"
    database.migrate(url, create=True)
    store = Store.open(url)
    yield store
    store.close()


@pytest.fixture
def trust(store, roots_file):
    return open_trust(store, roots_file)


def open_trust(store, roots_file):
    return Trust(store, signed_roots=load_roots(roots_file), online_key=ONLINE)


def current_of(document):
    return bundle.parse_current(bundle.split_signed(document)[0])


def test_current_is_signed_by_the_online_key_and_names_the_roots(
    trust, roots_file, tmp_path
):
    text, armour = bundle.split_signed(trust.current(now=NOW))

    assert verify(tmp_path, ONLINE, armour, namespace="daypass-current", message=text)
    current = bundle.parse_current(text)
    document = roots_file.read_bytes()
    assert current.roots_sha256 == hashlib.sha256(document).hexdigest()
    assert current.expires == (NOW + LIFE).timestamp()
    assert trust.blob(current.roots_sha256) == document


def test_roots_are_signed_by_the_root_key(roots_file, tmp_path):
    text, armour = bundle.split_signed(roots_file.read_bytes())

    assert verify(tmp_path, ROOT, armour, namespace="daypass-roots", message=text)
    assert bundle.parse_roots(text) == ROOTS


def test_current_stays_the_same_until_it_is_due(trust, store, roots_file):
    first = trust.current(now=NOW)

    assert trust.current(now=NOW + REFRESH / 2) == first
    # So does another process's.
    assert open_trust(store, roots_file).current(now=NOW + REFRESH / 2) == first
    later = trust.current(now=NOW + REFRESH)
    assert current_of(later).version > current_of(first).version


def test_versions_grow_when_the_clock_goes_back(trust):
    first = current_of(trust.current(now=NOW))

    second = current_of(trust.current(now=NOW - timedelta(days=30)))

    assert second.version == first.version + 1


def test_new_roots_are_published_at_once(trust, store, roots_file):
    first = current_of(trust.current(now=NOW))
    roots_file.write_bytes(sign_roots(ROOTS, ROOT).replace(b"version 1", b"version 2"))

    second = current_of(open_trust(store, roots_file).current(now=NOW))

    assert second.version > first.version
    assert second.roots_sha256 != first.roots_sha256


def test_an_unknown_part_is_not_found(trust):
    with pytest.raises(NotFound):
        trust.blob("00" * 32)


def test_fingerprints_are_the_keys_own(trust):
    assert trust.root_key_fingerprint == ROOT.fingerprint
    assert trust.online_key_fingerprint == ONLINE.fingerprint


def test_missing_or_unsigned_roots_are_named(tmp_path):
    with pytest.raises(Misconfigured, match="cannot read"):
        load_roots(tmp_path / "roots")
    (tmp_path / "roots").write_bytes(bundle.render_roots(ROOTS))
    with pytest.raises(Misconfigured, match="no signature"):
        load_roots(tmp_path / "roots")


def test_a_key_that_the_roots_do_not_list_as_active_is_refused():
    staged = TrustedKey(KeyState.STAGED, USER_CA.line)

    require_active(USER_CA, ROOTS.user_ca)
    for listed in (ROOTS.online, (), (staged,)):
        with pytest.raises(Misconfigured, match="do not list"):
            require_active(USER_CA, listed)
