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


@frozen
class BuiltIn:
    """An attack of this package: where it is, what it does, and the options that it takes."""

    module: str
    class_name: str
    does: str
    numbers: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()

    @property
    def options(self) -> tuple[str, ...]:
        """The names of all options."""
        return (*self.numbers, *self.texts)


def _here(module: str, *rest: Any, **more: Any) -> BuiltIn:
    return BuiltIn(f"btard.attacks.{module}", *rest, **more)


BUILT_IN: Final = {
    "alie": _here("hidden", "Alie", "mean plus z deviations of the others' gradients", numbers=("z",)),
    "bad_aggregate": _here("bad_aggregate", "BadAggregate", "shifts its part of the aggregate", ("shift",)),
    "bad_scalars": _here("scalars", "BadScalars", "broadcasts wrong sketches of its gradient", ("factor",)),
    "bad_sketch": _here(
        "covered", "BadSketch", "shifts its aggregate, covers it by its own scalars", ("shift",)
    ),
    "bad_sketch_pair": _here(
        "covered",
        "BadSketchPair",
        "shifts its aggregate, a colluder covers it (partner=1+4)",
        numbers=("shift",),
        texts=("partner",),
    ),
    "crash_loop": _here(
        "silence",
        "CrashLoop",
        "dies after some phases, again and again (away=0.3: and back)",
        ("phases", "away"),
    ),
    "delayed_gradient": _here(
        "stale", "DelayedGradient", "gradient at the model of some steps ago", ("steps",)
    ),
    "equivocate": _here(
        "equivocate", "Equivocate", "signs two messages for one slot (phase=reveal)", texts=("phase",)
    ),
    "false_late": _here("false_late", "FalseLate", "says that everybody's message is late"),
    "false_need": _here("withhold", "FalseNeed", "says that parts did not come (to=all, one)", texts=("to",)),
    "false_vote": _here("false_vote", "FalseVote", "votes against what it finds"),
    "flood": _here(
        "flood",
        "Flood",
        "sends masses of frames in each phase (kind=all, polls, chains)",
        ("count",),
        ("kind",),
    ),
    "garbage": _here("junk", "Garbage", "bytes without meaning (kind=signed, frames)", texts=("kind",)),
    "ipm": _here("hidden", "Ipm", "-epsilon times the mean of the others' gradients", ("epsilon",)),
    "label_flip": _here("label_flip", "LabelFlip", "gradient for the labels classes - 1 - y"),
    "late": _here(
        "delays",
        "Tardy",
        "late in each phase (when=before, after, split)",
        numbers=("lead",),
        texts=("when", "partner"),
    ),
    "lazy": _here("stale", "Lazy", "its own gradient of some steps ago", ("steps",)),
    "lazy_validator": _here("scalars", "LazyValidator", "makes up what a validator has to compute"),
    "nan": _here("nan", "Nan", "a gradient with NaN and infinity in it"),
    "oversize": _here(
        "junk", "Oversize", "more than is admitted (kind=frame, message, object)", texts=("kind",)
    ),
    "random_direction": _here(
        "random_direction", "RandomDirection", "1000 times its gradient's length, a common way", ("factor",)
    ),
    "show_to_one": _here(
        "delays", "ShowToOne", "shows messages to one peer, at the last moment", ("lead",), ("partner",)
    ),
    "sign_flip": _here("sign_flip", "SignFlip", "its gradient times -1000", ("factor",)),
    "silent": _here("silence", "Silent", "says and serves nothing any more"),
    "slander": _here("slander", "Slander", "false claims (kind=gradient, scalars, ...)", texts=("kind",)),
    "slow_drip": _here("delays", "SlowDrip", "serves its vectors as slowly as it may", ("pace",)),
    "vanish": _here("silence", "Vanish", "sign_flip, and silent when drawn as a target", ("factor",)),
    "withhold_aggregate": _here(
        "withhold", "WithholdAggregate", "serves its aggregate to few (to=one, none)", texts=("to",)
    ),
    "withhold_part": _here(
        "withhold", "WithholdPart", "serves its parts to few (answer=none, some, all)", texts=("answer",)
    ),
    "withhold_reveal": _here(
        "silence", "WithholdReveal", "does not open its random value (phase=reveal, accuse)", texts=("phase",)
    ),
}


class AttackError(BtardError):
    """No such attack, or options that it does not take."""


@frozen
class AttackSpec:
    """An attack by name, the first step in which it acts, and its options."""

    name: str
    from_step: int
    options: tuple[tuple[str, float | str], ...] = ()

    def __str__(self) -> str:
        options = ",".join(f"{key}={_printed(value)}" for key, value in self.options)
        return f"{self.name}@{self.from_step}" + (f":{options}" if options else "")


def _printed(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.17g}"


def catalogue() -> str:
    """Return a line for each attack: its name, its options, and what it does."""
    heads = {
        name: name + (f":{'=,'.join(found.options)}=" if found.options else "")
        for name, found in BUILT_IN.items()
    }
    width = max(map(len, heads.values()))
    return "\n".join(f"  {heads[name]:{width}}  {found.does}" for name, found in BUILT_IN.items())


def parse(text: str, from_step: int = 1) -> AttackSpec:
    """Return what ``NAME[@STEP][:KEY=VALUE,...]`` says; ``from_step`` holds where no step is given.

    Raises AttackError, in one line, for unknown names and options and for what is no step or number.
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
    found = tuple(_option(text, pair) for pair in options.split(",") if pair)
    for key, value in found if name in BUILT_IN else ():
        _check_option(text, name, key, value)
    return AttackSpec(name, from_step, found)


def _option(text: str, pair: str) -> tuple[str, float | str]:
    key, _, value = pair.partition("=")
    if not key or not value:
        raise AttackError(f"attack '{text}': option '{pair}' is not KEY=VALUE")
    try:
        return key, float(value)
    except ValueError:
        return key, value


def _check_option(text: str, name: str, key: str, value: float | str) -> None:
    known = BUILT_IN[name]
    if key not in known.options:
        takes = f"takes {', '.join(known.options)}" if known.options else "takes none"
        raise AttackError(f"attack '{text}': no option is called '{key}'; {name} {takes}")
    if key in known.numbers and isinstance(value, str):
        raise AttackError(f"attack '{text}': {key} is a number, not '{value}'")


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
        built_in = BUILT_IN[name]
        return getattr(importlib.import_module(built_in.module), built_in.class_name)
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
