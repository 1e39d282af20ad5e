"""What was published as revoked is known again after a restore, and only with proof."""

import hashlib
from dataclasses import replace

import pytest

from ca import bundle
from ca.bundle import Current, KeyState, TrustedKey
from ca.errors import CAError, Conflict, SignatureInvalid
from ca.krl import KRL, RevokedCertificates, render_krl
from ca.signing_key import FileKey
from ca.store import Forgotten, Revocations, RevokedSerial
from ca.trust.published import forgotten_in, prove_published
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


def test_what_was_published_as_revoked_is_known_again():
    published = prove_published(current(), BYTES, roots=ROOTS)

    forgotten = forgotten_in(published, ROOTS)

    assert forgotten == Forgotten(((3, 3), (5, 7)), (OTHER.blob,))
    revocations = Revocations(ca_keys=forgotten.ca_keys, lost=forgotten.serials)
    krl = krl_of(revocations, ROOTS, version=8, now=NOW)
    assert set(KRL_SEEN.certificates) <= set(krl.certificates)
    assert krl.keys == KRL_SEEN.keys


def test_what_has_ended_leaves_the_krl_a_day_later():
    now, day = int(NOW.timestamp()), 86_400
    serials = tuple(
        RevokedSerial(serial, USER_CA.blob, ends)
        for serial, ends in ((3, now - day - 1), (5, now - day), (7, now))
    )

    krl = krl_of(Revocations(serials=serials), ROOTS, version=8, now=NOW)

    assert [one.serials for one in krl.certificates] == [((5, 5), (7, 7))]


def test_what_another_ca_signed_is_not_ours_to_revoke():
    theirs = (RevokedCertificates(OTHER.blob, ((3, 3),)),)
    krl = render_krl(KRL(1, 2, certificates=theirs))

    published = prove_published(current(krl), krl, roots=ROOTS)

    assert forgotten_in(published, ROOTS) == Forgotten()


@pytest.mark.parametrize(
    ("run", "refused"),
    [
        ((1, (1 << 64) - 1), True),
        ((1, 1 << 33), True),
        ((1, 1 << 32), False),
        ((1 << 63, (1 << 63) + 9), False),
    ],
)
def test_a_krl_that_revokes_what_nobody_ever_had_is_refused(run, refused):
    certificates = (RevokedCertificates(USER_CA.blob, (run,)),)
    krl = render_krl(KRL(1, 2, certificates=certificates))
    published = prove_published(current(krl), krl, roots=ROOTS)

    if not refused:
        assert forgotten_in(published, ROOTS).serials == (run,)
        return
    with pytest.raises(Conflict, match="nobody can have had"):
        forgotten_in(published, ROOTS)


def test_the_newest_roots_say_who_may_have_signed():
    stranger = FileKey.generate()

    with pytest.raises(SignatureInvalid, match="online key of these roots"):
        prove_published(current(key=stranger), BYTES, roots=ROOTS)
