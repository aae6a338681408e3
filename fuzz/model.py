"""Search the models of spec/model/: every state that they can reach, one configuration at a time.

A model is turned into a program by `rumur` and `gcc`, and the program visits every state. A configuration is
a model with some of its constants set; an ablation is one with one rule switched off, and must fail.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from attrs import field, frozen

from fuzz.model_configurations import ABLATIONS, BASE, LONG, UNFINISHED, Configuration

MODELS = Path(__file__).parent.parent / "spec" / "model"
_ALL = (*BASE, *ABLATIONS, *LONG, *UNFINISHED)
TOOLS = {"rumur": "rumur", "gcc": "gcc"}
"""Programs that a search needs, and the Debian packages that hold them."""

_CONSTANT = r"^(  {name}: )[^;]*;"
_FAILURE = re.compile(r'invariant "([^"]*)" failed|(assertion failed[^\n]*)|(error: [^\n]*)')
_COUNT = re.compile(r"(\d+) states, \d+ rules fired")
_PROGRESS = re.compile(r"(\d+) states explored")

_EPILOG = """\
examples:
  python -m fuzz.model                           everything that CI searches: all must hold, all ablations fail
  python -m fuzz.model --long                    the larger configurations (minutes)
  python -m fuzz.model --only phases-4           one that was never carried through (hours, and gigabytes)
  python -m fuzz.model --only settle-3           one configuration, by name (see --list)
  python -m fuzz.model --only settle-3 --set EPOCHS=1 --set LENGTH_IN_TIME=false --trace
                                                 the same with other constants, and how it fails, step by step

What is modelled, what is not, and every constant: spec/model/README.md and the first lines of each model.
Exit status: 0 all as expected; 1 not, or a tool is missing; 2 wrong usage; 130 interrupted.
"""


class ModelError(Exception):
    """A search could not be carried out; the text is one line that says why."""


@frozen
class Result:
    """What a search found: whether it is complete, and the first invariant that fails, if any."""

    states: int
    seconds: float
    failed: str | None
    output: str = field(repr=False)


def missing() -> str | None:
    """Say in one line which tools are missing and how to install them; None if all are here."""
    absent = [tool for tool in TOOLS if shutil.which(tool) is None]
    if not absent:
        return None
    packages = " ".join(TOOLS[tool] for tool in absent)
    return f"{', '.join(absent)} not found: install with `apt-get install {packages}`"


def instantiate(text: str, constants: Mapping[str, str]) -> str:
    """Return a model's text with these constants set; raise ModelError for one that it does not have."""
    for name, value in constants.items():
        pattern = re.compile(_CONSTANT.format(name=re.escape(name)), re.MULTILINE)
        text, found = pattern.subn(rf"\g<1>{value};", text)
        if found != 1:
            raise ModelError(f"the model has no constant {name}: its first lines list them")
    return text


def search(
    configuration: Configuration,
    *,
    trace: bool = False,
    progress: Callable[[int], None] = lambda states: None,
    timeout: float | None = None,
) -> Result:
    """Visit every state of a configuration, or as many as it takes to find a failure.

    ``progress`` is told the states so far; ``timeout`` is in seconds. Raises ModelError where the model does
    not build, or the search ends without a result.
    """
    text = (MODELS / f"{configuration.model}.m").read_text(encoding="utf-8")
    with TemporaryDirectory(prefix="btard-model-") as folder:
        program = _build(Path(folder), instantiate(text, configuration.constants), trace)
        began = time.monotonic()
        output = _explore(program, progress, timeout, configuration.name)
    count = _COUNT.search(output)
    failure = _FAILURE.search(output)
    if count is None or (failure is None and "No error found" not in output):
        raise ModelError(f"{configuration.name}: the search broke off: {output[-200:].strip()!r}")
    failed = next(found for found in failure.groups() if found) if failure else None
    return Result(int(count[1]), time.monotonic() - began, failed, output)


