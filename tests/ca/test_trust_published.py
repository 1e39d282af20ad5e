"""What was published as revoked is known again after a restore, and only with proof."""

import hashlib
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from ca import bundle
from ca.bundle import Current, KeyState, TrustedKey
from ca.errors import CAError, Conflict, SignatureInvalid
from ca.krl import KRL, RevokedCertificates, render_krl
from ca.signing_key import FileKey
from ca.store import Revocations, RevokedSerial
from ca.trust.published import missing_from, prove_published
from ca.trust.revocations import krl_of
from tests.ca.test_trust import NOW, ONLINE, OTHER, ROOTS, USER_CA

KRL_SEEN = KRL(
    version=7,
    generated=int(NOW.timestamp()),
    certificates=(RevokedCertificates(USER_CA.blob, ((3, 3), (5, 7))),),
    keys=(OTHER.blob,),
)
BYTES = render_krl(KRL_SEEN)


def current(krl=BYTES, *, key=ONLINE, namespace=bundle.CURRENT_NAMESPACE):
    digest = hashlib.sha256(krl).hexdigest()
    text = bundle.render_current(Current(9, 10, "ab" * 32, digest))
    return bundle.join_signed(text, key.sign_message(namespace, text))


def test_a_published_krl_is_proved_by_the_current_that_names_it():
    published = prove_published(current(), BYTES, roots=ROOTS)

    assert (published.version, published.krl) == (9, KRL_SEEN)


def test_an_online_key_that_signs_no_more_still_proves_what_it_signed():
    retired = replace(ROOTS, online=(TrustedKey(KeyState.RETIRING, ONLINE.line),))

    assert prove_published(current(), BYTES, roots=retired).krl == KRL_SEEN


@pytest.mark.parametrize(
    ("document", "krl", "error"),
    [
        (current(key=OTHER), BYTES, SignatureInvalid),
        (current(namespace="daypass-roots"), BYTES, SignatureInvalid),
        (current().replace(b"version 9", b"version 8"), BYTES, SignatureInvalid),
        (current(), BYTES[:-1], Conflict),
        (current(), render_krl(KRL(1, 2)), Conflict),
        (current(b"no KRL"), b"no KRL", CAError),
        (b"", BYTES, CAError),
    ],
)
def test_without_proof_nothing_is_believed(document, krl, error):
    with pytest.raises(error):
        prove_published(document, krl, roots=ROOTS)


def test_what_is_missing_is_revoked_again_and_stays_listed():
    published = prove_published(current(), BYTES, roots=ROOTS)
    present = Revocations(
        serials=(
            RevokedSerial(5, USER_CA.blob, int(NOW.timestamp()) + 60),
            # Another CA key's certificate of the same serial is another certificate.
            RevokedSerial(6, ONLINE.blob, 0),
        ),
    )

    missing = missing_from(present, published, now=NOW)

    assert [(one.serial, one.ca_key) for one in missing.serials] == [
        (3, USER_CA.blob),
        (6, USER_CA.blob),
        (7, USER_CA.blob),
    ]
    assert missing.ca_keys == (OTHER.blob,)
    united = Revocations((*present.serials, *missing.serials), missing.ca_keys)
    krl = krl_of(united, ROOTS, version=8, now=NOW)
    assert krl.certificates == KRL_SEEN.certificates
    assert krl.keys == KRL_SEEN.keys
    # Any certificate that exists by now has ended before it leaves the list.
    assert min(one.ends for one in missing.serials) >= NOW.timestamp() + 90 * 86400


def test_uniting_again_changes_nothing():
    published = prove_published(current(), BYTES, roots=ROOTS)
    once = missing_from(Revocations(), published, now=NOW)

    assert missing_from(once, published, now=NOW) == Revocations()


def test_a_krl_that_revokes_what_nobody_ever_had_is_refused():
    everything = ((1, (1 << 64) - 1),)
    certificates = (RevokedCertificates(USER_CA.blob, everything),)
    krl = render_krl(KRL(1, 2, certificates=certificates))
    published = prove_published(current(krl), krl, roots=ROOTS)

    with pytest.raises(Conflict, match="more than were ever issued"):
        missing_from(Revocations(), published, now=datetime.now(UTC))


def test_the_newest_roots_say_who_may_have_signed():
    stranger = FileKey.generate()

    with pytest.raises(SignatureInvalid, match="online key of these roots"):
        prove_published(current(key=stranger), BYTES, roots=ROOTS)
