"""Trees and proofs are those of RFC 6962, and no other proof is believed.

Judged by the definition in the RFC, written down naively here; by vectors of the
Certificate Transparency and Go projects; and by proofbundle, which shares no code with
us.
"""

import hashlib
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st
from proofbundle import merkle as other

from ca import merkle
from ca.errors import Malformed
from ca.merkle import CompactTree, HashedNode, Node

ALL_SIZES = 200
LARGE = 5_000

ENTRIES = [b"entry %d" % index for index in range(LARGE)]
LEAVES = [merkle.leaf_hash(entry) for entry in ENTRIES]


# --- The definition, RFC 6962 section 2.1 -----------------------------------------


@cache
def mth(start: int, end: int) -> bytes:
    if end - start == 1:
        return LEAVES[start]
    middle = start + split(end - start)
    return merkle.node_hash(mth(start, middle), mth(middle, end))


def path(m: int, start: int, end: int) -> list[bytes]:
    n = end - start
    if n == 1:
        return []
    k = split(n)
    if m < k:
        return [*path(m, start, start + k), mth(start + k, end)]
    return [*path(m - k, start + k, end), mth(start, start + k)]


def subproof(m: int, start: int, end: int, *, b: bool) -> list[bytes]:
    n = end - start
    if m == n:
        return [] if b else [mth(start, end)]
    k = split(n)
    if m <= k:
        return [*subproof(m, start, start + k, b=b), mth(start + k, end)]
    return [*subproof(m - k, start + k, end, b=False), mth(start, start + k)]


def split(n: int) -> int:
    k = 1
    while k * 2 < n:
        k *= 2
    return k


# --- What a log has ---------------------------------------------------------------


def grow(leaf_hashes) -> tuple[CompactTree, dict[tuple[int, int], bytes]]:
    tree, completed = CompactTree().extend(leaf_hashes)
    return tree, {(level, position): value for level, position, value in completed}


_, NODES = grow(LEAVES)


def inclusion(index, size):
    return merkle.plan_inclusion(index, size).hashes(NODES.__getitem__)


def consistency(old_size, new_size):
    return merkle.plan_consistency(old_size, new_size).hashes(NODES.__getitem__)


def root(size):
    return mth(0, size) if size else merkle.EMPTY_ROOT


SIZES = st.integers(1, LARGE)
PLACES = SIZES.flatmap(lambda size: st.tuples(st.integers(0, size - 1), st.just(size)))
GROWTHS = SIZES.flatmap(lambda size: st.tuples(st.integers(1, size), st.just(size)))


# --- Made as defined --------------------------------------------------------------


def test_every_root_and_every_inclusion_proof_is_as_defined():
    for size in range(1, ALL_SIZES):
        assert merkle.plan_root(size).hashes(NODES.__getitem__) == (mth(0, size),)
        for index in range(size):
            proof = inclusion(index, size)
            assert list(proof) == path(index, 0, size)
            merkle.verify_inclusion(LEAVES[index], index, size, proof, mth(0, size))


def test_every_consistency_proof_is_as_defined():
    for new in range(1, ALL_SIZES):
        for old in range(1, new + 1):
            proof = consistency(old, new)
            assert list(proof) == subproof(old, 0, new, b=True)
            merkle.verify_consistency(old, mth(0, old), new, mth(0, new), proof)


@given(PLACES)
def test_inclusion_proofs_in_large_trees_are_as_defined(place):
    index, size = place

    proof = inclusion(index, size)

    assert list(proof) == path(index, 0, size)
    merkle.verify_inclusion(LEAVES[index], index, size, proof, mth(0, size))


@given(GROWTHS)
def test_consistency_proofs_between_large_trees_are_as_defined(growth):
    old, new = growth

    proof = consistency(old, new)

    assert list(proof) == subproof(old, 0, new, b=True)
    merkle.verify_consistency(old, mth(0, old), new, mth(0, new), proof)


