"""Options that a flag or an environment variable sets: `--delta-ms 50`, or BTARD_DELTA_MS=50."""

from __future__ import annotations

import argparse
import math
import os
import shlex
import tomllib
from collections.abc import Callable, Sequence
from typing import Any, Final

from btard.genesis import OptionValue
from btard.genesis_problems import is_option_name

Kind = Callable[[str], Any]
"""Makes a value from its text; raises ValueError or argparse.ArgumentTypeError."""

Parser = argparse.ArgumentParser | argparse._ArgumentGroup

_YES: Final = ("1", "true", "yes", "on")
_NO: Final = ("0", "false", "no", "off", "")


def variable(flag: str) -> str:
    """Return the environment variable that stands for a flag: BTARD_DELTA_MS for --delta-ms."""
    return "BTARD_" + flag.removeprefix("--").replace("-", "_").upper()


def add_option(
    parser: Parser,
    flag: str,
    meaning: str,
    kind: Kind = str,
    default: Any = None,
    required: bool = False,
    metavar: str | None = None,
    dest: str | None = None,
) -> None:
    """Add an option with one value; the flag goes before the variable, and that before the default."""
    text = _Variable.get(flag)
    parser.add_argument(
        flag,
        type=_reader(kind),
        default=default if text is None else text,
        required=required and text is None,
        metavar=metavar,
        dest=dest or flag.removeprefix("--").replace("-", "_"),
        help=_help(meaning, None if default is None else f"default {default}", variable(flag)),
    )


def add_several(
    parser: Parser,
    flag: str,
    meaning: str,
    kind: Kind = str,
    required: bool = False,
    metavar: str | None = None,
) -> None:
    """Add an option that may be given again and again, as a list; its variable holds a shell-like list."""
    text = _Variable.get(flag)
    parser.add_argument(
        flag,
        type=_reader(kind, several=True),
        action=_Extend,
        default=[] if text is None else text,
        required=required and text is None,
        metavar=metavar,
        help=_help(meaning, "repeatable", f"{variable(flag)}, separated by spaces"),
    )


def add_switch(parser: Parser, flag: str, meaning: str) -> None:
    """Add an option that is on where its flag is given or its variable says yes."""
    text = _Variable.get(flag)
    parser.add_argument(
        flag,
        action=_SwitchOn,
        nargs=0,
        type=_reader(truth),
        default=False if text is None else text,
        help=_help(meaning, f"{variable(flag)}=yes"),
    )


def truth(text: str) -> bool:
    """Return what yes and no, in their usual spellings, mean; raise ArgumentTypeError for any other text."""
    if text.lower() not in (*_YES, *_NO):
        raise argparse.ArgumentTypeError(f"{text!r} is neither yes nor no")
    return text.lower() in _YES


def task_option(text: str) -> tuple[str, OptionValue]:
    """Return key and value of KEY=VALUE; the value is a number or truth value as in TOML, else text."""
    key, equals, value = text.partition("=")
    if not equals or not is_option_name(key):
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=VALUE with a KEY that a task may have")
    try:
        (parsed,) = tomllib.loads(f"value = {value}").values()
    except ValueError:
        return key, value
    return key, parsed if isinstance(parsed, bool | int | float | str) else value


def not_negative(text: str) -> float:
    """Return a finite number from 0 on; raise ArgumentTypeError for what is none."""
    value = float(text)
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 0 on")
    return value


def positive(text: str) -> float:
    """Return a positive number; raise ArgumentTypeError for what is none."""
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no positive number")
    return value


def threads(text: str) -> int:
    """Return a number of threads; raise ArgumentTypeError for what is none."""
    if not (text.isdecimal() and 1 <= int(text[:9]) <= 1024):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of threads from 1 to 1024")
    return int(text)


def one_of(*choices: str) -> Kind:
    """Return a kind of option that admits these texts only, from a flag and from a variable alike."""

    def choice(text: str) -> str:
        if text not in choices:
            raise argparse.ArgumentTypeError(f"{text!r} is not one of {', '.join(choices)}")
        return text

    return choice


class _Variable(str):
    """The text of an environment variable; argparse passes a default that is text through ``type``."""

    name: str

    @classmethod
    def get(cls, flag: str) -> _Variable | None:
        text = os.environ.get(variable(flag))
        if text is None:
            return None
        found = cls(text)
        found.name = variable(flag)
        return found


def _reader(kind: Kind, several: bool = False) -> Kind:
    """Return a kind that also takes variables, and names them where their text is wrong."""

    def read(text: str) -> Any:
        if not isinstance(text, _Variable):
            return kind(text)
        try:
            return [kind(word) for word in shlex.split(text)] if several else kind(str(text))
        except argparse.ArgumentTypeError as error:
            raise argparse.ArgumentTypeError(f"from {text.name}: {error}") from error
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"from {text.name}: invalid value: {str(text)!r}") from error

    read.__name__ = getattr(kind, "__name__", "option")  # argparse says "invalid int value"
    return read


def _help(*parts: str | None) -> str:
    meaning, *notes = (part.replace("%", "%%") for part in parts if part is not None)
    return f"{meaning} [{'; '.join(notes)}]"


class _Extend(argparse.Action):
    """Collects the values of a repeated flag; the first one puts the default aside."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        collected = getattr(namespace, self.dest)
        setattr(namespace, self.dest, [*([] if collected is self.default else collected), values])


class _SwitchOn(argparse.Action):
    """Sets True; unlike argparse's own, it lets the default be a text."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        setattr(namespace, self.dest, True)
