"""Notes, checkpoints and proofs are what C2SP says, and have one spelling each.

Judged by the examples of the specifications; by Go, whose module proxy signs notes; by
proofbundle, which parses and verifies all three; and by cryptography's Ed25519.
"""

import base64

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)
from hypothesis import given
from hypothesis import strategies as st
from proofbundle import checkpoint as other
from proofbundle import tlogproof as other_proof

from ca import checkpoint, merkle
from ca.checkpoint import Checkpoint, LogProof, Note, NoteKey, NoteSignature
from ca.errors import CAError, Malformed
from ca.merkle import CompactTree

ORIGIN = "ca.example.com/log/1"
PRIVATE = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
KEY = NoteKey(ORIGIN, PRIVATE.public_key().public_bytes_raw())
ROOT = merkle.leaf_hash(b"entry")
CHECKPOINT = Checkpoint(ORIGIN, 1, ROOT)


def verifier(key):
    return Ed25519PublicKey.from_public_bytes(key.public_key).verify


def signed(text, *more):
    return Note(text, (KEY.claim(PRIVATE.sign(text)), *more))


NOTE = signed(checkpoint.render_checkpoint(CHECKPOINT))

# --- What there is, as strategies -------------------------------------------------

CHARACTERS = st.characters(codec="utf-8", min_codepoint=0x20)
LINES = st.text(CHARACTERS, min_size=1)
NAMES = st.text(
    CHARACTERS.filter(lambda char: char != "+" and not char.isspace()), min_size=1
)
HASHES = st.binary(min_size=32, max_size=32)
SIZES = st.integers(0, merkle.LARGEST_SIZE)
KEYS = st.builds(NoteKey, NAMES, HASHES)
CHECKPOINTS = st.builds(
    Checkpoint, LINES, SIZES, HASHES, st.lists(LINES, max_size=3).map(tuple)
)
SIGNATURES = st.builds(
    NoteSignature,
    NAMES,
    st.binary(min_size=4, max_size=4),
    st.binary(min_size=1, max_size=80),
)
TEXTS = st.lists(st.text(CHARACTERS), min_size=1, max_size=5).map(
    lambda lines: "".join(line + "\n" for line in lines).encode()
)
NOTES = st.builds(Note, TEXTS, st.lists(SIGNATURES, min_size=1, max_size=4).map(tuple))
PROOFS = st.builds(
    LogProof,
    st.integers(0, merkle.LARGEST_SIZE - 1),
    st.lists(HASHES, max_size=4).map(tuple),
    CHECKPOINTS.map(checkpoint.render_checkpoint).map(
        lambda text: Note(text, NOTE.signatures)
    ),
    st.binary(max_size=40),
)


# --- As specified -----------------------------------------------------------------


def test_the_example_of_signed_note_verifies():
    key = checkpoint.parse_key(
        "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
    )
    note = checkpoint.parse_note(
        "This is an example message.\n"
        "\n"
        "— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ER"
        "YNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n".encode()
    )

    verifier(key)(note.signature_by(key), note.text)
    assert note.text == b"This is an example message.\n"
    assert key.key_id.hex() == "530d903a"


def test_the_text_of_a_note_may_have_empty_lines():
    # The other example of the specification.
    text = (
        "Ognuno sta solo sul cuor della terra\n"
        "trafitto da un raggio di sole:\n"
        "\n"
        "ed è subito sera.\n"
    )
    line = (
        "— quasimodo.example/salvatore NnugSzTjtVAewIS+Z/iJhUPeFDkO/5QQ2i5ddnGITLlC+"
        "EhfLW9oJKONrMouFSQU0xMcXxj99ihAQwaqP3ZekRwNtIc=\n"
    )

    note = checkpoint.parse_note(f"{text}\n{line}".encode())

    assert note.text == text.encode()
    assert [s.name for s in note.signatures] == ["quasimodo.example/salvatore"]


def test_the_example_of_tlog_checkpoint_is_read():
    data = (
        "example.com/behind-the-sofa\n"
        "20852163\n"
        "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"
        "\n"
        "— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOo"
        "RDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n"
    ).encode()
    note = checkpoint.parse_note(data)

    found = checkpoint.parse_checkpoint(note.text)

    assert (found.origin, found.size) == ("example.com/behind-the-sofa", 20852163)
    assert found.root.hex().startswith("0ac5186a91863e8e")
    assert checkpoint.render_note(note) == data