def test_the_root_of_nothing_is_the_hash_of_nothing():
    assert CompactTree().root == merkle.EMPTY_ROOT
    assert merkle.plan_root(0).hashes(NODES.__getitem__) == (merkle.EMPTY_ROOT,)


@given(st.integers(0, 600), st.integers(0, 600))
def test_a_tree_may_grow_in_any_steps(one, other):
    first, second = sorted((one, other))
    tree, completed = CompactTree().extend(LEAVES[:first])
    tree, more = tree.extend(LEAVES[first:second])

    assert tree.root == root(second)
    assert tree.size == second
    assert completed + more == CompactTree().extend(LEAVES[:second])[1]


@given(st.integers(0, LARGE))
def test_a_tree_is_taken_up_again_from_its_nodes(size):
    edge = tuple(NODES[node] for node in merkle.plan_root(size).nodes)

    tree, _ = CompactTree(size, edge).extend(LEAVES[size : size + 100])

    assert tree.root == root(min(size + 100, LARGE))


def test_each_node_is_completed_once_by_its_last_entry():
    tree = CompactTree()
    for size in range(1, ALL_SIZES):
        tree, completed = tree.extend([LEAVES[size - 1]])
        levels = range((size & -size).bit_length())
        assert completed == [
            HashedNode(level, (size >> level) - 1, mth(size - (1 << level), size))
            for level in levels
        ]


@given(PLACES, GROWTHS)
def test_a_plan_takes_each_node_once_and_only_nodes_of_its_tree(place, growth):
    plans = [
        (merkle.plan_root(place[1]), place[1]),
        (merkle.plan_inclusion(*place), place[1]),
        (merkle.plan_consistency(*growth), growth[1]),
    ]

    for plan, size in plans:
        assert len(set(plan.nodes)) == len(plan.nodes)
        assert all((n.position + 1) << n.level <= size for n in plan.nodes)
        assert len(plan.nodes) <= 2 * size.bit_length()


def test_a_tree_too_large_to_store_is_planned_at_once():
    plan = merkle.plan_inclusion(12345678901234567, merkle.LARGEST_SIZE)

    assert len(plan.nodes) <= 2 * 63


# --- Nothing else is believed -----------------------------------------------------


def flipped(value, bit):
    return (int.from_bytes(value) ^ 1 << bit).to_bytes(len(value))


def damaged(proof, bit):
    """Return the proof with one bit flipped, without one hash, and with one more."""
    at, bit = divmod(bit % (256 * len(proof)), 256) if proof else (0, 0)
    proof = list(proof)
    other = merkle.leaf_hash(b"other")
    results = [[*proof, other], [other, *proof], [*proof, merkle.EMPTY_ROOT]]
    if proof:
        results += [
            [*proof[:at], flipped(proof[at], bit), *proof[at + 1 :]],
            [*proof[:at], *proof[at + 1 :]],
            [*proof[:at], proof[at], *proof[at:]],
            [*proof[:at], proof[at][:-1], *proof[at + 1 :]],
            [*proof[:at], proof[at] + b"\0", *proof[at + 1 :]],
        ]
    return results


def is_refused(verify, *arguments):
    with pytest.raises(Malformed):
        verify(*arguments)


def test_any_flipped_bit_in_any_proof_is_refused():
    for size in range(1, 10):
        for index in range(size):
            proof = inclusion(index, size)
            for bit in range(256 * len(proof)):
                at = bit // 256
                hashes = [*proof]
                hashes[at] = flipped(hashes[at], bit % 256)
                arguments = (LEAVES[index], index, size, hashes, mth(0, size))
                is_refused(merkle.verify_inclusion, *arguments)


def test_any_flipped_bit_in_any_consistency_proof_is_refused():
    for new in range(1, 10):
        for old in range(1, new + 1):
            proof = consistency(old, new)
            for bit in range(256 * len(proof)):
                at = bit // 256
                hashes = [*proof]
                hashes[at] = flipped(hashes[at], bit % 256)
                arguments = (old, mth(0, old), new, mth(0, new), hashes)
                is_refused(merkle.verify_consistency, *arguments)


