"""Command line of the search: `python -m fuzz.search --help`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence

from fuzz.search.catalogue import ALL, FAULTS
from fuzz.search.configurations import Configuration
from fuzz.search.run import run

EPILOG = """\
Each configuration says what the liars may send, from where on, and where the story ends; within that the search
visits every order of events: honest messages that take any time up to delta, timers, and what the liars send to
whomever at any moment. It checks in every world that no honest peer stops, is banned or removed, that honest
peers agree on all applied steps and epochs, that nothing is applied without a certificate, that they enter
epochs within delta, and that the story comes to its end. Where links are declared broken, messages on them take
any time, or are lost: honest peers may halt, and where it says so be removed, but there is one history; and
where nobody lies, a way leads on from everywhere.

examples:
  python -m fuzz.search                            all configurations that run in CI
  python -m fuzz.search --long                     all of them, in hours
  python -m fuzz.search --config last-ok           one of them
  python -m fuzz.search --planted no-freeze        with a rule taken away: prints how it goes wrong
  python -m fuzz.search --list                     what there is

exit status: 0 where the search completes without a violation (with --planted: where it finds one), else 1.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the search; return the exit status."""
    parser = argparse.ArgumentParser(
        "python -m fuzz.search",
        description="Search every order of events of the real state machine, for one declared fault at a time.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config", metavar="NAME", help="search this configuration only")
    parser.add_argument("--long", action="store_true", help="also those that take longer than CI has time for")
    parser.add_argument("--planted", metavar="NAME", help="take this rule away first, where it shows")
    parser.add_argument("--limit", type=int, metavar="STATES", help="give up after so many states")
    parser.add_argument("--list", action="store_true", help="list configurations and planted faults")
    options = parser.parse_args(arguments)
    for name, known in ((options.config, ALL), (options.planted, FAULTS)):
        if name is not None and name not in known:
            parser.error(f"there is no '{name}'; there are: {', '.join(known)}")
    if options.limit is not None and options.limit < 1:
        parser.error("--limit must be at least 1")
    if options.list:
        _list()
        return 0
    fault = FAULTS[options.planted] if options.planted else None
    good = True
    for configuration in _chosen(options.config or (fault.shows if fault else None), options.long):
        if options.limit is not None:
            configuration = configuration.limited(options.limit)
        report = run(configuration, fault, _progress(configuration.name))
        print(report.summary())
        for line in report.lines:
            print(f"    {line}")
        violated = report.found.violation is not None
        good = good and (violated if fault else report.found.complete and not violated)
    return 0 if good else 1


def _chosen(name: str | None, long: bool) -> list[Configuration]:
    if name:
        return [ALL[name]]
    return [one for one in ALL.values() if long or not one.long]


def _list() -> None:
    print("configurations:")
    for one in ALL.values():
        print(f"  {one.name}{' (long)' if one.long else ''}: {one.what}")
    print("planted faults:")
    for fault in FAULTS.values():
        print(f"  {fault.name} ({fault.rule}, in {fault.shows}): {fault.what}")


def _progress(name: str) -> Callable[[int, int, int], None]:
    def progress(states: int, waiting: int, depth: int) -> None:
        print(f"{name}: {states} states, {waiting} to look at, depth {depth}", file=sys.stderr)

    return progress


if __name__ == "__main__":
    sys.exit(main())
