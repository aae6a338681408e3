"""From each rule of `spec/` to its code and its tests.

`python -m tests.traceability` says what is missing; with `--write` it also writes `spec/coverage.md` anew.
All is read as text and nothing imported, so a broken test module cannot hide its markers.
"""

from __future__ import annotations

import argparse
import ast
import re
import tomllib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

CODE = ("btard", "transports")
TESTS = ("tests", "fuzz")
LACKS = ("code", "shows", "refuses")
WRITE = "python -m tests.traceability --write"

_RULE = re.compile(r"\*\*([A-Z]{3}-\d+)\.\*\* (.*)")
_LOOKS_LIKE_RULE = re.compile(r"[\s>*-]*\*\*\s*[A-Za-z]+-\d+")
_ID = re.compile(r"\b([A-Z]{3})-(\d+)\b")
_SPAN = re.compile(r"\b([A-Z]{3})-(\d+)\s+to\s+([A-Z]{3})-(\d+)\b")
_NORMATIVE = re.compile(r"\b(MUST NOT|MUST|SHOULD NOT|SHOULD|MAY)\b")
_FOREIGN = re.compile(r"\b(SHALL|REQUIRED|RECOMMENDED|OPTIONAL)\b")
_LOWER = re.compile(r"\b(must|should|shall)\b")
_LEVELS = {"MUST": "MUST", "MUST NOT": "MUST", "SHOULD": "SHOULD", "SHOULD NOT": "SHOULD", "MAY": "MAY"}


@dataclass(frozen=True)
class Rule:
    """One rule line."""

    id: str
    file: str
    level: str
    text: str