@given(PLACES, st.integers(0))
def test_a_damaged_inclusion_proof_is_refused(place, bit):
    index, size = place
    for proof in damaged(inclusion(index, size), bit):
        arguments = (LEAVES[index], index, size, proof, mth(0, size))
        is_refused(merkle.verify_inclusion, *arguments)


@given(PLACES, st.integers(0, 255), st.data())
def test_an_inclusion_proof_holds_for_one_leaf_one_place_one_root(place, bit, data):
    index, size = place
    elsewhere = data.draw(st.integers(0, size))
    leaf, proof, top = LEAVES[index], inclusion(index, size), mth(0, size)

    is_refused(merkle.verify_inclusion, flipped(leaf, bit), index, size, proof, top)
    is_refused(merkle.verify_inclusion, leaf, index, size, proof, flipped(top, bit))
    if elsewhere != index:
        is_refused(merkle.verify_inclusion, leaf, elsewhere, size, proof, top)


@given(GROWTHS, st.integers(0))
def test_a_damaged_consistency_proof_is_refused(growth, bit):
    old, new = growth
    for proof in damaged(consistency(old, new), bit):
        arguments = (old, mth(0, old), new, mth(0, new), proof)
        is_refused(merkle.verify_consistency, *arguments)


@given(GROWTHS, st.integers(0, 255))
def test_a_consistency_proof_holds_for_its_two_roots(growth, bit):
    old, new = growth
    proof = consistency(old, new)
    first, second = mth(0, old), mth(0, new)

    is_refused(merkle.verify_consistency, old, flipped(first, bit), new, second, proof)
    is_refused(merkle.verify_consistency, old, first, new, flipped(second, bit), proof)


@given(st.integers(2, 600), st.data())
def test_a_fork_has_no_proof_made_from_either_side(new, data):
    old = data.draw(st.integers(1, new - 1))
    changed = data.draw(st.integers(0, old - 1))
    leaves = [
        *LEAVES[:changed],
        merkle.leaf_hash(b"forged"),
        *LEAVES[changed + 1 : new],
    ]
    forged, nodes = grow(leaves)
    theirs = merkle.plan_consistency(old, new).hashes(nodes.__getitem__)

    for proof in (theirs, consistency(old, new)):
        arguments = (old, mth(0, old), new, forged.root, proof)
        is_refused(merkle.verify_consistency, *arguments)


@given(
    st.binary(min_size=32, max_size=32),
    st.integers(-1, 40),
    st.integers(-1, 40),
    st.lists(st.binary(min_size=31, max_size=33), max_size=7),
)
def test_any_proof_is_verified_or_malformed(value, one, other, proof):
    is_refused(merkle.verify_inclusion, value, one, other, proof, b"\1" * 32)
    is_refused(merkle.verify_consistency, one, value, other, b"\1" * 32, proof)


def test_a_node_does_not_pass_as_an_entry():
    # The second preimage that the prefixes prevent (RFC 6962 section 2.1).
    entry = LEAVES[0] + LEAVES[1]

    assert merkle.leaf_hash(entry) != merkle.node_hash(LEAVES[0], LEAVES[1])


def test_a_border_between_two_hashes_cannot_be_shifted():
    proof, top = inclusion(0, 2), mth(0, 2)
    left, right = LEAVES[0][:-1], LEAVES[0][-1:] + proof[0]

    assert merkle.node_hash(left, right) == top
    with pytest.raises(Malformed, match="not 32 bytes"):
        merkle.verify_inclusion(left, 0, 2, [right], top)
    with pytest.raises(Malformed, match="not 32 bytes"):
        merkle.verify_consistency(1, left, 2, top, [right])


