"""The demonstration as a live view in a terminal, from 80 x 24 characters on."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from btard.demo.events import Expulsion
from btard.demo.plain import PlainScreen
from btard.demo.plan import Variant
from btard.demo.state import Member, RunState
from btard.demo.verdict import counted

_FRAME_SECONDS: Final = 0.2
_BLOCKS: Final = "▁▂▃▄▅▆▇█"
_AROUND_TABLE: Final = 9  # lines of the view besides peers, bans and troubles


class LiveScreen(PlainScreen):
    """Plain lines before and after each run, and a picture of it while it goes on."""

    @contextmanager
    def watch(self, state: RunState) -> Iterator[Callable[[], None]]:
        """Show a run while the context is open; the main run's last picture stays."""
        # frames are drawn by the caller's turns alone: no thread of rich's own
        transient = state.variant is not Variant.BTARD
        with Live(console=self.console, auto_refresh=False, transient=transient) as live:
            last = -math.inf

            def refresh() -> None:
                nonlocal last
                if time.monotonic() - last >= _FRAME_SECONDS:
                    last = time.monotonic()
                    live.update(view(state, self.console), refresh=True)

            try:
                yield refresh
            finally:
                live.update(view(state, self.console), refresh=True)


def can_show(console: Console) -> bool:
    """Tell whether a console can show the live view."""
    return console.is_terminal and not console.is_dumb_terminal and console.encoding.startswith("utf")


def view(state: RunState, console: Console) -> RenderableType:
    """Return one frame, no higher than the console."""
    bans = list(state.expelled.values())
    troubles = state.troubles[-2:]
    room = max(3, console.height - _AROUND_TABLE - max(1, len(bans)) - len(troubles))
    return Group(
        Rule(Text(f" run {state.number} of {state.runs}: {state.variant.title} ", "bold"), style="dim"),
        _progress(state),
        _accuracy(state, console.width),
        Padding(_members(state, room), (1, 0)),
        _roster(state),
        *(_ban(state, gone) for gone in bans),
        *([] if bans else [Text("nobody has been banned", "dim")]),
        *(_line(Text(f"! {trouble}", "yellow")) for trouble in troubles),
    )


def _progress(state: RunState) -> RenderableType:
    grid = Table.grid(padding=(0, 2, 0, 0), expand=True)
    grid.add_column(no_wrap=True)
    grid.add_column(ratio=1)
    grid.add_column(no_wrap=True)
    left = state.seconds_left
    times = f"{_clock(state.now - state.began)} gone"
    times += f", {_clock(left)} left" if left is not None else ", starting"
    bar = ProgressBar(total=state.plan.steps, completed=state.step)
    grid.add_row(Text(f"step {state.step:>4} of {state.plan.steps}"), bar, Text(times, "dim"))
    return grid


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"


def _accuracy(state: RunState, width: int) -> RenderableType:
    line = Text("accuracy ")
    if not state.accuracies:
        return line.append("not yet known", "dim")
    line.append(f"{state.accuracy:.3f} ", "bold")
    line.append(sparkline([value for _, value in state.accuracies], max(10, width - 34)), "cyan")
    line.append(f"  loss {state.loss:.3g}")
    return _line(line)


def sparkline(values: Sequence[float], width: int) -> str:
    """Return values from 0 to 1 as a row of bars; the latest ``width`` of them."""
    top = len(_BLOCKS) - 1
    bounded = (0.0 if math.isnan(value) else min(1.0, max(0.0, value)) for value in values[-width:])
    return "".join(_BLOCKS[round(value * top)] for value in bounded)


def _members(state: RunState, room: int) -> RenderableType:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", expand=True)
    for title, width in (
        ("peer", None),
        ("role", None),
        ("step", 4),
        ("phase", 8),
        ("loss", 6),
        ("accuracy", 8),
    ):
        # fixed widths, so that no column jumps
        table.add_column(title, width=width, justify="right" if width in (4, 6) else "left", no_wrap=True)
    table.add_column("state", ratio=1, no_wrap=True, overflow="ellipsis")
    shown = state.members if len(state.members) <= room else state.members[: room - 1]
    for member in shown:
        table.add_row(*_row(state, member), style="dim" if member.index in state.expelled else "")
    if len(shown) < len(state.members):
        table.add_row("...", Text(f"{len(state.members) - len(shown)} more", "dim"))
    return table


def _row(state: RunState, member: Member) -> list[RenderableType]:
    attacking = member.attack is not None and state.step + 1 >= member.attack.from_step
    role = "red" if attacking else "yellow" if member.attack is not None else "green"
    gone = state.expelled.get(member.index)
    doing = Text(f"{gone.verb} at {gone.step}", "bold red") if gone else Text(member.doing)
    return [
        Text(member.name),
        Text(member.role, role),
        Text(str(member.step)),
        Text("" if gone else member.phase),
        Text(_short(member.loss, ".3f" if member.loss < 100 else ".1e")),
        Text(_short(member.accuracy, ".3f")),
        doing,
    ]


def _short(value: float, form: str) -> str:
    return "-" if math.isnan(value) else format(value, form)


def _roster(state: RunState) -> RenderableType:
    peers = " ".join(str(peer) for peer in state.roster)
    return _line(Text(f"epoch {state.epoch}, roster of {counted(len(state.roster), 'peer')}: {peers}", "dim"))


def _ban(state: RunState, gone: Expulsion) -> RenderableType:
    member = state.members[gone.peer]
    line = Text("✗ ", "bold red")
    line.append(f"{member.name} {gone.verb} in step {gone.step}", "bold")
    return _line(line.append(f" {gone.rule}: {gone.reason}"))


def _line(text: Text) -> Text:
    """Return a text that never takes more than one line."""
    text.no_wrap, text.overflow = True, "ellipsis"
    return text