def test_the_head_of_the_example_of_tlog_proof_is_read():
    head = (
        b"c2sp.org/tlog-proof@v1\n"
        b"extra YWdlLXYxLjIuMQ==\n"
        b"index 73894\n"
        b"gSKyXoYZUgZ6jduWYrkDOARinOMGJveXjgMkBTcdPlQ=\n"
        b"B95lDa8R83lS8n0eG+o0buTxRKQTYFi//1U8anccXmA=\n"
        b"\n"
    )

    proof = checkpoint.parse_proof(head + checkpoint.render_note(NOTE))

    assert (proof.index, proof.extra, proof.note) == (73894, b"age-v1.2.1", NOTE)
    assert proof.checkpoint == CHECKPOINT
    assert [value.hex()[:8] for value in proof.hashes] == ["8122b25e", "07de650d"]


def test_a_note_that_go_signed_verifies():
    # Made with golang.org/x/mod v0.42.0, package sumdb/note.
    key = checkpoint.parse_key(
        "example.com/log+d455c521+AQOhB7/zzhC+HXDdGOdLwJln5NYwm6UNXx3chmQSVTG4"
    )
    note = checkpoint.parse_note(
        "example.com/log\n"
        "7\n"
        "LXEWQrcmsEQBYnyp+6wy9chTD7GQPMTbAiWHF5IaSIE=\n"
        "\n"
        "— example.com/log 1FXFIT/KzKsJmSe8jMCARe1b6SEfqexgKZDWL7GUDEagOumDbcwrKoe9W"
        "yJ+2Gg3ofV9tQgATHaqy/xWei5cCYpeAA4=\n".encode()
    )

    found = checkpoint.open_checkpoint(note, key, verify=verifier(key))

    assert (found.origin, found.size) == ("example.com/log", 7)


# --- Both ways --------------------------------------------------------------------


@given(KEYS)
def test_keys_are_read_back(key):
    assert checkpoint.parse_key(checkpoint.render_key(key)) == key


@given(CHECKPOINTS)
def test_checkpoints_are_read_back(value):
    assert checkpoint.parse_checkpoint(checkpoint.render_checkpoint(value)) == value


@given(NOTES)
def test_notes_are_read_back(note):
    assert checkpoint.parse_note(checkpoint.render_note(note)) == note


@given(PROOFS)
def test_proofs_are_read_back(proof):
    assert checkpoint.parse_proof(checkpoint.render_proof(proof)) == proof


FORMATS = [
    (checkpoint.parse_checkpoint, checkpoint.render_checkpoint, NOTE.text),
    (checkpoint.parse_note, checkpoint.render_note, checkpoint.render_note(NOTE)),
    (
        checkpoint.parse_proof,
        checkpoint.render_proof,
        checkpoint.render_proof(LogProof(3, (ROOT, ROOT), NOTE, b"extra")),
    ),
]


@pytest.mark.parametrize(("parse", "render", "example"), FORMATS, ids=["c", "n", "p"])
@given(data=st.data())
def test_what_parses_has_no_other_spelling(parse, render, example, data):
    at = data.draw(st.integers(0, len(example)))
    end = data.draw(st.integers(at, min(at + 3, len(example))))
    changed = example[:at] + data.draw(st.binary(max_size=3)) + example[end:]

    try:
        value = parse(changed)
    except CAError:
        return
    assert render(value) == changed


# --- Signatures -------------------------------------------------------------------


def test_a_log_is_believed_what_its_key_signed():
    found = checkpoint.open_checkpoint(NOTE, KEY, verify=verifier(KEY))

    assert found == CHECKPOINT


def test_a_signature_over_another_text_is_refused():
    forged = Note(NOTE.text.replace(b"\n1\n", b"\n2\n"), NOTE.signatures)

    with pytest.raises(InvalidSignature):
        checkpoint.open_checkpoint(forged, KEY, verify=verifier(KEY))


def test_signatures_by_unknown_keys_are_ignored():
    # "MUST ignore signatures from unknown keys, even if they share a name or ID".
    witness = NoteSignature("witness.example.com", bytes(4), b"of another kind")
    same_name = NoteSignature(KEY.name, bytes(4), bytes(64))
    same_id = NoteSignature("other.example.com", KEY.key_id, bytes(64))
    note = signed(NOTE.text, witness, same_name, same_id)

    parsed = checkpoint.parse_note(checkpoint.render_note(note))

    assert checkpoint.open_checkpoint(parsed, KEY, verify=verifier(KEY)) == CHECKPOINT


def test_a_note_without_a_signature_by_the_key_is_refused():
    stranger = NoteKey("other.example.com", KEY.public_key)

    with pytest.raises(Malformed, match="0 signatures by other"):
        NOTE.signature_by(stranger)


def test_two_signatures_by_one_key_are_refused():
    note = signed(NOTE.text, KEY.claim(bytes(64)))

    with pytest.raises(Malformed, match="2 signatures by ca"):
        note.signature_by(KEY)


