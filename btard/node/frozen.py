"""Values of the state machine as bytes and back, for the journal: plain CBOR, whitelisted classes, no pickle.

Whoever reads has checked a checksum before; what still does not fit was written by another version.
"""

from __future__ import annotations

import enum
import inspect
from collections.abc import Callable
from types import ModuleType
from typing import Any, Final

import attrs
import cbor2
from rpds import HashTrieMap, HashTrieSet

from btard.node import outstanding
from btard.statemachine import compute, election, events, messages, randomness, state, table
from btard.statemachine.messages import Envelope
from btard.wire import make_envelope

_MODULES: Final[tuple[ModuleType, ...]] = (
    compute,
    election,
    events,
    messages,
    outstanding,
    randomness,
    state,
    table,
)


class FrozenError(ValueError):
    """Bytes that hold no value of this version, or a value that is not to be written."""


def _classes() -> dict[str, type]:
    found = {}
    for module in _MODULES:
        for name, value in vars(module).items():
            own = inspect.isclass(value) and value.__module__ == module.__name__
            if own and (attrs.has(value) or issubclass(value, enum.Enum)):
                found[name] = value
    return found


_CLASSES: Final = _classes()
_FIELDS: Final = {
    name: tuple(field.name for field in attrs.fields(kind))
    for name, kind in _CLASSES.items()
    if attrs.has(kind)
}
_PLAIN: Final = (bool, int, float, str, bytes)

# Every list begins with what it is: a mark of one character, or the name of a class.
_TO_LIST: Final[dict[type, Callable[[Any], list[Any]]]] = {
    tuple: lambda value: ["t", *map(_plain, value)],
    frozenset: lambda value: ["f", *map(_plain, value)],
    HashTrieSet: lambda value: ["s", *map(_plain, value)],
    HashTrieMap: lambda value: ["m", *(_plain(item) for pair in value.items() for item in pair)],
    dict: lambda value: ["d", *(_plain(item) for pair in value.items() for item in pair)],
    Envelope: lambda value: ["e", value.author, value.payload, value.signature],
}


def freeze(value: object) -> bytes:
    """Return the bytes of a value. Raises FrozenError where it holds something that is no value of the core."""
    return cbor2.dumps(_plain(value))


def _plain(value: Any) -> Any:
    kind = type(value)
    if value is None or kind in _PLAIN:
        return value
    if to_list := _TO_LIST.get(kind):
        return to_list(value)
    name = kind.__name__
    if _CLASSES.get(name) is not kind:
        raise FrozenError(f"a {name} is nothing that a journal holds")
    if isinstance(value, enum.Enum):
        return [name, value.value]
    return [name, *(_plain(getattr(value, field)) for field in _FIELDS[name])]


def thaw(data: bytes) -> Any:
    """Return the value that `freeze` wrote. Raises FrozenError where the bytes hold none of this version."""
    try:
        return _value(cbor2.loads(data))
    except FrozenError:
        raise
    except (cbor2.CBORError, ValueError, TypeError, LookupError, RecursionError) as error:
        raise FrozenError(f"no value of this version: {error!r:.200}") from error


def _value(plain: Any) -> Any:
    if plain is None or type(plain) in _PLAIN:
        return plain
    if type(plain) is not list or not plain:
        raise FrozenError(f"a {type(plain).__name__} is nothing that a journal holds")
    mark, *rest = plain
    match mark:
        case "e":
            return make_envelope(*rest)
        case "t":
            return tuple(map(_value, rest))
        case "f":
            return frozenset(map(_value, rest))
        case "s":
            return HashTrieSet(map(_value, rest))
        case "m":
            return HashTrieMap(_pairs(rest))
        case "d":
            return dict(_pairs(rest))
    return _instance(str(mark), rest)


def _pairs(items: list[Any]) -> list[tuple[Any, Any]]:
    return [(_value(items[i]), _value(items[i + 1])) for i in range(0, len(items), 2)]


def _instance(name: str, values: list[Any]) -> Any:
    kind = _CLASSES[name]
    if issubclass(kind, enum.Enum):
        return kind(*values)
    fields = _FIELDS[name]
    if len(values) != len(fields):
        raise FrozenError(f"a {name} has {len(fields)} fields, not {len(values)}")
    return kind(**{field.lstrip("_"): _value(value) for field, value in zip(fields, values, strict=True)})
