"""Values are what `dataclasses` would have made of the same class, and cost less."""

import copy
import dataclasses
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from ca.certificate import Certificate
from ca.values import NamedTuple, dataclass, field, replace

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Point:
    """Two numbers, and more."""

    x: int
    y: int = 7
    names: list[str] = field(default_factory=list)
    secret: str = field(default="s", repr=False)

    def __post_init__(self) -> None:
        if self.x < 0:
            raise ValueError("left of the origin")

    @property
    def sum(self) -> int:
        return self.x + self.y


@dataclass(frozen=True, slots=True)
class Named(Point):
    """One more field than its parent."""

    name: str = ""


@dataclass(frozen=True, slots=True)
class Nothing:
    """No field at all."""


def test_a_value_is_made_by_place_and_by_name():
    assert Point(1).y == 7
    assert Point(1, 2).sum == 3
    assert Point(y=2, x=1) == Point(1, 2)
    assert Named(1, 2, [], "t", "n").name == "n"
    assert Nothing() == Nothing()


@pytest.mark.parametrize(
    "given", [((), {}), ((1,), {"z": 2}), ((1, 2, [], "", 5), {})], ids=str
)
def test_what_does_not_fit_is_refused_as_by_any_function(given):
    by_place, by_name = given

    with pytest.raises(TypeError, match=r"__init__\(\)"):
        Point(*by_place, **by_name)


def test_what_it_may_not_be_is_refused():
    with pytest.raises(ValueError, match="left"):
        Point(-1)


def test_each_value_has_a_default_of_its_own():
    assert Point(1).names is not Point(1).names


def test_nothing_can_be_changed_or_added():
    point = Point(1)

    with pytest.raises(dataclasses.FrozenInstanceError):
        point.x = 2  # type: ignore[misc]
    with pytest.raises(dataclasses.FrozenInstanceError):
        del point.x
    with pytest.raises(dataclasses.FrozenInstanceError):
        point.z = 2  # type: ignore[attr-defined]
    assert not hasattr(point, "__dict__")


def test_values_are_equal_by_class_and_fields():
    assert Point(1, 2) == Point(1, 2)
    assert Point(1, 2) != Point(1, 3)
    assert Point(1, 2) != Named(1, 2)
    assert Point(1) != object()
    assert len({Nothing(), Nothing()}) == 1
    with pytest.raises(TypeError, match="unhashable"):
        hash(Point(1))


def test_a_secret_is_not_shown():
    assert repr(Named(1, 2, [], "hidden", "n")) == "Named(x=1, y=2, names=[], name='n')"


def test_it_is_copied_and_pickled():
    value = Named(1, 2, ["a"], "t", "n")

    assert copy.deepcopy(value) == value
    assert pickle.loads(pickle.dumps(value)) == value  # noqa: S301 ours


def test_dataclasses_takes_it_for_one_of_its_own():
    value = Named(1, 2)

    assert dataclasses.is_dataclass(value)
    assert dataclasses.replace(value, x=5) == replace(value, x=5) == Named(5, 2)
    assert dataclasses.asdict(value)["y"] == 2
    assert [one.name for one in dataclasses.fields(Point)][:2] == ["x", "y"]


def test_it_matches_by_place():
    match Point(1, 2):
        case Point(x, y):
            assert (x, y) == (1, 2)


class Pair(NamedTuple):
    """A tuple whose members have names."""

    left: int
    right: int

    @property
    def width(self) -> int:
        return self.right - self.left


def test_a_tuple_may_have_names():
    pair = Pair(right=5, left=2)

    assert pair == (2, 5)
    assert pair.width == 3
    assert pair._replace(left=4).width == 1
    assert Pair.__doc__ == "A tuple whose members have names."
    assert {pair: 1}[Pair(2, 5)] == 1


def test_there_is_no_other_kind():
    with pytest.raises(TypeError):
        dataclass(frozen=False, slots=True)


def test_the_floor_loads_without_dataclasses():
    floor = "import ca.bundle, ca.checkpoint, ca.leaf, ca.merkle, ca.authorization"
    code = f"import sys; {floor}; print({{'dataclasses', 'typing'}} & set(sys.modules))"

    done = subprocess.run(
        [sys.executable, "-S", "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout == "set()\n"
    assert Certificate.__doc__ is not None
