"""Only keys that are meant for ID tokens, and strong, verify them."""

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ca.binding import encode_base64url
from ca.errors import TokenKeyUnknown
from tests.fakes import NOW, Answer, FakeIdP
from tests.jose import dump, ec_key, ed25519_key, jwk, rsa_key
from tests.tokens import Desk


@pytest.fixture
def idp():
    with FakeIdP(now=NOW.timestamp) as idp:
        yield idp


@pytest.fixture
def desk(idp):
    return Desk(idp)


def set_keys(idp, *keys):
    idp.answers["/jwks"] = Answer(body=dump({"keys": list(keys)}))


WEAK = rsa.generate_private_key(65537, 1024)  # noqa: S505
GOOD = rsa_key(0).public_key().public_numbers()


def number(value):
    return encode_base64url(value.to_bytes((value.bit_length() + 7) // 8 or 1))


POINT = ec_key(0).public_key().public_numbers()
BOTH = POINT.x.to_bytes(32) + POINT.y.to_bytes(32)
CUT_ELSEWHERE = {"x": encode_base64url(BOTH[:31]), "y": encode_base64url(BOTH[31:])}


@pytest.mark.parametrize(
    ("algorithm", "key"),
    [
        ("RS256", jwk(rsa_key(0), kid="k", use="enc")),
        ("RS256", jwk(rsa_key(0), kid="k", use=None)),
        ("RS256", jwk(rsa_key(0), kid="k", alg="RS384")),
        ("RS256", jwk(rsa_key(0), kid="k", alg="RSA-OAEP")),
        ("RS256", jwk(rsa_key(0), kid="k", alg=["RS256"])),
        ("RS256", jwk(rsa_key(0), kid="k", alg=None)),
        ("RS256", jwk(rsa_key(0), kid="k", key_ops=["encrypt"])),
        ("RS256", jwk(rsa_key(0), kid="k", key_ops="verify")),
        ("RS256", jwk(rsa_key(0), kid="k", d="AQAB")),
        ("RS256", jwk(rsa_key(0), kid="other")),
        ("RS256", jwk(rsa_key(0), kid=7)),
        ("RS256", jwk(rsa_key(0), kid=["k"])),
        ("RS256", jwk(rsa_key(0), kid="k", kty="rsa")),
        ("RS256", jwk(rsa_key(0), kid="k", kty=["RSA"])),
        ("RS256", jwk(rsa_key(0), kid="k", kty="EC")),
        ("RS256", jwk(rsa_key(0), kid="k", kty="oct", k="AAAA")),
        ("RS256", jwk(rsa_key(0), kid="k", e="Aw")),
        ("RS256", jwk(rsa_key(0), kid="k", e="AQAC")),
        ("RS256", jwk(rsa_key(0), kid="k", e="")),
        ("RS256", jwk(rsa_key(0), kid="k", e=65537)),
        ("RS256", jwk(rsa_key(0), kid="k", n=None)),
        ("RS256", jwk(rsa_key(0), kid="k", n="")),
        ("RS256", jwk(rsa_key(0), kid="k", n="====")),
        ("RS256", jwk(rsa_key(0), kid="k", n=number(GOOD.n * 2))),
        ("RS256", jwk(rsa_key(0), kid="k", n=number(GOOD.n**2))),
        ("RS256", jwk(WEAK, kid="k")),
        ("RS256", jwk(ec_key(0), kid="k")),
        ("RS256", {"kid": "k", "kty": "oct", "k": number(GOOD.n)}),
        ("RS256", "k"),
        ("RS256", ["k"]),
        ("RS256", None),
        ("ES256", jwk(rsa_key(0), kid="k")),
        ("ES256", jwk(ed25519_key(0), kid="k")),
        ("ES256", jwk(ec.generate_private_key(ec.SECP384R1()), kid="k")),
        ("ES256", jwk(ec.generate_private_key(ec.SECP256K1()), kid="k")),
        ("ES256", jwk(ec_key(0), kid="k", crv=["P-256"])),
        ("ES256", jwk(ec_key(0), kid="k", crv="P-384")),
        ("ES256", jwk(ec_key(0), kid="k", x="AAAA")),
        ("ES256", jwk(ec_key(0), kid="k", y=number(7 << 248))),
        ("ES256", jwk(ec_key(0), kid="k", **CUT_ELSEWHERE)),
        ("EdDSA", jwk(ec_key(0), kid="k")),
        ("EdDSA", jwk(ed25519_key(0), kid="k", crv="Ed448")),
        ("EdDSA", jwk(ed25519_key(0), kid="k", x="AAAA")),
        ("EdDSA", jwk(ed25519_key(0), kid="k", x=encode_base64url(bytes(32)))),
    ],
)
def test_a_key_that_must_not_be_used_is_unknown(desk, idp, algorithm, key):
    set_keys(idp, key, jwk(Ed25519PrivateKey.generate(), kid="another", use="enc"))

    with pytest.raises(TokenKeyUnknown):
        desk.verify(desk.token(algorithm=algorithm, header={"kid": "k"}))


@pytest.mark.parametrize(
    "members",
    [{"alg": "RS256"}, {"key_ops": ["verify"]}, {"x5c": ["?"]}, {"x5u": "?"}],
    ids=str,
)
def test_a_usable_key_is_found_among_others(desk, idp, members):
    usable = jwk(rsa_key(0), kid="k", **members)
    set_keys(
        idp, None, {"kty": "new"}, jwk(WEAK, kid="k"), jwk(ec_key(0), kid="k"), usable
    )

    assert desk.verify(desk.token(header={"kid": "k"})).identity.subject == "ada"


def test_a_key_without_use_is_for_signatures(desk, idp):
    key = jwk(rsa_key(0), kid="k")
    del key["use"]
    set_keys(idp, key)

    assert desk.verify(desk.token(header={"kid": "k"})).identity.subject == "ada"


def test_two_keys_of_one_id_are_ambiguous(desk, idp):
    set_keys(idp, jwk(rsa_key(0), kid="k"), jwk(rsa_key(1), kid="k"))

    with pytest.raises(TokenKeyUnknown):
        desk.verify(desk.token(header={"kid": "k"}))


def test_without_a_key_id_the_only_key_of_that_kind_is_used(desk, idp):
    set_keys(idp, jwk(rsa_key(0), kid="k"), jwk(ec_key(0)))

    for algorithm in ("RS256", "ES256"):
        token = desk.token(algorithm=algorithm, header={"kid": None})
        assert desk.verify(token).identity.subject == "ada"


def test_without_a_key_id_keys_are_not_tried_in_turn(desk, idp):
    idp.rotate(keep=True)

    with pytest.raises(TokenKeyUnknown):
        desk.verify(desk.token(header={"kid": None}))