def test_an_entry_beyond_the_size_is_not_proved_by_a_larger_tree():
    with pytest.raises(Malformed, match="entry 3 is not in a tree of size 3"):
        merkle.verify_inclusion(LEAVES[3], 3, 3, inclusion(3, 4), mth(0, 4))


def test_a_tree_does_not_shrink_and_keep_its_root():
    with pytest.raises(Malformed, match="cannot grow"):
        merkle.verify_consistency(4, mth(0, 4), 3, mth(0, 4), [])


def test_every_tree_extends_the_empty_one_without_a_proof():
    merkle.verify_consistency(0, merkle.EMPTY_ROOT, 5, mth(0, 5), [])
    merkle.verify_consistency(0, merkle.EMPTY_ROOT, 0, merkle.EMPTY_ROOT, [])

    assert consistency(0, 5) == ()
    is_refused(merkle.verify_consistency, 0, mth(0, 1), 5, mth(0, 5), [])
    is_refused(merkle.verify_consistency, 0, merkle.EMPTY_ROOT, 0, mth(0, 1), [])
    is_refused(
        merkle.verify_consistency, 0, merkle.EMPTY_ROOT, 5, mth(0, 5), [mth(0, 5)]
    )


def test_at_one_size_there_is_one_root():
    merkle.verify_consistency(5, mth(0, 5), 5, mth(0, 5), [])

    with pytest.raises(Malformed, match="not consistent"):
        merkle.verify_consistency(5, mth(0, 5), 5, mth(1, 6), [])


@pytest.mark.parametrize(("index", "size"), [(5, 5), (0, 0), (-1, 5), (0, 1 << 63)])
def test_there_is_no_proof_for_an_entry_that_is_not_there(index, size):
    with pytest.raises(Malformed, match=r"is not in a tree|no tree of size"):
        merkle.plan_inclusion(index, size)


@pytest.mark.parametrize(("old", "new"), [(6, 5), (-1, 5), (1, 1 << 63)])
def test_a_tree_never_shrinks(old, new):
    with pytest.raises(Malformed, match=r"cannot grow|no tree of size"):
        merkle.plan_consistency(old, new)


@pytest.mark.parametrize("size", [-1, 1 << 63])
def test_there_is_no_root_of_a_size_that_is_none(size):
    with pytest.raises(Malformed, match="no tree of size"):
        merkle.plan_root(size)


@pytest.mark.parametrize(
    ("size", "edge"),
    [
        (1, ()),
        (0, (LEAVES[0],)),
        (3, (LEAVES[0],)),
        (1, (b"short",)),
        (-1, (LEAVES[0],)),
    ],
)
def test_an_edge_that_does_not_fit_its_size_is_refused(size, edge):
    with pytest.raises(Malformed):
        CompactTree(size, edge)


# --- Known answers ----------------------------------------------------------------