@dataclass
class Trace:
    """Everything that names rules, and every problem with it, a line each that says what to do."""

    rules: dict[str, Rule] = field(default_factory=dict)
    code: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    shows: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    refuses: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    exceptions: dict[str, dict[str, str]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def sites(self, lack: str) -> Mapping[str, set[str]]:
        """Return rule by rule which files have what may be lacking."""
        return {"code": self.code, "shows": self.shows, "refuses": self.refuses}[lack]


def trace(root: Path) -> Trace:
    """Read the tree at ``root`` and check all that `spec/README.md` promises of it."""
    found = Trace()
    prefixes = _prefixes(found, root)
    for path in sorted((root / "spec").glob("*.md")):
        if path.name not in ("README.md", "coverage.md"):
            _read_spec(found, path, prefixes)
    _read_references(found, root)
    _read_code(found, root, prefixes)
    _read_tests(found, root)
    _read_exceptions(found, root)
    _check_coverage(found)
    return found


# -- the specification ----------------------------------------------------------------------------------


def _prefixes(found: Trace, root: Path) -> dict[str, str]:
    """Return by prefix the file that the README's table assigns to it."""
    prefixes: dict[str, str] = {}
    readme = root / "spec" / "README.md"
    for line in readme.read_text("utf-8").splitlines():
        file = re.match(r"\| \[([\w.-]+\.md)\]", line)
        for prefix in re.findall(r"`([A-Z]{3})`", line) if file else ():
            if file is not None and prefixes.setdefault(prefix, file[1]) != file[1]:
                found.problems.append(f"spec/README.md gives {prefix} to two files: leave it to one")
    return prefixes


def _read_spec(found: Trace, path: Path, prefixes: Mapping[str, str]) -> None:
    lines = [*path.read_text("utf-8").splitlines(), ""]
    for number, (line, following) in enumerate(pairwise(lines), 1):
        place = f"spec/{path.name}:{number}"
        rule = _RULE.fullmatch(line)
        if rule is None:
            found.problems += _problems_of_prose(place, line)
            continue
        found.problems += _problems_of_rule(place, rule[1], rule[2], following)
        if rule[1] in found.rules:
            found.problems.append(f"{place}: {rule[1]} is a rule already: give this one the next free number")
            continue
        if prefixes.get(rule[1][:3]) != path.name:
            found.problems.append(f"{place}: the table in spec/README.md names no {rule[1][:3]} for this file")
        levels = sorted({_LEVELS[word] for word in _NORMATIVE.findall(rule[2])})
        found.rules[rule[1]] = Rule(rule[1], path.name, levels[0] if levels else "MUST", rule[2])


def _problems_of_prose(place: str, line: str) -> Iterator[str]:
    if _LOOKS_LIKE_RULE.match(line):
        yield f"{place}: a rule begins its line with **ABC-1.** and a space: {line[:40]!r} does not"
    for word in dict.fromkeys([*_NORMATIVE.findall(line), *_FOREIGN.findall(line)]):
        yield f"{place}: {word} outside of a rule line: make it a rule or write it without {word}"


def _problems_of_rule(place: str, name: str, text: str, following: str) -> Iterator[str]:
    words = _NORMATIVE.findall(text)
    if not words:
        yield f"{place}: {name} has no MUST, MUST NOT, SHOULD or MAY in capitals: say which it is"
    if len({_LEVELS[word] for word in words}) > 1:
        yield f"{place}: {name} mixes {' and '.join(dict.fromkeys(words))}: make two rules of it"
    for word in dict.fromkeys(_FOREIGN.findall(text)):
        yield f"{place}: {name} has {word}: only MUST, MUST NOT, SHOULD and MAY are used here"
    for word in dict.fromkeys(_LOWER.findall(text)):
        yield f"{place}: {name} has a lower-case {word!r}: write it in capitals or in other words"
    if following.strip():
        yield f"{place}: {name} goes on in the next line: a rule is one line, with an empty one behind it"


def _read_references(found: Trace, root: Path) -> None:
    """Whatever `spec/` refers to must exist."""
    for path in sorted((root / "spec").iterdir()):
        if path.suffix not in (".md", ".cddl") or path.name in ("README.md", "coverage.md"):
            continue
        text = path.read_text("utf-8")
        prefixes = {name[:3] for name in found.rules}
        for name in dict.fromkeys(m[0] for m in _ID.finditer(text)):
            if name[:3] in prefixes and name not in found.rules:
                found.problems.append(f"spec/{path.name} refers to {name}, which is no rule: correct the id")


# -- code and tests -------------------------------------------------------------------------------------


def _python(root: Path, folders: Iterable[str]) -> Iterator[tuple[str, str]]:
    for folder in folders:
        for path in sorted((root / folder).rglob("*.py")):
            yield path.relative_to(root).as_posix(), path.read_text("utf-8")


def _read_code(found: Trace, root: Path, prefixes: Mapping[str, str]) -> None:
    for file, text in _python(root, CODE):
        names = {match[0] for match in _ID.finditer(text) if match[1] in prefixes}
        for first, low, last, high in _SPAN.findall(text):
            if first == last:
                names |= {f"{first}-{number}" for number in range(int(low), int(high))}
        for name in sorted(names):
            found.code[name].add(file)
            if name not in found.rules:
                found.problems.append(f"{file} names {name}, which is no rule of spec/: correct the id")


def _read_tests(found: Trace, root: Path) -> None:
    for file, text in _python(root, TESTS):
        for marker, name in sorted(set(_markers(found, file, text))):
            (found.shows if marker == "shows" else found.refuses)[name].add(file)
            if name not in found.rules:
                found.problems.append(f"{file} marks {name}, which is no rule of spec/: correct the id")


def _markers(found: Trace, file: str, text: str) -> Iterator[tuple[str, str]]:
    """Yield what the markers of tests say; those of tests that may be skipped do not count."""
    try:
        tree = ast.parse(text)
    except SyntaxError as error:
        found.problems.append(f"{file} is no Python: {error}")
        return
    holders = _holders(tree) if Path(file).name.startswith("test_") else []
    carried = {id(call) for holder in holders for node in holder for call in _rule_markers(node)}
    counted = {
        id(c) for holder in holders if not any(map(_skips, holder)) for n in holder for c in _rule_markers(n)
    }
    for call in _rule_markers(tree):
        place = f"{file}:{call.lineno}"
        names = [arg.value for arg in call.args if isinstance(arg, ast.Constant) and isinstance(arg.value, str)]
        if not names or len(names) != len(call.args) or call.keywords:
            found.problems.append(f"{place}: this marker takes rule ids as plain strings, nothing else")
        if id(call) not in carried:
            found.problems.append(f"{place}: no test carries this marker: move it to one")
        if id(call) in counted:
            yield from ((_mark(call.func) or "", name) for name in names)


def _holders(tree: ast.Module) -> list[list[ast.expr]]:
    """Return the expressions that give tests their markers: of each test, class of tests, `pytestmark`."""
    holders = []
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            if node.name.startswith(("test", "Test")):
                holders.append(node.decorator_list)
        elif isinstance(node, ast.Assign) and any(
            isinstance(target, ast.Name) and target.id == "pytestmark" for target in node.targets
        ):
            holders.append([node.value])
    return holders


def _skips(marker: ast.expr) -> bool:
    inner = marker.func if isinstance(marker, ast.Call) else marker
    return _mark(inner) in ("skip", "skipif", "xfail")


def _mark(node: ast.AST) -> str | None:
    """Return the name in `pytest.mark.name`."""
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Attribute) and node.value.attr == "mark":
        return node.attr
    return None


