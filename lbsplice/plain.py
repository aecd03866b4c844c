"""Values of ours as JSON values, and back: dataclasses, enums, tuples and numbers.

Made for what one release writes and another reads: a field that has its default is left
out, a field that is missing gets its default, a field that is not known is passed over."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, Field, fields, is_dataclass
from enum import Enum
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from lbsplice.errors import LbspliceError

T = TypeVar("T")

_ATOMS = (int, float, str, bool, NoneType)


class PlainError(LbspliceError):
    """A JSON value that is not what it should be."""


def plain(value: Any) -> Any:
    """The JSON value of `value`: an object of a dataclass, a list of a tuple."""
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, _ATOMS):
        return value
    if isinstance(value, tuple):
        return [plain(item) for item in value]
    return {
        name: plain(item)
        for name, default in _fields_of(type(value))
        if (item := getattr(value, name)) != default()
    }


def made(kind: type[T], value: Any) -> T:
    """The value of this type that `plain` wrote. Raises PlainError if it is not one."""
    result: T = _reader(kind)(value)
    return result


_Reader = Callable[[Any], Any]
_Fields = tuple[tuple[str, Callable[[], Any]], ...]
"""The names of a dataclass's fields, and what gives their defaults."""

_known_fields: dict[type[Any], _Fields] = {}
_known_readers: dict[Any, _Reader] = {}


def _fields_of(kind: type[Any]) -> _Fields:
    if kind not in _known_fields:
        _known_fields[kind] = tuple((each.name, _default_of(each)) for each in fields(kind))
    return _known_fields[kind]


def _default_of(field: Field[Any]) -> Callable[[], Any]:
    if field.default_factory is not MISSING:
        return field.default_factory
    return lambda: field.default  # MISSING, which equals nothing, if there is none


def _reader(kind: Any) -> _Reader:
    if kind not in _known_readers:
        _known_readers[kind] = _new_reader(kind)
    return _known_readers[kind]


def _new_reader(kind: Any) -> _Reader:
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return _optional(kind, [each for each in arguments if each is not NoneType])
    if origin is tuple:
        return _tuple(kind, arguments)
    if kind in _ATOMS:
        return _atom(kind)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return _enum(kind)
    if isinstance(kind, type) and is_dataclass(kind):
        return _object(kind)
    raise TypeError(f"{kind} has no JSON form here")


def _wrong(kind: Any, value: Any) -> PlainError:
    return PlainError(f"{str(value)[:80]!r} is no {getattr(kind, '__name__', kind)}")


def _optional(kind: Any, arguments: list[Any]) -> _Reader:
    if len(arguments) != 1:
        raise TypeError(f"{kind} has no JSON form here")
    read = _reader(arguments[0])
    return lambda value: None if value is None else read(value)


def _tuple(kind: Any, arguments: tuple[Any, ...]) -> _Reader:
    if arguments[1:] == (...,):
        each = _reader(arguments[0])

        def read_many(value: Any) -> tuple[Any, ...]:
            if not isinstance(value, list):
                raise _wrong(kind, value)
            return tuple(map(each, value))

        return read_many
    readers = [_reader(argument) for argument in arguments]

    def read_fixed(value: Any) -> tuple[Any, ...]:
        if not isinstance(value, list) or len(value) != len(readers):
            raise _wrong(kind, value)
        return tuple(read(item) for read, item in zip(readers, value, strict=True))

    return read_fixed


def _atom(kind: type[Any]) -> _Reader:
    accepted = (float, int) if kind is float else kind

    def read(value: Any) -> Any:
        if not isinstance(value, accepted) or (isinstance(value, bool) and kind is not bool):
            raise _wrong(kind, value)
        return float(value) if kind is float else value

    return read


def _enum(kind: type[Enum]) -> _Reader:
    def read(value: Any) -> Enum:
        try:
            return kind(value)
        except ValueError:
            raise _wrong(kind, value) from None

    return read


def _object(kind: type[Any]) -> _Reader:
    hints = get_type_hints(kind)
    required = {name for name, default in _fields_of(kind) if default() is MISSING}

    def read(value: Any) -> Any:
        if not isinstance(value, dict) or not required <= value.keys():
            raise _wrong(kind, value)
        return kind(**{name: _reader(hints[name])(value[name]) for name in hints if name in value})

    return read
