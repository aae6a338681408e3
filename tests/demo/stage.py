"""A demonstration with peers that only pretend, given in this process or in one of its own."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console

from btard.demo.outcome import Outcome
from btard.demo.plain import PlainScreen
from btard.demo.plan import Plan, Variant, make_plan
from btard.demo.setup import Launch, TaskIdentity
from btard.demo.show import give

FAKE = Path(__file__).with_name("fake_peer.py")
PLAN = make_plan(peers=4, steps=20, seed=1, attacks=["sign_flip@6"], tau=0.3, validators=1)
(CHEAT,) = PLAN.attacks
HONEST = PLAN.honest
BANNED = {"expel": [[8, CHEAT, "VER-1", "ban"]]}


def identify(_: Plan) -> TaskIdentity:
    return TaskIdentity(1000, bytes(32), bytes(32))


def pretending(play: dict[str, Any]) -> Callable[[Launch], list[str]]:
    """Return the command of peers that play a part; ``play`` may hold another part for another run."""

    def command(launch: Launch) -> list[str]:
        variant = launch.run_file.parent.name
        own = play if variant == Variant.BTARD.value else {"expel": []} | play.get(variant, {})
        words = [sys.executable, str(FAKE), json.dumps(own)]
        return [*words, "--run", str(launch.run_file), "--out", str(launch.out)]

    return command


def stage(
    folder: Path, play: dict[str, Any], compare: bool = False, stall_seconds: float = 60.0
) -> tuple[dict[Variant, Outcome], str]:
    """Give it, and return what came of it and what was printed."""
    out = io.StringIO()
    outcomes = give(
        PLAN,
        folder,
        PlainScreen(Console(file=out, width=100)),
        compare=compare,
        identify=identify,
        command=pretending(play),
        stall_seconds=stall_seconds,
    )
    return outcomes, out.getvalue()


if __name__ == "__main__":
    stage(Path(sys.argv[1]), json.loads(sys.argv[2]))
