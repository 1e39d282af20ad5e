"""Good subject keys of every type pass; what could not be one is refused.

Keys known to be broken in public are in `tests/advisories/test_keys.py`.
"""

import base64
import subprocess

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from ca import wire
from ca.certificate import KEY_FIELDS
from ca.errors import CAError, Malformed, UnacceptableKey
from ca.public_key import parse_public_key
from tests.certificates import ThrowawayCA, certificate, ed25519_blob

BASE_POINT = (4 * pow(5, -1, 2**255 - 19) % (2**255 - 19)).to_bytes(32, "little")
"""The y of edwards25519's base point (RFC 8032 section 5.1)."""

POINT = ec.derive_private_key(7, ec.SECP256R1()).public_key().public_numbers()
UNCOMPRESSED = b"\x04" + POINT.x.to_bytes(32) + POINT.y.to_bytes(32)


def line(name, *fields):
    """Return a `.pub` line of a type name and the fields behind it."""
    blob = wire.text(name) + b"".join(map(wire.string, fields))
    return f"{name} {base64.b64encode(blob).decode()} ada@example.com"


def p256(point):
    return line("ecdsa-sha2-nistp256", b"nistp256", point)


def keygen(folder, *arguments):
    """Make a key with ssh-keygen and return its path."""
    key = folder / "key"
    command = ["ssh-keygen", "-q", "-N", "", "-C", "ada@example.com", "-f", key]
    subprocess.run([*command, *arguments], check=True)
    return key


@pytest.mark.openssh
@pytest.mark.parametrize(
    "arguments",
    [
        ("-t", "ed25519"),
        ("-t", "ecdsa", "-b", "256"),
        ("-t", "ecdsa", "-b", "384"),
        ("-t", "ecdsa", "-b", "521"),
        ("-t", "rsa", "-b", "3072"),
        ("-t", "rsa", "-b", "4096"),
    ],
    ids=" ".join,
)
def test_a_key_of_ssh_keygen_passes_unchanged(tmp_path, arguments):
    made = keygen(tmp_path, *arguments).with_suffix(".pub").read_text()

    blob = parse_public_key(made)

    assert base64.b64encode(blob).decode() == made.split()[1]


@pytest.mark.openssh
def test_an_rsa_key_of_2048_bits_passes_only_where_configuration_says_so(tmp_path):
    key = keygen(tmp_path, "-t", "rsa", "-b", "2048").with_suffix(".pub")

    assert parse_public_key(key.read_text(), least_rsa_bits=2048)
    with pytest.raises(UnacceptableKey, match="fewer than 3072"):
        parse_public_key(key.read_text())


@pytest.mark.openssh
def test_no_configuration_lets_1024_bits_pass(tmp_path):
    key = keygen(tmp_path, "-t", "rsa", "-b", "1024").with_suffix(".pub")

    with pytest.raises(UnacceptableKey, match="fewer than 2048"):
        parse_public_key(key.read_text(), least_rsa_bits=1024)


@pytest.mark.openssh
@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
def test_a_certificate_of_ssh_keygen_is_no_key(tmp_path, kind):
    key = keygen(tmp_path, "-t", kind)
    command = ["ssh-keygen", "-q", "-s", key, "-I", "a", "-n", "ada", key]
    subprocess.run(command, check=True)

    with pytest.raises(UnacceptableKey, match="a certificate cannot") as refused:
        parse_public_key((tmp_path / "key-cert.pub").read_text())

    assert refused.value.hint == "send the plain .pub file"


def test_a_certificate_under_the_name_of_a_key_is_refused():
    blob = ThrowawayCA().certify(certificate())
    disguised = f"ssh-ed25519 {base64.b64encode(blob).decode()}"

    with pytest.raises(Malformed):
        parse_public_key(disguised)


@pytest.mark.parametrize("application", [b"ssh:", b"ssh:work laptop"])
def test_fido_keys_made_for_ssh_pass(application):
    ed25519 = line("sk-ssh-ed25519@openssh.com", BASE_POINT, application)
    ecdsa = line(
        "sk-ecdsa-sha2-nistp256@openssh.com", b"nistp256", UNCOMPRESSED, application
    )

    assert parse_public_key(ed25519).endswith(wire.string(application))
    assert parse_public_key(ecdsa).endswith(wire.string(application))


@pytest.mark.parametrize(
    "application", [b"", b"https://example.com", b"SSH:", b"xssh:", b"ssh:\n"]
)
def test_fido_keys_of_web_sites_are_refused(application):
    with pytest.raises(UnacceptableKey, match="not made for SSH"):
        parse_public_key(line("sk-ssh-ed25519@openssh.com", BASE_POINT, application))


