"""From what a command line says to an attack."""

from __future__ import annotations

import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from btard.attacks.expected import EVERY, Case, When
from btard.attacks.names import BUILT_IN, AttackError, AttackSpec, make_attack, parse
from btard.attacks.sign_flip import SignFlip
from btard.cli.main import main

numbers = st.floats(allow_nan=False)
texts = st.from_regex(r"[a-z_]{1,8}(\+[0-9])?", fullmatch=True).filter(lambda text: not is_number(text))


def is_number(text: str) -> bool:
    with suppress(ValueError):
        float(text)
        return True
    return False


@st.composite
def specs(draw: st.DrawFn) -> AttackSpec:
    name = draw(st.sampled_from(sorted(BUILT_IN)))
    chosen = [(key, draw(numbers)) for key in BUILT_IN[name].numbers if draw(st.booleans())]
    chosen += [(key, draw(numbers | texts)) for key in BUILT_IN[name].texts if draw(st.booleans())]
    return AttackSpec(name, draw(st.integers(1, 10**6)), tuple(chosen))


@given(specs())
def test_what_is_printed_is_read_again(spec: AttackSpec) -> None:
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
        ("slander:kind=scalars", AttackSpec("slander", 60, (("kind", "scalars"),))),
        ("bad_sketch_pair@2:partner=1+4", AttackSpec("bad_sketch_pair", 2, (("partner", "1+4"),))),
        ("own/a.py:Mine@7:a=1,b=two", AttackSpec("own/a.py:Mine", 7, (("a", 1.0), ("b", "two")))),
    ],
)
def test_the_forms_of_a_name(text: str, spec: AttackSpec) -> None:
    assert parse(text, from_step=60) == spec


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "sign_flop",
            f"no attack is called 'sign_flop'; there are {', '.join(sorted(BUILT_IN))}, and FILE.py:Class",
        ),
        ("sign_flip@0", "the step after @ must be a number from 1 on"),
        ("sign_flip@-1", "the step after @ must be a number from 1 on"),
        ("sign_flip@", "the step after @ must be a number from 1 on"),
        ("sign_flip@\N{SUPERSCRIPT TWO}", "the step after @ must be a number from 1 on"),
        ("sign_flip:factor", "option 'factor' is not KEY=VALUE"),
        ("sign_flip:factor=", "option 'factor=' is not KEY=VALUE"),
        ("sign_flip:=1", "option '=1' is not KEY=VALUE"),
        ("sign_flip:factor=much", "factor is a number, not 'much'"),
        ("sign_flip:shift=1", "no option is called 'shift'; sign_flip takes factor"),
        ("bad_sketch_pair:kind=x", "no option is called 'kind'; bad_sketch_pair takes shift, partner"),
        ("nan:kind=x", "no option is called 'kind'; nan takes none"),
    ],
)
def test_what_is_wrong_with_a_name(text: str, says: str) -> None:
    with pytest.raises(AttackError) as caught:
        parse(text)
    assert says in str(caught.value)


def test_names_cost_no_import_of_torch() -> None:
    code = "import sys, btard.attacks.names; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("name", sorted(BUILT_IN))
def test_a_built_in_attack(name: str) -> None:
    attack = make_attack(parse(f"{name}@5"))
    assert attack.name == name
    assert [step for step in range(8) if attack.active(step)] == [5, 6, 7]


@pytest.mark.parametrize("case", EVERY, ids=[case.attack for case in EVERY])
def test_every_form_of_an_attack_can_be_made(case: Case) -> None:
    for text in case.texts((1, 4, 6), 3).values():
        assert make_attack(parse(text)).from_step == 3


def test_something_is_expected_of_every_attack() -> None:
    assert {case.name for case in EVERY} == set(BUILT_IN)
    for case in EVERY:
        assert bool(case.why) == (case.when is When.NEVER)


def test_the_help_and_the_readme_name_every_attack(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["peer", "--help"])
    shown = capsys.readouterr().out
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    for name, found in BUILT_IN.items():
        assert found.does in shown
        assert f"| `{name}` |" in readme


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("slander:kind=loud", "kind is one of any, gradient, validator, aggregate, scalars, nonfinite"),
        ("equivocate:phase=noon", "phase is one of commit, reduce, reveal, validate, accuse, or 0 to 4"),
        ("equivocate:phase=7", "phase is one of commit"),
        ("withhold_reveal:phase=commit", "phase is one of reveal, accuse"),
        ("oversize:kind=2", "kind is one of frame, message, object"),
        ("late:when=never", "when is one of before, after, split"),
        ("withhold_part:answer=maybe", "answer is one of none, some, all"),
        ("withhold_aggregate:to=all", "to is one of one, none"),
        ("false_need:to=none", "to is one of all, one"),
        ("crash_loop:phases=0", "phases is 1 or more"),
        ("crash_loop:away=-1", "away is 0 or more, in units of T_commit"),
        ("crash_loop:away=inf", "away is 0 or more, in units of T_commit"),
        ("flood:kind=pulls", "kind is one of all, polls"),
        ("garbage:kind=loud", "kind is one of signed, frames"),
        ("bad_sketch_pair:partner=you", "partner is one index or several joined by +"),
    ],
)
def test_a_value_that_an_option_does_not_take(text: str, says: str) -> None:
    with pytest.raises(AttackError) as caught:
        make_attack(parse(text))
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


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
