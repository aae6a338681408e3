"""From what a command line says to an attack."""

from __future__ import annotations

import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from btard.attacks.bad_aggregate import BadAggregate
from btard.attacks.names import BUILT_IN, AttackError, AttackSpec, make_attack, parse
from btard.attacks.sign_flip import SignFlip

options = st.lists(
    st.tuples(st.from_regex(r"[a-z_]{1,8}", fullmatch=True), st.integers(-1000, 1000).map(float)), max_size=3
)


@given(st.sampled_from(sorted(BUILT_IN)), st.integers(1, 10**6), options)
def test_what_is_printed_is_read_again(name: str, step: int, chosen: list[tuple[str, float]]) -> None:
    spec = AttackSpec(name, step, tuple(chosen))
    assert parse(str(spec)) == spec


@given(st.text(max_size=40))
def test_any_text_is_an_attack_or_an_error(text: str) -> None:
    with suppress(AttackError):
        assert parse(text).from_step >= 1


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("sign_flip", AttackSpec("sign_flip", 60)),
        ("sign_flip@3", AttackSpec("sign_flip", 3)),
        ("bad_aggregate@3:shift=1e-3", AttackSpec("bad_aggregate", 3, (("shift", 1e-3),))),
        ("sign_flip:factor=-2,", AttackSpec("sign_flip", 60, (("factor", -2.0),))),
        ("own/a.py:Mine@7:a=1,b=2", AttackSpec("own/a.py:Mine", 7, (("a", 1.0), ("b", 2.0)))),
    ],
)
def test_the_forms_of_a_name(text: str, spec: AttackSpec) -> None:
    assert parse(text, from_step=60) == spec


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("sign_flop", "no attack is called 'sign_flop'; there are bad_aggregate, sign_flip, and FILE.py:Class"),
        ("sign_flip@0", "the step after @ must be a number from 1 on"),
        ("sign_flip@-1", "the step after @ must be a number from 1 on"),
        ("sign_flip@", "the step after @ must be a number from 1 on"),
        ("sign_flip@\N{SUPERSCRIPT TWO}", "the step after @ must be a number from 1 on"),
        ("sign_flip:factor", "option 'factor' is not KEY=NUMBER"),
        ("sign_flip:factor=much", "option 'factor=much' is not KEY=NUMBER"),
    ],
)
def test_what_is_wrong_with_a_name(text: str, says: str) -> None:
    with pytest.raises(AttackError) as caught:
        parse(text)
    assert says in str(caught.value)


def test_names_cost_no_import_of_torch() -> None:
    code = "import sys, btard.attacks.names; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(("name", "kind"), [("sign_flip", SignFlip), ("bad_aggregate", BadAggregate)])
def test_a_built_in_attack(name: str, kind: type) -> None:
    attack = make_attack(parse(f"{name}@5"))
    assert type(attack) is kind
    assert attack.name == name
    assert [step for step in range(8) if attack.active(step)] == [5, 6, 7]


def test_options_reach_the_attack() -> None:
    attack = make_attack(parse("sign_flip:factor=-2"))
    assert isinstance(attack, SignFlip)
    assert attack.factor == -2.0


OWN = """
from btard.attacks.base import Attack

class Mine(Attack):
    name = "mine"

    def __init__(self, from_step=1, strength=1.0):
        super().__init__(from_step)
        if strength < 0:
            raise ValueError("strength\\nmust be positive")
        self.strength = strength

class Other:
    pass
"""


@pytest.fixture
def own(tmp_path: Path) -> Path:
    file = tmp_path / "own.py"
    file.write_text(OWN)
    return file


def test_an_attack_of_ones_own(own: Path) -> None:
    attack = make_attack(parse(f"{own}:Mine@4:strength=2"))
    assert (attack.name, attack.from_step, attack.strength) == ("mine", 4, 2.0)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("{}:Other", "holds no subclass of Attack called Other"),
        ("{}:Nobody", "holds no subclass of Attack called Nobody"),
        ("{}:Mine:weight=1", "unexpected keyword argument 'weight'"),
        ("{}:Mine:from_step=2", "from_step"),
        ("{}:Mine:strength=-1", "ValueError: strength must be positive"),
        ("{}x.py:Mine", "there is no file"),
    ],
)
def test_what_is_wrong_with_an_attack_of_ones_own(own: Path, name: str, says: str) -> None:
    with pytest.raises(AttackError) as caught:
        make_attack(parse(name.format(own)))
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "code", ["raise RuntimeError('no\\nway')", "def broken(", "import nothing_of_that_name"]
)
def test_a_file_that_cannot_be_run(own: Path, code: str) -> None:
    own.write_text(code)
    with pytest.raises(AttackError, match=r"own\.py cannot be loaded: \w+Error") as caught:
        make_attack(parse(f"{own}:Mine"))
    assert "\n" not in str(caught.value)
