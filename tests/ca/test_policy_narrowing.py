"""What a certificate buys is no more than it has, and nothing it forces is shed."""

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ca.certificate import EXTENSIONS
from ca.errors import Denied
from ca.policy import Grant, Wishes, narrow
from tests.certificates import certificate
from tests.policies import NOW

HERE = ip_address("192.0.2.1")
AT = int(NOW.timestamp())
NAMES = st.sampled_from(["ada", "deploy", "root", "backup"])
NAME_SETS = st.lists(NAMES, min_size=1, unique=True).map(tuple)
EXTENSION_SETS = st.sets(st.sampled_from(sorted(EXTENSIONS))).map(sorted).map(tuple)
OPTIONS = st.dictionaries(
    st.sampled_from(["force-command", "source-address"]),
    st.sampled_from(["192.0.2.0/24", "10.0.0.0/8"]),
)
SECONDS = st.integers(1, 86_400)


def grant(**changes):
    ordinary: dict[str, Any] = {
        "principals": ("ada",),
        "validity": timedelta(hours=10),
        "extensions": ("permit-pty",),
        "critical_options": {},
        "rules": ("developers",),
        "left_out": (),
    }
    return Grant(**(ordinary | changes))


def parent(**changes):
    """Return a certificate with four hours left."""
    ordinary = {
        "principals": ("ada", "deploy"),
        "valid_after": AT - 21_600,
        "valid_before": AT + 14_400,
    }
    return certificate(**(ordinary | changes))


def narrowed(granted, signer, *, now=NOW, **wishes):
    return narrow(granted, signer, Wishes(source=HERE, **wishes), now=now)


def test_what_both_give_is_given():
    got = narrowed(grant(), parent())

    assert got.principals == ("ada",)
    assert got.validity == timedelta(hours=4)
    assert got.extensions == ("permit-pty",)
    assert got.critical_options == {}
    assert got.rules == ("developers",)


def test_a_shorter_grant_stays_shorter():
    assert narrowed(grant(validity=timedelta(hours=1)), parent()).validity == timedelta(
        hours=1
    )


def test_a_principal_that_the_certificate_lacks_needs_a_new_sign_in():
    with pytest.raises(Denied, match=r"^root: .* does not have it") as denied:
        narrowed(grant(principals=("ada", "root")), parent())

    assert "new sign-in" in str(denied.value.hint)


def test_extensions_that_the_certificate_lacks_are_left_away_unasked():
    both = grant(extensions=("permit-pty", "permit-user-rc"))

    assert narrowed(both, parent()).extensions == ("permit-pty",)
    with pytest.raises(Denied, match="permit-user-rc"):
        narrowed(both, parent(), extensions=("permit-pty", "permit-user-rc"))


def test_asking_for_longer_than_the_certificate_lasts_is_denied():
    four, more = timedelta(hours=4), timedelta(hours=4, seconds=1)

    assert narrowed(grant(validity=four), parent(), validity=four).validity == four
    with pytest.raises(Denied, match="ends in 14400 s"):
        narrowed(grant(validity=more), parent(), validity=more)


def test_what_the_certificate_forces_stays_forced():
    forced = parent(critical_options={"force-command": "/usr/bin/backup"})
    from_here = {"source-address": "192.0.2.0/24"}

    assert narrowed(grant(critical_options=from_here), forced).critical_options == {
        "force-command": "/usr/bin/backup",
        "source-address": "192.0.2.0/24",
    }


def test_two_values_for_one_option_are_never_joined():
    forced = parent(critical_options={"source-address": "10.0.0.0/8"})
    now_forced = grant(critical_options={"source-address": "10.1.0.0/16"})

    with pytest.raises(Denied, match="disagree about source-address"):
        narrowed(now_forced, forced)


@given(
    granted=st.builds(
        grant,
        principals=NAME_SETS,
        validity=SECONDS.map(lambda seconds: timedelta(seconds=seconds)),
        extensions=EXTENSION_SETS,
        critical_options=OPTIONS,
    ),
    signer=st.builds(
        parent,
        principals=NAME_SETS,
        valid_before=SECONDS.map(lambda seconds: AT + seconds),
        extensions=EXTENSION_SETS,
        critical_options=OPTIONS,
    ),
    validity=st.none() | SECONDS.map(lambda seconds: timedelta(seconds=seconds)),
    microseconds=st.integers(0, 999_999),
)
def test_no_narrowed_grant_exceeds_either(granted, signer, validity, microseconds):
    now = NOW + timedelta(microseconds=microseconds)
    try:
        got = narrowed(granted, signer, validity=validity, now=now)
    except Denied:
        return

    end = datetime.fromtimestamp(signer.valid_before, UTC)
    assert set(got.principals) == set(granted.principals) <= set(signer.principals)
    assert set(got.extensions) <= {*granted.extensions} & {*signer.extensions}
    assert now + got.validity <= end
    assert got.validity <= granted.validity
    for forced in (granted.critical_options, signer.critical_options):
        assert got.critical_options.items() >= forced.items()
