"""Nonces and audiences bind a token to one key, in one spelling."""

import base64
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ca.binding import audience_for, decode_base64url, encode_base64url, nonce_for
from ca.errors import Malformed

ORIGIN = "https://ca.example.com"


def test_the_nonce_is_the_hash_that_the_design_says():
    key_blob, salt = b"a key", bytes(range(32))
    digest = hashlib.sha256(b"daypass-nonce-v1\x00a key" + salt).digest()

    nonce = nonce_for(key_blob, salt)

    assert nonce == base64.urlsafe_b64encode(digest).decode()[:43]


def test_the_audience_is_the_origin_and_the_hash_that_the_design_says():
    digest = hashlib.sha256(b"daypass-audience-v1\x00a key").digest()

    audience = audience_for(ORIGIN, b"a key")

    assert audience == f"{ORIGIN}#{base64.urlsafe_b64encode(digest).decode()[:43]}"


@pytest.mark.parametrize("length", [0, 31, 33])
def test_a_salt_of_another_length_is_refused(length):
    with pytest.raises(Malformed):
        nonce_for(b"a key", bytes(length))


@given(st.binary())
def test_decoding_gives_back_what_was_encoded(data):
    assert decode_base64url(encode_base64url(data)) == data


@given(st.text(alphabet=st.one_of(st.sampled_from("Az09-_+/= \n"), st.characters())))
def test_any_text_is_refused_or_the_only_spelling_of_its_value(text):
    try:
        data = decode_base64url(text)
    except Malformed:
        return

    assert encode_base64url(data) == text


@pytest.mark.parametrize(
    "text", ["AA==", "AA=", "A", "AB", "A A", "AA\n", "+w", "/w", "ÄA", "\ud800"]
)
def test_other_spellings_of_base64url_are_refused(text):
    with pytest.raises(Malformed):
        decode_base64url(text)