def test_a_fido_application_that_is_no_text_is_refused():
    with pytest.raises(Malformed):
        parse_public_key(line("sk-ssh-ed25519@openssh.com", BASE_POINT, b"ssh:\xff"))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (line("ssh-ed25519", bytes(31)), "32 bytes"),
        (line("ssh-ed25519", bytes(33)), "32 bytes"),
        (line("ssh-ed25519", b"\x02" + bytes(31)), "not a point"),
        (line("ecdsa-sha2-nistp256", b"nistp384", UNCOMPRESSED), "another curve"),
        (line("ecdsa-sha2-nistp384", b"nistp256", UNCOMPRESSED), "another curve"),
        (line("ecdsa-sha2-nistp256", b"nistp", UNCOMPRESSED), "another curve"),
        (line("ecdsa-sha2-nistp256", b"", UNCOMPRESSED), "another curve"),
        (p256(b""), "uncompressed"),
        (p256(b"\0"), "uncompressed"),
        (p256(b"\x02" + UNCOMPRESSED[1:33]), "uncompressed"),
        (p256(b"\x06" + UNCOMPRESSED[1:]), "uncompressed"),
        (p256(UNCOMPRESSED[:-1]), "its curve"),
        (p256(UNCOMPRESSED + b"\0"), "its curve"),
        (p256(UNCOMPRESSED[:-1] + b"?"), "its curve"),
        (p256(b"\x04" + bytes(64)), "its curve"),
    ],
)
def test_what_is_no_point_of_its_curve_is_refused_with_a_way_out(text, why):
    with pytest.raises(UnacceptableKey, match=why) as refused:
        parse_public_key(text)

    assert refused.value.hint == "make a new one with: ssh-keygen -t ed25519"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ssh-ed25519",
        "ssh-ed25519 ????",
        line("ssh-ed25519", BASE_POINT, b"more"),
        line("ssh-unknown", b""),
        line("ssh-rsa", b"\x80", b"\x01"),
        line("ssh-rsa", b"\0\x01", b"\x01"),
        'command="true" ' + line("ssh-ed25519", BASE_POINT),
        line("ssh-ed25519", BASE_POINT) + "\n" + line("ssh-ed25519", BASE_POINT),
        line("ssh-ed25519", BASE_POINT).replace("ssh-ed25519", "ssh-rsa"),
        "-----BEGIN PUBLIC KEY-----",
    ],
)
def test_what_is_no_line_of_a_pub_file_is_malformed(text):
    with pytest.raises(Malformed):
        parse_public_key(text)


def test_the_public_halves_of_private_ed25519_keys_are_points(rounds):
    for _ in range(rounds(200)):
        public = Ed25519PrivateKey.generate().public_key().public_bytes_raw()

        assert parse_public_key(line("ssh-ed25519", public)) == ed25519_blob(public)


def test_an_x_of_the_other_sign_is_another_key():
    mirrored = BASE_POINT[:31] + bytes([BASE_POINT[31] | 0x80])

    assert parse_public_key(line("ssh-ed25519", mirrored)) == ed25519_blob(mirrored)


@given(st.text())
def test_any_text_gives_a_key_or_an_error_of_ours(text):
    with pytest.raises(CAError):
        parse_public_key(text)


@given(st.sampled_from([*KEY_FIELDS, "ssh-dss"]), st.lists(st.binary(), max_size=4))
def test_any_fields_give_a_key_or_an_error_of_ours(name, fields):
    try:
        blob = parse_public_key(line(name, *fields))
    except CAError:
        return

    assert blob.startswith(wire.text(name))


@given(st.binary(min_size=32, max_size=32))
def test_an_ed25519_key_that_passes_comes_back_as_it_was(point):
    try:
        blob = parse_public_key(line("ssh-ed25519", point))
    except UnacceptableKey:
        return

    assert blob == ed25519_blob(point)


PRIME = 2**255 - 19
D = -121665 * pow(121666, -1, PRIME) % PRIME


@given(y=st.integers(2, 2**250))
def test_the_points_that_pass_are_those_of_eulers_criterion(y):
    square = (y * y - 1) * (D * y * y + 1) % PRIME
    on_curve = pow(square, (PRIME - 1) // 2, PRIME) == 1
    offered = line("ssh-ed25519", y.to_bytes(32, "little"))

    if on_curve:
        assert parse_public_key(offered)
    else:
        with pytest.raises(UnacceptableKey, match="not a point of the curve"):
            parse_public_key(offered)
