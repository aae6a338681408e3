"""Which attack a command line means: ``NAME[@STEP][:KEY=VALUE,...]``."""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from attrs import frozen

from btard.errors import BtardError

if TYPE_CHECKING:
    from btard.attacks.base import Attack

BUILT_IN: Final = {
    "sign_flip": ("btard.attacks.sign_flip", "SignFlip"),
    "bad_aggregate": ("btard.attacks.bad_aggregate", "BadAggregate"),
}


class AttackError(BtardError):
    """No such attack, or options that it does not take."""


@frozen
class AttackSpec:
    """An attack by name, the first step in which it acts, and its options."""

    name: str
    from_step: int
    options: tuple[tuple[str, float], ...] = ()

    def __str__(self) -> str:
        options = ",".join(f"{key}={value:g}" for key, value in self.options)
        return f"{self.name}@{self.from_step}" + (f":{options}" if options else "")


def parse(text: str, from_step: int = 1) -> AttackSpec:
    """Return what ``NAME[@STEP][:KEY=VALUE,...]`` says; ``from_step`` holds where no step is given.

    Raises AttackError, in one line, for unknown names and for what is no step or number.
    """
    source, file_colon, rest = text.partition(".py:")
    if file_colon:
        class_name, _, options = rest.partition(":")
        class_name, at, step = class_name.partition("@")
        name = f"{source}.py:{class_name}"
    else:
        head, _, options = text.partition(":")
        name, at, step = head.partition("@")
        if name not in BUILT_IN:
            known = ", ".join(sorted(BUILT_IN))
            raise AttackError(f"no attack is called '{name}'; there are {known}, and FILE.py:Class")
    if at:
        if not step.isdecimal() or len(step) > 9 or int(step) < 1:
            raise AttackError(f"attack '{text}': the step after @ must be a number from 1 on")
        from_step = int(step)
    return AttackSpec(name, from_step, tuple(_option(text, pair) for pair in options.split(",") if pair))


def _option(text: str, pair: str) -> tuple[str, float]:
    key, _, value = pair.partition("=")
    try:
        return key, float(value)
    except ValueError:
        raise AttackError(f"attack '{text}': option '{pair}' is not KEY=NUMBER") from None


def make_attack(spec: AttackSpec) -> Attack:
    """Return the attack; imports torch. Raises AttackError for all that can be wrong with file or options."""
    kind = _load(spec.name)
    try:
        attack: Attack = kind(from_step=spec.from_step, **dict(spec.options))
    except Exception as error:  # a user's class may raise anything
        raise AttackError(f"attack '{spec}': {_in_one_line(error)}") from error
    return attack


def _load(name: str) -> Any:
    if name in BUILT_IN:
        module, class_name = BUILT_IN[name]
        return getattr(importlib.import_module(module), class_name)
    path, _, class_name = name.rpartition(":")
    if not Path(path).is_file():
        raise AttackError(f"attack '{name}': there is no file {path}")
    found = importlib.util.spec_from_file_location("btard_user_attack", path)
    if found is None or found.loader is None:
        raise AttackError(f"attack '{name}': {path} cannot be imported")
    module_object = importlib.util.module_from_spec(found)
    try:
        found.loader.exec_module(module_object)
    except Exception as error:  # a user's file may raise anything
        raise AttackError(f"attack '{name}': {path} cannot be loaded: {_in_one_line(error)}") from error
    kind = getattr(module_object, class_name, None)
    base = importlib.import_module("btard.attacks.base").Attack
    if not (isinstance(kind, type) and issubclass(kind, base)):
        raise AttackError(f"attack '{name}': {path} holds no subclass of Attack called {class_name}")
    return kind


def _in_one_line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]