# The test data of Certificate Transparency (google/certificate-transparency,
# merkletree/merkle_tree_test.cc), which other implementations test with too.
CT_ENTRIES = [
    bytes.fromhex(data)
    for data in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
CT_ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
_, CT_NODES = grow(map(merkle.leaf_hash, CT_ENTRIES))


@pytest.mark.parametrize("size", range(9))
def test_the_roots_are_those_of_certificate_transparency(size):
    (made,) = merkle.plan_root(size).hashes(CT_NODES.__getitem__)

    assert made.hex() == CT_ROOTS[size]


@pytest.mark.parametrize(
    ("index", "size", "begins"),
    [
        (0, 1, []),
        (0, 8, ["96a296d2", "5f083f0a", "6b47aaf2"]),
        (5, 8, ["bc1a0643", "ca854ea1", "d37ee418"]),
        (2, 3, ["fac54203"]),
        (1, 5, ["6e340b9c", "5f083f0a", "bc1a0643"]),
    ],
)
def test_inclusion_proofs_are_those_of_certificate_transparency(index, size, begins):
    proof = merkle.plan_inclusion(index, size).hashes(CT_NODES.__getitem__)

    assert [value.hex()[:8] for value in proof] == begins


@pytest.mark.parametrize(
    ("old", "new", "begins"),
    [
        (1, 1, []),
        (1, 8, ["96a296d2", "5f083f0a", "6b47aaf2"]),
        (6, 8, ["0ebc5d34", "ca854ea1", "d37ee418"]),
        (2, 5, ["5f083f0a", "bc1a0643"]),
    ],
)
def test_consistency_proofs_are_those_of_certificate_transparency(old, new, begins):
    proof = merkle.plan_consistency(old, new).hashes(CT_NODES.__getitem__)

    assert [value.hex()[:8] for value in proof] == begins


# Made with golang.org/x/mod v0.42.0, package sumdb/tlog, the reference of tlog-tiles:
# SHA-256 over all roots of, and all proofs in and between, the sizes from 1 to 200.
GO_SIZES = range(1, 201)
GO_ROOTS = "b9773ff5c2381eb36306ac760115fee9a216df6cfdb64369a7c503f0585df7ec"
GO_INCLUSION = "64e6e04389267fe11f4eff0986bd1734aca0a2f8097f3774819caf79d69f86f7"
GO_CONSISTENCY = "7a1d31b7954041cc8520f79f23418256c921a3231474e56f140c9aafd0d6bf9b"


def digest(plans):
    hashes = (value for p in plans for value in p.hashes(NODES.__getitem__))
    return hashlib.sha256(b"".join(hashes)).hexdigest()


def test_all_roots_and_proofs_of_200_trees_are_those_of_go():
    inclusions = (merkle.plan_inclusion(i, n) for n in GO_SIZES for i in range(n))
    growths = ((old, new) for new in GO_SIZES for old in range(1, new + 1))

    assert digest(map(merkle.plan_root, GO_SIZES)) == GO_ROOTS
    assert digest(inclusions) == GO_INCLUSION
    assert digest(merkle.plan_consistency(*growth) for growth in growths) == (
        GO_CONSISTENCY
    )


# --- The other implementation -----------------------------------------------------


@given(PLACES)
def test_another_implementation_verifies_our_inclusion_proofs(place):
    index, size = place
    proof = list(inclusion(index, size))

    assert other.verify_inclusion(ENTRIES[index], index, size, proof, mth(0, size))


@given(GROWTHS)
def test_another_implementation_verifies_our_consistency_proofs(growth):
    old, new = growth
    proof = list(consistency(old, new))

    assert other.verify_consistency(old, new, proof, mth(0, old), mth(0, new))


def believed(verify, *arguments):
    try:
        verify(*arguments)
    except Malformed:
        return False
    return True


@given(
    st.integers(1, 70),
    st.integers(1, 70),
    st.integers(0, 70),
    st.data(),
)
def test_we_believe_what_another_implementation_believes(size, claimed, index, data):
    # A proof also holds for some wrong sizes, in RFC 6962 as such: which is why size
    # and root must come from one checkpoint. We accept no other ones of them.
    proof = list(inclusion(data.draw(st.integers(0, size - 1)), size))
    top, entry = mth(0, size), ENTRIES[index]

    ours = believed(merkle.verify_inclusion, LEAVES[index], index, claimed, proof, top)

    assert ours == other.verify_inclusion(entry, index, claimed, proof, top)


@given(st.integers(1, 70), st.integers(1, 70), st.integers(1, 70), st.data())
def test_we_believe_no_growth_that_another_does_not(new, claimed_old, claimed, data):
    old = data.draw(st.integers(1, new))
    proof = list(consistency(old, new))
    roots = mth(0, old), mth(0, new)

    ours = believed(
        merkle.verify_consistency, claimed_old, roots[0], claimed, roots[1], proof
    )

    assert ours == other.verify_consistency(claimed_old, claimed, proof, *roots)


def test_rows_of_a_store_are_found_by_plain_pairs():
    assert NODES[Node(1, 0)] == NODES[1, 0] == mth(0, 2)