def _build(folder: Path, text: str, trace: bool) -> Path:
    model, source, program = folder / "model.m", folder / "model.c", folder / "model"
    model.write_text(text, encoding="utf-8")
    options = ["--deadlock-detection", "off", "--threads", "1", "--pack-state", "off", "--colour", "off"]
    options += ["--counterexample-trace", "diff" if trace else "off"]
    for command in (
        ["rumur", *options, "--output", str(source), str(model)],
        ["gcc", "-O2", "-march=native", "-mcx16", "-o", str(program), str(source), "-lpthread"],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise ModelError(f"{command[0]} refuses the model: {done.stderr.strip()[:400]}")
    return program


def _explore(program: Path, progress: Callable[[int], None], timeout: float | None, name: str) -> str:
    lines = []
    limit = [] if timeout is None else ["timeout", str(timeout)]
    command = [*limit, "stdbuf", "-oL", str(program)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            for line in process.stdout or ():
                if found := _PROGRESS.search(line):
                    progress(int(found[1]))
                else:
                    lines.append(line)
        except BaseException:
            process.kill()
            raise
    if process.returncode == 124 and limit:
        raise ModelError(f"{name}: not done after {timeout:.0f} s")
    return "".join(lines)


def _as_expected(configuration: Configuration, result: Result) -> bool:
    return (result.failed is None) is configuration.holds


def _run(configuration: Configuration, trace: bool) -> bool:
    live = sys.stderr.isatty()

    def progress(states: int) -> None:
        if live:
            print(f"\r{configuration.name}: {states:,} states ...", end="", file=sys.stderr, flush=True)

    result = search(configuration, trace=trace, progress=progress)
    if live:
        print("\r\033[K", end="", file=sys.stderr)
    verdict = "holds" if result.failed is None else f"fails: {result.failed}"
    mark = "ok " if _as_expected(configuration, result) else "BAD"
    print(f"{mark} {configuration.name:34} {result.states:>12,} states {result.seconds:8.1f} s  {verdict}")
    if trace and result.failed is not None:
        print(result.output)
    sys.stdout.flush()
    return _as_expected(configuration, result)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m fuzz.model",
        description="Search every state of the models of the agreement, with each rule and without it.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--long", action="store_true", help="the larger configurations instead of those of CI")
    parser.add_argument("--only", metavar="NAME", action="append", help="this configuration; may be repeated")
    parser.add_argument("--set", metavar="NAME=VALUE", action="append", default=[], help="set a constant")
    parser.add_argument("--trace", action="store_true", help="print the steps that lead to a failure")
    parser.add_argument("--list", action="store_true", help="print the names of all configurations and stop")
    return parser


def _chosen(options: argparse.Namespace) -> list[Configuration]:
    known = {configuration.name: configuration for configuration in _ALL}
    if not options.only:
        return list(LONG) if options.long else [*BASE, *ABLATIONS]
    unknown = [name for name in options.only if name not in known]
    if unknown:
        raise ModelError(f"no configuration is called {unknown[0]}; --list names them all")
    return [known[name] for name in options.only]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the chosen configurations; return the exit status."""
    options = _parser().parse_args(arguments)
    try:
        extra = dict(_assignment(text) for text in options.set)
        chosen = [configuration.also(extra) for configuration in _chosen(options)]
        if options.list:
            for configuration in _ALL:
                print(f"{configuration.name:34} {configuration.why}")
            return 0
        if reason := missing():
            raise ModelError(reason)
        good = [_run(configuration, options.trace) for configuration in chosen]
    except ModelError as error:
        print(f"fuzz.model: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("fuzz.model: interrupted", file=sys.stderr)
        return 130
    bad = good.count(False)
    print(
        f"{len(good)} configurations, {bad} not as expected"
        if bad
        else f"{len(good)} configurations as expected"
    )
    return 1 if bad else 0


def _assignment(text: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not separator or not re.fullmatch(r"[A-Z_]+", name) or not re.fullmatch(r"\d+|true|false", value):
        raise ModelError(f"--set {text}: must be NAME=VALUE with a number, true or false")
    return name, value


if __name__ == "__main__":
    sys.exit(main())