def test_a_key_speaks_only_for_the_log_of_its_name():
    text = checkpoint.render_checkpoint(Checkpoint("ca.example.com/log/2", 1, ROOT))

    with pytest.raises(Malformed, match=r"signed a checkpoint of ca\.example"):
        checkpoint.open_checkpoint(signed(text), KEY, verify=verifier(KEY))


def test_sixteen_signatures_of_the_longest_kind_are_read():
    witnesses = [NoteSignature(f"w{n}", bytes(4), bytes(5_000)) for n in range(16)]
    note = signed(NOTE.text, *witnesses)

    assert checkpoint.parse_note(checkpoint.render_note(note)) == note


# --- Refusals ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"text\n",
        b"text\n\n",
        "text\n\n— name AAAAAAA=".encode(),
        "text\n\n— name AAAAAAA=X".encode(),
        "text\n— name AAAAAAA=\n".encode(),
        "\n— name AAAAAAA=\n".encode(),
        b"text\n\n- name AAAAAAA=\n",
        "text\n\n—name AAAAAAA=\n".encode(),
        "text\n\n—  AAAAAAA=\n".encode(),
        "text\n\n— name\n".encode(),
        "text\n\n— name \n".encode(),
        "text\n\n— name  AAAAAAA=\n".encode(),
        "text\n\n— name AAAAAAA= \n".encode(),
        "text\n\n— name AAAAAAA=\r\n".encode(),
        "text\n\n— name AAAAAA==\n".encode(),
        "text\n\n— name AAAAAAB=\n".encode(),
        "text\n\n— na+me AAAAAAA=\n".encode(),
        "text\n\n— na\N{NO-BREAK SPACE}me AAAAAAA=\n".encode(),
        "text\n\n— na\x00me AAAAAAA=\n".encode(),
        "text\n\n— name AAAAAAA=\nmore\n".encode(),
        "te\txt\n\n— name AAAAAAA=\n".encode(),
        "te\rxt\n\n— name AAAAAAA=\n".encode(),
        b"te\xffxt\n\n\xe2\x80\x94 name AAAAAAA=\n",
        b"text\n\n\xe2\x80\x94 na\xffme AAAAAAA=\n",
    ],
)
def test_what_is_not_a_note_is_refused(data):
    with pytest.raises(Malformed):
        checkpoint.parse_note(data)


def test_a_note_that_is_too_long_is_refused():
    with pytest.raises(Malformed, match="too long"):
        checkpoint.parse_note(bytes(checkpoint.LONGEST_NOTE + 1))


@pytest.mark.parametrize("text", [b"", b"text", b"\n\0\n"])
def test_a_text_that_no_note_can_have_is_refused(text):
    with pytest.raises(Malformed, match="not lines of text"):
        Note(text, NOTE.signatures)


def test_a_note_needs_a_signature():
    with pytest.raises(Malformed, match="without a signature"):
        Note(b"text\n", ())


@pytest.mark.parametrize("signature", [b"", bytes(63), bytes(65)])
def test_a_signature_of_another_length_is_not_ed25519(signature):
    with pytest.raises(Malformed, match="not an Ed25519 signature"):
        KEY.claim(signature)


@pytest.mark.parametrize(("key_id", "signature"), [(bytes(3), b"s"), (bytes(4), b"")])
def test_a_signature_line_needs_an_id_and_a_signature(key_id, signature):
    with pytest.raises(Malformed, match="too short"):
        NoteSignature("name", key_id, signature)


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\nb", "a\N{EM SPACE}b", "\ud800"])
def test_a_name_that_a_line_cannot_carry_is_refused(name):
    with pytest.raises(Malformed, match="name"):
        NoteKey(name, bytes(32))


def encoded_key(name, key_id, data):
    return f"{name}+{key_id}+{base64.b64encode(data).decode()}"


GOOD_ID = KEY.key_id.hex()
GOOD_DATA = b"\x01" + KEY.public_key


@pytest.mark.parametrize(
    "line",
    [
        "",
        ORIGIN,
        f"{ORIGIN}+{GOOD_ID}",
        encoded_key(ORIGIN, "00000000", GOOD_DATA),
        encoded_key(ORIGIN, GOOD_ID.upper(), GOOD_DATA),
        encoded_key(ORIGIN, GOOD_ID + "00", GOOD_DATA),
        encoded_key(ORIGIN, GOOD_ID, GOOD_DATA[:-1]),
        encoded_key(ORIGIN, GOOD_ID, GOOD_DATA + b"\0"),
        encoded_key(ORIGIN, GOOD_ID, b"\x04" + KEY.public_key),
        encoded_key(ORIGIN, GOOD_ID, b""),
        encoded_key("", GOOD_ID, GOOD_DATA),
        encoded_key(ORIGIN, GOOD_ID, GOOD_DATA) + "\n",
    ],
)
def test_what_is_not_a_verifier_key_is_refused(line):
    with pytest.raises(Malformed):
        checkpoint.parse_key(line)


