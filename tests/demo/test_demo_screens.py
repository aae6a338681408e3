"""What people see: lines, a live view that fits its terminal, and one picture."""

from __future__ import annotations

import io
import struct
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from btard.demo.events import Event
from btard.demo.live import LiveScreen, can_show, sparkline, view
from btard.demo.picture import draw, headline, height_at, spread
from btard.demo.plain import PlainScreen
from btard.demo.plan import Variant, make_plan
from btard.demo.state import RunState
from tests.demo.test_demo_outcome import BAD, PLAN, compared, gone, outcome


def terminal(width: int = 80, height: int = 24) -> Console:
    return Console(
        file=io.StringIO(),
        width=width,
        height=height,
        force_terminal=True,
        color_system=None,
        legacy_windows=False,
    )


def busy(peers: int = 8, bans: int = 3) -> RunState:
    """Return a run in its middle, with much to say."""
    plan = make_plan(peers=peers, steps=200, seed=1, attacks=[], tau=0.3, validators=1)
    state = RunState.begin(plan, Variant.BTARD, 1, 3, 0.0)
    for peer in range(peers):
        state.apply(peer, Event("started", {"step": 0}))
    for step in range(1, 100):
        state.now += 0.3
        for peer in range(peers):
            state.apply(peer, Event("phase", {"phase": "VALIDATE", "epoch": 0, "step": step}))
            state.apply(peer, Event("progress", {"step": step, "loss": 12345.6 / step, "accuracy": step / 100}))
    for peer in list(plan.attacks)[:bans]:
        state.apply(plan.honest[0], Event("expelled", gone(peer, 60) | {"reason": "a long story " * 20}))
    state.apply(plan.honest[0], Event("mismatch", {"reason": "another torch " * 20}))
    return state


@pytest.mark.parametrize(("width", "height"), [(80, 24), (100, 30), (200, 50)])
@pytest.mark.parametrize("peers", [4, 8, 30])
def test_the_live_view_fits_its_terminal(width: int, height: int, peers: int) -> None:
    console = terminal(width, height)
    with console.capture() as captured:
        console.print(view(busy(peers), console))
    lines = captured.get().splitlines()
    assert len(lines) < height
    assert max(map(len, lines)) <= width


def test_the_live_view_says_who_is_out_and_why() -> None:
    console = terminal(100, 30)
    with console.capture() as captured:
        console.print(view(busy(), console))
    shown = captured.get()
    assert "step   99 of 200" in shown
    assert f"peer-{BAD} banned in step 60 VER-1: a long story" in shown
    assert "bad_aggregate from 60" in shown
    assert "banned at 60" in shown
    assert "▇" in shown


def test_the_live_view_follows_the_run() -> None:
    console = terminal()
    state = busy(bans=0)
    with LiveScreen(console).watch(state) as refresh:
        refresh()
        state.apply(PLAN.honest[0], Event("expelled", gone(BAD, 60)))
    assert isinstance(console.file, io.StringIO)
    printed = console.file.getvalue()
    assert printed.index("nobody has been banned") < printed.index(f"peer-{BAD} banned in step 60")
    assert printed.count("\x1b[?25l") == printed.count("\x1b[?25h") == 1  # the cursor is hidden, and comes back


def test_only_a_terminal_gets_the_live_view() -> None:
    assert can_show(terminal())
    assert not can_show(Console(file=io.StringIO()))


@given(st.lists(st.floats(), min_size=1, max_size=100), st.integers(1, 50))
def test_a_sparkline_has_a_bar_for_each_of_the_latest_values(values: list[float], width: int) -> None:
    assert len(sparkline(values, width)) == min(len(values), width)


def test_plain_lines_tell_what_happens_as_it_happens() -> None:
    out = io.StringIO()
    state = RunState.begin(PLAN, Variant.BTARD, 1, 1, 0.0)
    first = PLAN.honest[0]
    with PlainScreen(Console(file=out, width=40)).watch(state) as refresh:
        state.apply(first, Event("started", {"step": 0}))
        for step in range(1, 101):
            state.now = float(step)
            state.apply(first, Event("progress", {"step": step, "loss": 1.0, "accuracy": 0.5}))
            if step == 65:
                state.apply(first, Event("expelled", gone(BAD, 60)))
            refresh()
    lines = out.getvalue().splitlines()
    ban = next(number for number, line in enumerate(lines) if "banned" in line)
    assert lines[ban].strip() == f"[  65 s] peer-{BAD} (bad_aggregate) banned in step 60 by VER-1: a reason"
    assert "step 60 of 200" in lines[ban - 1]
    assert "step 70 of 200: loss 1, test accuracy 0.500, 8 peers, about 130 s left" in lines[ban + 1]
    assert (
        len(lines) == 14
    )  # an empty one, a head, the start, ten times ten steps, the ban; step 65 is not told


def test_the_picture_is_a_png_and_an_svg_with_all_runs_and_bans(tmp_path: Path) -> None:
    png, svg = draw(compared(0.97, 0.98, 0.1), tmp_path)
    data = png.read_bytes()
    assert data.startswith(b"\x89PNG")
    assert struct.unpack(">I", data[16:20])[0] >= 1200
    assert len(data) > 30_000
    written = svg.read_text()
    assert ElementTree.fromstring(written).tag.endswith("svg")
    for words in ("attack-free", "without defence", f"peer-{BAD} (bad_aggregate) banned in step 60 by VER-4"):
        assert words in written
    assert "attack begins" in written


def test_equal_runs_make_equal_pictures(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        draw(compared(0.97, 0.98, 0.1), tmp_path / name)
    for name in ("comparison.png", "comparison.svg"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_a_picture_of_few_things_can_be_drawn_too(tmp_path: Path) -> None:
    empty = {peer: {"accuracies": []} for peer in PLAN.honest}
    paths = draw({Variant.BTARD: outcome(bans=(), own=empty)}, tmp_path)
    assert all(path.stat().st_size > 10_000 for path in paths)


def test_the_headline_says_what_was_found() -> None:
    assert headline(compared(0.97, 0.98, 0.1)) == (
        "BTARD bans all 3 cheats among 8 peers\n"
        "and reaches 97.0 % test accuracy; without attack 98.0 %, without defence 10.0 %"
    )
    honest = outcome(bans=((BAD, 60, "VER-4"), (PLAN.honest[0], 70, "AGR-3")))
    assert headline({Variant.BTARD: honest}).startswith(
        "BTARD bans 1 of 3 cheats among 8 peers, and 1 honest peer"
    )


@given(st.lists(st.floats(0, 1), max_size=6).map(sorted))
def test_names_at_the_end_of_curves_do_not_overlap(heights: list[float]) -> None:
    placed = spread(heights, 0.1, 1.0)
    assert all(b - a >= 0.1 - 1e-9 for a, b in pairwise(placed))
    assert all(new <= old for new, old in zip(placed, heights, strict=True))


def test_a_ban_is_marked_on_the_curve() -> None:
    assert height_at(((10, 0.4), (20, 0.8)), 15) == pytest.approx(0.6)
    assert height_at((), 15) == 0.0
