"""The gate: every rule of `spec/` has its code and its tests. Tests of the gate itself, on small trees."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.traceability import WRITE, render, trace

ROOT = Path(__file__).parents[1]


def test_every_rule_has_code_and_tests() -> None:
    problems = trace(ROOT).problems
    assert not problems, "\n" + "\n".join(problems)


def test_the_coverage_table_is_up_to_date() -> None:
    kept = ROOT / "spec" / "coverage.md"
    assert kept.exists(), f"spec/coverage.md is missing: {WRITE}"
    assert kept.read_text("utf-8") == render(trace(ROOT)), f"spec/coverage.md is out of date: {WRITE}"


# -- the gate itself ------------------------------------------------------------------------------------

README = """# Spec

A rule MUST be one line.

| file | rules |
| --- | --- |
| [10-a.md](10-a.md) | `ABC` |
| [20-b.md](20-b.md) | `XYZ` |
"""
SPEC = """# A

Prose that may say must.

**ABC-1.** A peer MUST greet, and MUST NOT shout.

**Why.** See ABC-2 and UTF-8.

**ABC-2.** A peer SHOULD be kind.
"""
CODE = '"""Greets (ABC-1), in UTF-8."""\n'
TEST = """import pytest

@pytest.mark.shows("ABC-1")
def test_greets(): ...

