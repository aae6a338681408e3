"""As much of CDDL (RFC 8610) as `spec/messages.cddl` uses: parse it, match plain data, draw what matches."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cbor2
from hypothesis import strategies as st

_TOKEN = re.compile(r'\s*(?:("[^"]*")|(\d+)\.\.(\d+)|(\d+)|(\.size|\.cbor)|([A-Za-z][\w-]*)|([=/,:*()\[\]{}]))')


@dataclass(frozen=True)
class Text:
    """Exactly this text."""

    value: str


@dataclass(frozen=True)
class Range:
    """An integer in low..high."""

    low: int
    high: int


@dataclass(frozen=True)
class Octets:
    """A byte string: of ``size`` bytes, or that encodes ``inner``, or any."""

    size: int | None = None
    inner: Any = None


@dataclass(frozen=True)
class Name:
    """Another rule, or ``null``."""

    name: str


@dataclass(frozen=True)
class Choice:
    """Any of these."""

    options: tuple[Any, ...]


@dataclass(frozen=True)
class Entry:
    """One place of a container; ``key`` is None for a bare type or group."""

    key: str | None
    many: bool
    type: Any


@dataclass(frozen=True)
class Container:
    """``[`` an array, ``{`` a map or ``(`` a group."""

    bracket: str
    entries: tuple[Entry, ...]


class _Parser:
    def __init__(self, text: str) -> None:
        self.tokens: list[Any] = []
        text = re.sub(r";[^\n]*", "", text).rstrip()
        position = 0
        while position < len(text):
            found = _TOKEN.match(text, position)
            if found is None:
                raise ValueError(f"not understood: {text[position : position + 40]!r}")
            string, low, high, number, control, name, sign = found.groups()
            if string:
                self.tokens.append(Text(string[1:-1]))
            elif low:
                self.tokens.append(Range(int(low), int(high)))
            elif number:
                self.tokens.append(int(number))
            else:
                self.tokens.append(Name(name) if name else control or sign)
            position = found.end()

    def peek(self, ahead: int = 0) -> Any:
        return self.tokens[ahead] if len(self.tokens) > ahead else None

    def take(self, expected: Any = None) -> Any:
        token = self.tokens.pop(0)
        if expected is not None and token != expected:
            raise ValueError(f"{expected!r} expected, not {token!r}")
        return token

    def rules(self) -> dict[str, Any]:
        rules: dict[str, Any] = {}
        while self.tokens:
            name = self.take()
            self.take("=")
            if name.name in rules:
                raise ValueError(f"two rules for {name.name}")
            rules[name.name] = self.type()
        return rules

    def type(self) -> Any:
        options = [self.single()]
        while self.peek() == "/":
            self.take()
            options.append(self.single())
        return options[0] if len(options) == 1 else Choice(tuple(options))

    def single(self) -> Any:
        token = self.take()
        if token in ("[", "{", "("):
            return Container(token, self.entries({"[": "]", "{": "}", "(": ")"}[token]))
        if token == Name("bstr"):
            if self.peek() == ".size":
                self.take()
                return Octets(size=self.take())
            if self.peek() == ".cbor":
                self.take()
                return Octets(inner=self.take())
            return Octets()
        if isinstance(token, Text | Range | Name):
            return token
        raise ValueError(f"no type: {token!r}")

    def entries(self, closing: str) -> tuple[Entry, ...]:
        entries = []
        while self.peek() != closing:
            many = self.peek() == "*"
            if many:
                self.take()
            key = None
            if self.peek(1) == ":":
                key = self.take().name
                self.take(":")
            entries.append(Entry(key, many, self.type()))
            if self.peek() != closing:
                self.take(",")
        self.take(closing)
        return tuple(entries)


class Schema:
    """The rules of one CDDL file."""

    def __init__(self, path: Path) -> None:
        self.rules: dict[str, Any] = _Parser(path.read_text("utf-8")).rules()

    def resolve(self, type_: Any) -> Any:
        """Follow names until there is something else; ``null`` and ``bool`` stay names."""
        while isinstance(type_, Name) and type_.name not in ("null", "bool"):
            type_ = self.rules[type_.name]
        return type_

    def fields(self, container: Container) -> tuple[Entry, ...]:
        """Return a container's entries, groups expanded."""
        entries: list[Entry] = []
        for entry in container.entries:
            inner = self.resolve(entry.type)
            if isinstance(inner, Container) and inner.bracket == "(":
                entries += self.fields(inner)
            else:
                entries.append(entry)
        return tuple(entries)

    def matches(self, type_: Any, value: Any) -> bool:
        """Whether plain CBOR data is of a type."""
        match self.resolve(type_):
            case Text(text):
                return type(value) is str and value == text
            case Range(low, high):
                return type(value) is int and low <= value <= high
            case Name("null"):
                return value is None
            case Name("bool"):
                return type(value) is bool
            case Octets(size, inner):
                right = type(value) is bytes and size in (None, len(value))
                return right and (inner is None or self.matches(inner, cbor2.loads(value)))
            case Choice(options):
                return any(self.matches(option, value) for option in options)
            case Container("{") as container:
                wanted = {entry.key: entry.type for entry in self.fields(container)}
                right = type(value) is dict and value.keys() == wanted.keys()
                return right and all(self.matches(wanted[key], value[key]) for key in wanted)
            case Container("[") as container:
                return type(value) is list and self._matches_array(self.fields(container), value)
        raise ValueError(f"no type of a value: {type_}")

    def _matches_array(self, entries: tuple[Entry, ...], values: list[Any]) -> bool:
        if len(entries) == 1 and entries[0].many:
            return all(self.matches(entries[0].type, value) for value in values)
        return len(entries) == len(values) and all(
            self.matches(entry.type, value) for entry, value in zip(entries, values, strict=True)
        )

    def values(self, type_: Any) -> st.SearchStrategy[Any]:
        """Draw plain CBOR data of a type; byte strings with ``.cbor`` hold canonical encodings."""
        match self.resolve(type_):
            case Text(text):
                return st.just(text)
            case Range(low, high):
                return st.integers(low, high)
            case Name("null"):
                return st.none()
            case Name("bool"):
                return st.booleans()
            case Octets(_, inner) if inner is not None:
                return self.values(inner).map(lambda value: cbor2.dumps(value, canonical=True))
            case Octets(size, _):
                return st.binary(min_size=size or 0, max_size=40 if size is None else size)
            case Choice(options):
                return st.one_of([self.values(option) for option in options])
            case Container("{") as container:
                return st.fixed_dictionaries(
                    {entry.key: self.values(entry.type) for entry in self.fields(container)}
                )
            case Container("[") as container:
                entries = self.fields(container)
                if len(entries) == 1 and entries[0].many:
                    return st.lists(self.values(entries[0].type), max_size=3)
                return st.tuples(*(self.values(entry.type) for entry in entries)).map(list)
        raise ValueError(f"no type of a value: {type_}")