def _rule_markers(tree: ast.AST) -> Iterator[ast.Call]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _mark(node.func) in ("shows", "refuses"):
            yield node


# -- what is lacking ------------------------------------------------------------------------------------


def _read_exceptions(found: Trace, root: Path) -> None:
    """Read `spec/exceptions.toml`: a table for each rule, with a reason for each lack."""
    path = root / "spec" / "exceptions.toml"
    if not path.exists():
        return
    for name, lacks in tomllib.loads(path.read_text("utf-8")).items():
        entry = lacks if isinstance(lacks, dict) else {}
        for lack, reason in entry.items():
            if lack not in LACKS or not isinstance(reason, str) or not reason.strip():
                found.problems.append(
                    f'spec/exceptions.toml: {name}.{lack}: write one of {", ".join(LACKS)} = "the reason"'
                )
        if not entry:
            found.problems.append(
                f"spec/exceptions.toml: [{name}] says nothing: remove it or say what it lacks"
            )
        if name not in found.rules:
            found.problems.append(f"spec/exceptions.toml: {name} is no rule of spec/: remove its table")
        found.exceptions[name] = entry


def _check_coverage(found: Trace) -> None:
    wanted = {
        "code": "name it in a docstring or comment where btard/ or transports/ carries it out",
        "shows": 'mark a test of the behaviour with @pytest.mark.shows("{0}")',
        "refuses": 'mark a test of what becomes of who breaks it with @pytest.mark.refuses("{0}")',
    }
    for rule in found.rules.values():
        excused = found.exceptions.get(rule.id, {})
        for lack in LACKS:
            lacking = not found.sites(lack).get(rule.id)
            if lacking and rule.level == "MUST" and lack not in excused:
                what = "code site" if lack == "code" else f"test that {lack} it"
                found.problems.append(
                    f"{rule.id} ({rule.file}) has no {what}: {wanted[lack].format(rule.id)}, "
                    f'or give the reason in spec/exceptions.toml: [{rule.id}] {lack} = "…"'
                )
            if lack in excused and not (lacking and rule.level == "MUST"):
                found.problems.append(
                    f"spec/exceptions.toml: {rule.id} does not lack {lack} (any more): remove that line"
                )


# -- the table ------------------------------------------------------------------------------------------


def render(found: Trace) -> str:
    """Return the text of `spec/coverage.md`."""
    lines = [
        "# Coverage",
        "",
        f"Which code and which tests name each rule. Generated: `{WRITE}` writes it anew.",
        "Code is in `btard/` unless it begins with `transports/`, tests in `tests/` unless with `fuzz/`;",
        "`*` marks an exception, whose reason is in [exceptions.toml](exceptions.toml).",
    ]
    file = ""
    for rule in sorted(found.rules.values(), key=lambda r: (r.file, r.id[:3], int(r.id[4:]))):
        if rule.file != file:
            file = rule.file
            lines += [
                "",
                f"## [{file}]({file})",
                "",
                "| rule | | code | shows | refuses |",
                "| --- | --- | --- | --- | --- |",
            ]
        cells = [_cell(found, rule.id, lack) for lack in LACKS]
        lines.append(f"| {rule.id} | {rule.level} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _cell(found: Trace, rule: str, lack: str) -> str:
    names = [_short(file) for file in found.sites(lack).get(rule, ())]
    return ", ".join(sorted(names)) or ("*" if lack in found.exceptions.get(rule, {}) else "–")


def _short(file: str) -> str:
    name = file.removesuffix(".py").removeprefix("btard/").removeprefix("tests/")
    return name.replace("transports/btard_transports/", "transports/").replace("test_", "")


def main() -> int:
    """Say what is missing; with ``--write`` write the table anew. Return 1 if anything is missing."""
    parser = argparse.ArgumentParser(prog="python -m tests.traceability", description=__doc__)
    parser.add_argument("--write", action="store_true", help="write spec/coverage.md anew")
    root = Path(__file__).parents[1]
    arguments = parser.parse_args()
    found = trace(root)
    if arguments.write:
        (root / "spec" / "coverage.md").write_text(render(found), "utf-8")
    print("\n".join(found.problems) or "every rule has its code and its tests")
    return int(bool(found.problems))


if __name__ == "__main__":
    raise SystemExit(main())
