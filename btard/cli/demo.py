"""`btard demo`: real peers, real attackers, one picture."""

from __future__ import annotations

import argparse
import io
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from btard.cli.options import add_option, add_several, add_switch

if TYPE_CHECKING:
    from argparse import _SubParsersAction

_DESCRIPTION = """\
See peers that do not trust each other train one model, some of them cheat, and the others ban the cheats.

Each peer is a process of its own, which talks to the others over ZeroMQ with CURVE on this machine. The
task is a small convolutional network on scikit-learn's handwritten digits. Three runs on the same seeds
follow each other: under attack with BTARD, without attack, and under the same attack without defence. --out
then holds comparison.png and .svg, summary.json and the trained model.

Without --attack there are one bad_aggregate and two sign_flip, or as many of them as the peers bear. An
attack without @STEP begins after three tenths of the steps: at step 60 of 200. A sign_flip is caught when a
validator is drawn that looks at it, which may take some 50 steps.

The exit status is 0 if every cheat was banned, no honest peer was banned or removed, all honest peers ended
with the same state, and accuracy recovered.
"""
_EPILOG = """\
examples:
  btard demo
  btard demo --steps 100 --no-compare
  btard demo --attack sign_flip@20 --attack bad_aggregate@40 --seed 7 --out two-cheats
"""


def add(subparsers: _SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the command."""
    parser = subparsers.add_parser(
        "demo",
        help="see it train and ban cheats, on this machine",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_option(parser, "--peers", "how many processes", int, default=8)
    add_option(parser, "--steps", "training steps", int, default=200)
    add_option(parser, "--seed", "number that fixes the initial model and who cheats", int, default=1)
    add_option(parser, "--out", "folder for all results", Path, default=Path("demo-out"), metavar="FOLDER")
    attack = "a cheat, and the first step in which it acts: NAME[@STEP][:KEY=VALUE,...]"
    add_several(parser, "--attack", attack, metavar="ATTACK")
    add_switch(parser, "--no-compare", "only the run under attack with BTARD")
    add_option(parser, "--tau", "CenteredClip's radius for a part", float, default=0.3)
    add_option(parser, "--validators", "peers that check another's gradient at each step", int, default=1)
    add_switch(parser, "--plain", "plain lines, also in a terminal")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Give the demonstration."""
    from rich.console import Console

    from btard.demo.live import LiveScreen, can_show
    from btard.demo.plain import PlainScreen
    from btard.demo.plan import make_plan
    from btard.demo.show import give
    from btard.demo.verdict import findings, status

    plan = make_plan(
        peers=options.peers,
        steps=options.steps,
        seed=options.seed,
        attacks=options.attack,
        tau=options.tau,
        validators=options.validators,
    )
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a reason may hold what this terminal cannot show
    console = Console(highlight=False, emoji=False)
    live = can_show(console) and not options.plain
    screen = LiveScreen(console) if live else PlainScreen(console)
    return status(findings(give(plan, options.out, screen, compare=not options.no_compare)))