ROOT_LINE = base64.b64encode(ROOT).decode()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n\n\n",
        f"origin\n1\n{ROOT_LINE}",
        "origin\n1\n",
        f"\n1\n{ROOT_LINE}\n",
        f"origin\n01\n{ROOT_LINE}\n",
        f"origin\n+1\n{ROOT_LINE}\n",
        f"origin\n-1\n{ROOT_LINE}\n",
        f"origin\n 1\n{ROOT_LINE}\n",
        f"origin\n1_0\n{ROOT_LINE}\n",
        f"origin\n\N{ARABIC-INDIC DIGIT ONE}\n{ROOT_LINE}\n",
        f"origin\n{1 << 63}\n{ROOT_LINE}\n",
        f"origin\n{'9' * 5000}\n{ROOT_LINE}\n",
        f"origin\n1\n{ROOT_LINE[:-1]}\n",
        f"origin\n1\n{ROOT_LINE[:-4]}\n",
        f"origin\n1\nAAAA{ROOT_LINE}\n",
        f"origin\n1\n{ROOT_LINE}\nextension",
        f"origin\n1\n{ROOT_LINE}\n\n",
        f"origin\n1\n{ROOT_LINE}\n\nextension\n",
        f"ori\rgin\n1\n{ROOT_LINE}\n",
    ],
)
def test_what_is_not_a_checkpoint_is_refused(text):
    with pytest.raises(Malformed):
        checkpoint.parse_checkpoint(text.encode())


def test_a_checkpoint_that_is_not_utf_8_is_refused():
    with pytest.raises(Malformed, match="UTF-8"):
        checkpoint.parse_checkpoint(b"\xff" + NOTE.text)


def test_extension_lines_are_kept():
    found = checkpoint.parse_checkpoint(NOTE.text + b"one\ntwo\n")

    assert found.extensions == ("one", "two")


HEAD = "c2sp.org/tlog-proof@v1\n"
TAIL = "\n" + checkpoint.render_note(NOTE).decode()


@pytest.mark.parametrize(
    "text",
    [
        "",
        HEAD,
        HEAD + TAIL,
        "c2sp.org/tlog-proof@v2\nindex 0\n" + TAIL,
        "index 0\n" + TAIL,
        HEAD + "index 00\n" + TAIL,
        HEAD + "index -1\n" + TAIL,
        HEAD + "index \n" + TAIL,
        HEAD + f"index {merkle.LARGEST_SIZE}\n" + TAIL,
        HEAD + "extra \nindex 0\n" + TAIL,
        HEAD + "extra AA==\n" + TAIL,
        HEAD + "extra AB==\nindex 0\n" + TAIL,
        HEAD + "extra AA==\nextra AA==\nindex 0\n" + TAIL,
        HEAD + "index 0\nextra AA==\n" + TAIL,
        HEAD + "index 0\nAAAA\n" + TAIL,
        HEAD + f"index 0\n{ROOT_LINE} \n" + TAIL,
        HEAD + f"index 0\n\n{ROOT_LINE}\n" + TAIL,
        HEAD + "index 0\n",
        HEAD + "index 0\n\n",
        HEAD + "index 0\n" + TAIL[1:],
        HEAD + "index 0\n" + TAIL + "more",
    ],
)
def test_what_is_not_a_proof_is_refused(text):
    with pytest.raises(Malformed):
        checkpoint.parse_proof(text.encode())


# --- The other implementation -----------------------------------------------------

LOG = [b"entry %d" % index for index in range(21)]
TREE, COMPLETED = CompactTree().extend(map(merkle.leaf_hash, LOG))
NODES = {(level, position): value for level, position, value in COMPLETED}


def test_another_implementation_writes_the_same_checkpoint_and_key():
    theirs = other.sign_checkpoint(ORIGIN, 1, ROOT, PRIVATE, ORIGIN)

    assert checkpoint.render_note(NOTE).decode() == theirs
    assert checkpoint.render_key(KEY) == other.vkey(ORIGIN, KEY.public_key)


@pytest.mark.parametrize("index", range(len(LOG)))
def test_another_implementation_believes_our_proof_of_an_entry(index):
    head = Checkpoint(ORIGIN, TREE.size, TREE.root)
    hashes = merkle.plan_inclusion(index, TREE.size).hashes(NODES.__getitem__)
    note = signed(checkpoint.render_checkpoint(head))
    ours = checkpoint.render_proof(LogProof(index, hashes, note)).decode()

    found = other_proof.verify_tlog_proof(
        ours, LOG[index], checkpoint.render_key(KEY), expected_origin=ORIGIN
    )

    assert found["ok"]
    assert ours == other_proof.format_tlog_proof(
        index, list(hashes), checkpoint.render_note(note).decode()
    )
