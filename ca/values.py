"""Frozen values with slots, as `dataclasses` makes them, without loading it.

`dataclasses` and what it imports take as long to load as a Python takes to start, and
each class another half a millisecond: together half of a sign-in on a laptop. Here a
class costs next to nothing until its first value is made; from then on its values are
made as fast as theirs. A type checker sees theirs, and `replace`, `fields` and `asdict`
of `dataclasses` take these values as well.
"""

from collections import namedtuple
from operator import attrgetter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, NoReturn

_FIELDS = "__values__"
_MISSING = object()


class _Field:
    """What a field has besides its name."""

    def __init__(
        self,
        *,
        default: object = _MISSING,
        default_factory: "Callable[[], object] | None" = None,
        repr: bool = True,  # noqa: A002 as theirs
    ) -> None:
        self.default = default
        self.default_factory = default_factory
        self.repr = repr


def _dataclass(*, frozen: bool, slots: bool) -> "Callable[[type], type]":
    """Make values of a class, which are frozen and have slots: there are no others."""
    if not (frozen and slots):
        raise TypeError("values here are frozen and have slots")
    return _make


def _make(cls: type) -> type:
    """Return the class anew: only when it is made can a class have slots."""
    own = {
        name: _field_of(cls.__dict__.get(name, _MISSING))
        for name in cls.__annotations__
    }
    fields = {**getattr(cls, _FIELDS, {}), **own}
    dropped = {*own, "__dict__", "__weakref__"}
    members = {n: v for n, v in cls.__dict__.items() if n not in dropped}
    members |= {
        _FIELDS: fields,
        "__slots__": tuple(own),
        "__match_args__": tuple(fields),
        "__dataclass_fields__": _DataclassFields(),
        "__init__": _first_init,
        "__setattr__": _refuse,
        "__delattr__": _refuse,
        "__reduce__": _reduce,
        "__repr__": _repr,
    }
    members |= _comparison(tuple(fields))
    made = type(cls)(cls.__name__, cls.__bases__, members)
    made.__qualname__ = cls.__qualname__
    return made


def _field_of(given: object) -> _Field:
    return given if isinstance(given, _Field) else _Field(default=given)


def _first_init(self: object, *given: object, **named: object) -> None:
    """Write the real `__init__`, now that there is a value to make, and run it."""
    cls = next(cls for cls in type(self).__mro__ if _FIELDS in cls.__dict__)
    init = _write_init(cls, cls.__dict__[_FIELDS])
    cls.__init__ = init  # type: ignore[misc]  # once, for all values that follow
    init(self, *given, **named)


def _write_init(cls: type, fields: "Mapping[str, _Field]") -> "Callable[..., None]":
    """Return an `__init__` with a parameter for each field, as one would write it."""
    known: dict[str, object] = {"_MISSING": _MISSING}
    parameters, lines = [], []
    for name, of in fields.items():
        # A slot's own way in; the class's `__setattr__` refuses.
        known[f"_set_{name}"] = getattr(cls, name).__set__
        value = name
        if of.default_factory is not None:
            known[f"_new_{name}"] = of.default_factory
            value = f"_new_{name}() if {name} is _MISSING else {name}"
            parameters.append(f"{name}=_MISSING")
        elif of.default is not _MISSING:
            known[f"_default_{name}"] = of.default
            parameters.append(f"{name}=_default_{name}")
        else:
            parameters.append(name)
        lines.append(f"_set_{name}(self, {value})")
    if hasattr(cls, "__post_init__"):
        lines.append("self.__post_init__()")
    body = "\n    ".join(lines or ["pass"])
    # From names of fields alone, which are identifiers.
    exec(f"def __init__(self, {', '.join(parameters)}):\n    {body}", known)  # noqa: S102
    init: Callable[..., None] = known["__init__"]  # type: ignore[assignment]
    init.__annotations__ = {n: cls.__annotations__.get(n, object) for n in fields}
    return init


def _comparison(names: tuple[str, ...]) -> "dict[str, object]":
    """Return how values of these fields compare: by all of them, within one class."""
    read = attrgetter(*names) if names else (lambda _: ())

    def __eq__(self: object, other: object) -> bool:  # noqa: N807 it becomes a method
        if other.__class__ is not self.__class__:
            return NotImplemented
        return bool(read(self) == read(other))

    def __hash__(self: object) -> int:  # noqa: N807 as above
        return hash(read(self))

    return {"__eq__": __eq__, "__hash__": __hash__}


def _repr(self: object) -> str:
    cls = type(self)
    fields: Mapping[str, _Field] = getattr(cls, _FIELDS)
    shown = (f"{n}={getattr(self, n)!r}" for n, of in fields.items() if of.repr)
    return f"{cls.__qualname__}({', '.join(shown)})"


def _reduce(self: object) -> "tuple[type, tuple[object, ...]]":
    """Copy and pickle by making the value again."""
    cls = type(self)
    return cls, tuple(getattr(self, name) for name in getattr(cls, _FIELDS))


def _refuse(_self: object, name: str, *_: object) -> "NoReturn":
    from dataclasses import FrozenInstanceError  # noqa: PLC0415 see above

    raise FrozenInstanceError(f"cannot change the field {name!r}")


class _DataclassFields:
    """What `dataclasses` looks for in a class of its own, made when it does."""

    def __get__(self, _: object, cls: type) -> "dict[str, Any]":
        from dataclasses import field, make_dataclass  # noqa: PLC0415 see above

        fields: Mapping[str, _Field] = getattr(cls, _FIELDS)
        of_theirs = [(name, object, field(repr=of.repr)) for name, of in fields.items()]
        made: Any = make_dataclass(cls.__name__, of_theirs)
        found: dict[str, Any] = made.__dataclass_fields__
        return found


class _NamedTupleMeta(type):
    """Makes of a class with annotations a tuple with names, as `typing` does."""

    def __new__(
        cls, name: str, _: "tuple[type, ...]", members: "dict[str, object]"
    ) -> "type[tuple[object, ...]]":
        names = list(type.__new__(type, name, (), dict(members)).__annotations__)
        made: type[tuple[object, ...]] = namedtuple(name, names)  # type: ignore[misc]  # noqa: PYI024 it is what this is for
        for member, value in members.items():
            setattr(made, member, value)
        return made


def _replace(value: object, /, **changes: object) -> object:
    """Return the same value but for these fields."""
    cls = type(value)
    same = {name: getattr(value, name) for name in getattr(cls, _FIELDS)}
    return cls(**same | changes)


if TYPE_CHECKING:
    from dataclasses import dataclass, field, replace
    from typing import NamedTuple
else:
    dataclass, field, replace = _dataclass, _Field, _replace
    NamedTuple = type.__new__(_NamedTupleMeta, "NamedTuple", (), {})

__all__ = ["NamedTuple", "dataclass", "field", "replace"]
