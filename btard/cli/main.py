"""The `btard` command: what it is told goes to one subcommand, whose failures become one line and a status.

0: done; 1: failed, and said why on standard error; 2: wrong usage; 130: interrupted (spec GEN-8).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from btard.cli import check, demo, init, keygen, ledger, measure, peer, resume, status, why
from btard.errors import BtardError

FAILED = 1
INTERRUPTED = 130

_DESCRIPTION = """\
Train one torch model among peers that do not trust each other, and ban whoever cheats.

To see it: btard demo. To run it among your own machines:
  1. each peer:   btard keygen --out alice.key --control tcp://HOST:PORT --bulk tcp://HOST:PORT > alice.toml
  2. one of you:  btard init --out run.toml --peer alice.toml --peer bob.toml --peer carol.toml ...
  3. each peer:   btard check --run run.toml --key alice.key
  4. each peer:   btard peer --run run.toml --key alice.key --out alice
  and meanwhile:  btard status --out alice
  who is out:     btard ledger alice, and for one of them: btard why dave alice
"""
_EPILOG = """\
Every option can also be set by a variable: BTARD_DELTA_MS=50 for --delta-ms 50.
Each command explains itself: btard init --help
"""


def parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    root = argparse.ArgumentParser(
        prog="btard",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = root.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for module in (keygen, measure, init, check, peer, status, resume, ledger, why, demo):
        module.add(commands)
    return root


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status; wrong usage exits with status 2 (spec GEN-8)."""
    chosen = parser().parse_args(arguments)
    try:
        outcome: int = chosen.run(chosen)
    except KeyboardInterrupt:
        return _fail("interrupted", INTERRUPTED)
    except BtardError as error:
        return _fail(str(error))
    except OSError as error:
        place = f"{error.filename}: " if error.filename is not None else ""
        return _fail(f"{place}{error.strerror or error}")
    return outcome


def _fail(text: str, status: int = FAILED) -> int:
    for line in text.splitlines():
        print(f"btard: {line}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
