"""The key ID names one person, in characters that nothing in a log trips over."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ca.certificate import KEY_ID, LONGEST_KEY_ID
from tests.policies import somebody


def hashed(subject):
    return f"corp:sha256-{hashlib.sha256(subject.encode()).hexdigest()}"


def test_the_key_id_is_the_verified_email_else_the_subject():
    assert somebody(email="ada@example.com").key_id == "corp:ada@example.com"
    assert somebody(email=None, subject="1001").key_id == "corp:1001"


@pytest.mark.parametrize(
    "subject", ["two words", "a#b", "\u00e4da", "line\nbreak", "x" * LONGEST_KEY_ID]
)
def test_a_subject_that_is_not_short_printable_ascii_is_hashed(subject):
    assert somebody(email=None, subject=subject).key_id == hashed(subject)


def test_a_subject_cannot_pose_as_somebodys_email():
    ada = somebody(email="ada@example.com", subject="1001")
    mallory = somebody(email=None, subject="ada@example.com")

    assert mallory.key_id == hashed("ada@example.com") != ada.key_id


@given(subject=st.text(min_size=1).filter(lambda text: text.isprintable()))
def test_every_subject_has_a_key_id_that_a_certificate_takes(subject):
    key_id = somebody(email=None, subject=subject).key_id

    assert KEY_ID.fullmatch(key_id)
    assert len(key_id) <= LONGEST_KEY_ID