@pytest.mark.refuses("ABC-1")
def test_shouting(): ...
"""

Write = Callable[[str, str], None]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(name: str, text: str) -> None:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")

    for name, text in {
        "spec/README.md": README,
        "spec/10-a.md": SPEC,
        "spec/20-b.md": "# B\n\n**XYZ-3.** A peer MAY sing.\n",
        "btard/deep/er/greet.py": CODE,
        "transports/x.py": "",
        "tests/deep/test_greet.py": TEST,
        "fuzz/world.py": "",
    }.items():
        write(name, text)
    return write


def only_problem(root: Path) -> str:
    problems = trace(root).problems
    assert len(problems) == 1, problems
    return problems[0]


@pytest.mark.usefixtures("write")
def test_a_complete_tree_passes(tmp_path: Path) -> None:
    found = trace(tmp_path)
    assert found.problems == []
    assert [(rule.id, rule.file, rule.level) for rule in found.rules.values()] == [
        ("ABC-1", "10-a.md", "MUST"),
        ("ABC-2", "10-a.md", "SHOULD"),
        ("XYZ-3", "20-b.md", "MAY"),
    ]
    assert "| ABC-1 | MUST | deep/er/greet | deep/greet | deep/greet |" in render(found).splitlines()
    assert "| ABC-2 | SHOULD | – | – | – |" in render(found).splitlines()


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("btard/deep/er/greet.py", "", "ABC-1 (10-a.md) has no code site: name it in"),
        (
            "tests/deep/test_greet.py",
            TEST.replace("shows", "refuses"),
            "ABC-1 (10-a.md) has no test that shows it",
        ),
        (
            "tests/deep/test_greet.py",
            TEST.replace("refuses", "shows"),
            "ABC-1 (10-a.md) has no test that refuses",
        ),
        (
            "btard/deep/er/greet.py",
            CODE + "# ABC-7\n",
            "btard/deep/er/greet.py names ABC-7, which is no rule",
        ),
        ("transports/x.py", "# ABC-1 to ABC-3\n", "transports/x.py names ABC-3, which is no rule"),
        (
            "tests/deep/test_greet.py",
            TEST.replace('ws("ABC-1"', 'ws("ABC-1", "UVW-1"'),
            "marks UVW-1, which is no",
        ),
        (
            "spec/20-b.md",
            "# B\n\nAs DEF-1 and ABC-9 say.\n",
            "spec/20-b.md refers to ABC-9, which is no rule",
        ),
        ("spec/messages.cddl", "; see XYZ-4\n", "spec/messages.cddl refers to XYZ-4"),
    ],
)
def test_a_missing_link_is_reported(tmp_path: Path, write: Write, name: str, text: str, problem: str) -> None:
    if name == "spec/20-b.md":
        text += "\n**XYZ-3.** A peer MAY sing.\n"
    write(name, text)
    assert problem in only_problem(tmp_path)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (
            "**XYZ-4.** A peer sings.",
            "spec/20-b.md:5: XYZ-4 has no MUST, MUST NOT, SHOULD or MAY in capitals",
        ),
        ("**XYZ-4.** A peer SHOULD sing and MAY dance.", "XYZ-4 mixes SHOULD and MAY: make two rules of it"),
        ("**XYZ-4.** A peer MAY sing; it must stop.", "XYZ-4 has a lower-case 'must'"),
        ("**XYZ-4.** A peer MAY sing what SHALL be.", "XYZ-4 has SHALL: only MUST"),
        ("**XYZ-4.** A peer MAY\nsing.", "XYZ-4 goes on in the next line: a rule is one line"),
        ("**XYZ-3.** A peer MAY dance.", "XYZ-3 is a rule already: give this one the next free number"),
        ("**ABC-4.** A peer MAY dance.", "the table in spec/README.md names no ABC for this file"),
        ("* **XYZ-4.** A peer MAY dance.", "a rule begins its line with **ABC-1.** and a space"),
        ("**XYZ-4** A peer dances.", "a rule begins its line with **ABC-1.** and a space"),
        ("**xyz-4.** A peer dances.", "a rule begins its line with **ABC-1.** and a space"),
        ("A peer MUST sing.", "spec/20-b.md:5: MUST outside of a rule line: make it a rule"),
        ("It SHOULD NOT dance.", "SHOULD NOT outside of a rule line"),
        ("It is OPTIONAL.", "OPTIONAL outside of a rule line"),
    ],
)
def test_a_rule_in_a_wrong_form_is_reported(tmp_path: Path, write: Write, line: str, problem: str) -> None:
    write("spec/20-b.md", f"# B\n\n**XYZ-3.** A peer MAY sing.\n\n{line}\n")
    assert any(problem in found for found in trace(tmp_path).problems)


@pytest.mark.parametrize(
    "test",
    [
        TEST.replace("@pytest.mark.shows", "@pytest.mark.skip\n@pytest.mark.shows"),
        TEST.replace("@pytest.mark.shows", '@pytest.mark.skipif(True, reason="")\n@pytest.mark.shows'),
        TEST.replace("@pytest.mark.shows", "@pytest.mark.xfail\n@pytest.mark.shows"),
        "import pytest\npytestmark = [pytest.mark.refuses('ABC-1'), pytest.mark.skip]\n"
        + TEST.replace("shows", "slow"),
    ],
)
def test_a_test_that_may_be_skipped_does_not_count(tmp_path: Path, write: Write, test: str) -> None:
    write("tests/deep/test_greet.py", test)
    assert "ABC-1 (10-a.md) has no test that shows it" in only_problem(tmp_path)


@pytest.mark.parametrize(
    "marked",
    [
        "pytestmark = pytest.mark.shows('ABC-1')\n\ndef test_x(): ...\n",
        "@pytest.mark.shows('ABC-2', 'ABC-1')\nclass TestX: ...\n",
        "class TestX:\n    @pytest.mark.shows('ABC-1')\n    async def test_x(self): ...\n",
        "@pytest.mark.parametrize('x', [pytest.param(1, marks=pytest.mark.shows('ABC-1'))])\n"
        "def test_x(x): ...\n",
    ],
)
def test_markers_are_found_wherever_pytest_finds_them(tmp_path: Path, write: Write, marked: str) -> None:
    write("tests/deep/test_greet.py", TEST.replace("shows", "slow"))
    write("fuzz/test_more.py", "import pytest\n\n" + marked)
    assert trace(tmp_path).problems == []


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("tests/helper.py", TEST, "tests/helper.py:3: no test carries this marker"),
        (
            "tests/test_x.py",
            TEST.replace("test_", "check_"),
            "tests/test_x.py:3: no test carries this marker",
        ),
        ("tests/test_x.py", "import pytest\nM = pytest.mark.shows('ABC-1')\n", "no test carries this marker"),
        ("tests/test_x.py", TEST.replace('"ABC-1"', "*RULES"), "takes rule ids as plain strings"),
        ("tests/test_x.py", TEST.replace('"ABC-1"', ""), "takes rule ids as plain strings"),
        ("tests/test_x.py", "def (\n", "tests/test_x.py is no Python"),
    ],
)
def test_markers_that_say_nothing_are_reported(
    tmp_path: Path, write: Write, name: str, text: str, problem: str
) -> None:
    write(name, text)
    assert any(problem in found for found in trace(tmp_path).problems)


def test_an_exception_excuses_one_lack_of_one_rule(tmp_path: Path, write: Write) -> None:
    write("tests/deep/test_greet.py", "")
    write("spec/exceptions.toml", '[ABC-1]\nrefuses = "nobody can hear it"\n')
    assert "ABC-1 (10-a.md) has no test that shows it" in only_problem(tmp_path)
    assert "| ABC-1 | MUST | deep/er/greet | – | * |" in render(trace(tmp_path)).splitlines()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('[ABC-1]\nshows = "why"\n', "ABC-1 does not lack shows (any more): remove that line"),
        ('[ABC-2]\nshows = "why"\n', "ABC-2 does not lack shows (any more): remove that line"),
        ('[ABC-8]\ncode = "why"\n', "ABC-8 is no rule of spec/: remove its table"),
        ("[ABC-1]\n", "[ABC-1] says nothing"),
        ("ABC-1 = 1\n", "[ABC-1] says nothing"),
        ('[ABC-1]\ntests = "why"\n', 'ABC-1.tests: write one of code, shows, refuses = "the reason"'),
        ('[ABC-1]\nrefuses = " "\n', "ABC-1.refuses: write one of"),
    ],
)
def test_an_exception_that_is_not_needed_is_reported(
    tmp_path: Path, write: Write, text: str, problem: str
) -> None:
    write("spec/exceptions.toml", text)
    assert any(problem in found for found in trace(tmp_path).problems)


def test_the_table_follows_the_tree(tmp_path: Path, write: Write) -> None:
    before = render(trace(tmp_path))
    assert before == render(trace(tmp_path))
    write("fuzz/test_more.py", TEST)
    assert render(trace(tmp_path)) != before
