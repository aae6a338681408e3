"""One picture of the runs: what each model learnt, and who was a member when."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, Any, Final

from btard.demo.events import Expulsion
from btard.demo.outcome import Curve, Outcome
from btard.demo.plan import Variant
from btard.demo.setup import PICTURES
from btard.demo.verdict import counted

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's colours, which colour-blind people can tell apart; line styles differ besides.
_BLUE: Final = "#0072B2"
_VERMILION: Final = "#D55E00"
_GREEN: Final = "#009E73"
_GREY: Final = "#6B6B6B"
_INK: Final = "#222222"

_LINES: Final[Mapping[Variant, dict[str, Any]]] = {
    Variant.ATTACK_FREE: {"color": _GREEN, "linestyle": (0, (5, 2)), "linewidth": 2.0, "zorder": 3},
    Variant.UNDEFENDED: {"color": _VERMILION, "linestyle": (0, (1, 1)), "linewidth": 2.4, "zorder": 2},
    Variant.BTARD: {"color": _BLUE, "linestyle": "-", "linewidth": 2.8, "zorder": 4},
}
_NAMES: Final = {
    Variant.BTARD: "attacked,\nwith BTARD",
    Variant.ATTACK_FREE: "attack-free",
    Variant.UNDEFENDED: "attacked,\nwithout defence",
}
_NAME_GAP: Final = 0.11  # of accuracy, between two names at the end of curves
_PAPER: Final = {"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 1.5}
_REASON_WIDTH: Final = 86  # characters
_FEW: Final = 4  # bans that have room for whole sentences
_STYLE: Final[dict[Any, Any]] = {
    "font.size": 13,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": _GREY,
    "axes.labelcolor": _INK,
    "text.color": _INK,
    "xtick.color": _GREY,
    "ytick.color": _GREY,
    "svg.hashsalt": "btard",
}


def draw(outcomes: Mapping[Variant, Outcome], folder: Path) -> list[Path]:
    """Write the picture as PNG (1500 pixels wide) and SVG, and return both paths."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    main = outcomes[Variant.BTARD]
    with matplotlib.rc_context(_STYLE):
        lanes = 0.9 + 0.2 * main.plan.peers
        figure, (curves, members) = pyplot.subplots(
            2,
            sharex=True,
            figsize=(12, 5.9 + lanes),
            height_ratios=(5.0, lanes),
            layout="constrained",
        )
        figure.suptitle(headline(outcomes), fontsize=17, fontweight="bold", x=0.01, ha="left")
        _draw_curves(curves, outcomes)
        _draw_members(members, main)
        for axes in (curves, members):
            axes.axvline(main.plan.attack_start, color=_GREY, linewidth=1.2, linestyle="--", zorder=1)
        curves.set_xlim(0, main.plan.steps)
        members.set_xlabel("step")
        paths = [folder / name for name in PICTURES]
        for path in paths:
            # no date: equal runs make equal files
            figure.savefig(path, dpi=125, metadata={"Date": None} if path.suffix == ".svg" else None)
        pyplot.close(figure)
    return paths


def headline(outcomes: Mapping[Variant, Outcome]) -> str:
    """Return what the picture shows, in two lines."""
    main = outcomes[Variant.BTARD]
    cheats, banned = len(main.attacks), sum(main.ban_of(peer) is not None for peer in main.attacks)
    bans = (
        f"{banned} of {cheats} cheats"
        if banned < cheats
        else f"all {cheats} cheats"
        if cheats > 1
        else "the cheat"
    )
    first = f"BTARD bans {bans} among {main.plan.peers} peers"
    first += f", and {counted(len(main.honest_expelled), 'honest peer')}" if main.honest_expelled else ""
    second = f"and reaches {percent(main.accuracy)} test accuracy"
    others = {Variant.ATTACK_FREE: "without attack", Variant.UNDEFENDED: "without defence"}
    compared = [
        f"{name} {percent(outcomes[variant].accuracy)}"
        for variant, name in others.items()
        if variant in outcomes
    ]
    return f"{first}\n{second}" + (f"; {', '.join(compared)}" if compared else "")


def percent(accuracy: float | None) -> str:
    """Return an accuracy in percent."""
    return "no" if accuracy is None else f"{100 * accuracy:.1f} %"


def _draw_curves(axes: Axes, outcomes: Mapping[Variant, Outcome]) -> None:
    for variant, style in _LINES.items():
        if variant in outcomes and (curve := outcomes[variant].accuracies):
            axes.plot(*zip(*curve, strict=True), **style)
    main = outcomes[Variant.BTARD]
    axes.set_ylim(0, 1.02)
    axes.set_ylabel("test accuracy")
    axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
    axes.grid(axis="y", color="#E4E4E4", linewidth=0.8)
    axes.set_axisbelow(True)
    _mark_start(axes, main)
    _mark_bans(axes, main)
    _name_curves(axes, outcomes)


def _mark_start(axes: Axes, main: Outcome) -> None:
    start = main.plan.attack_start
    early = start < 0.2 * main.plan.steps
    axes.annotate(
        f"attack begins\n(step {start})",
        (start, 0.30),
        xytext=(8 if early else -8, 0),
        textcoords="offset points",
        ha="left" if early else "right",
        va="center",
        color=_GREY,
        bbox=_PAPER,
    )


def _mark_bans(axes: Axes, main: Outcome) -> None:
    """Mark each ban on the curve; its words hang below it in the empty middle of the panel."""
    steps = main.plan.steps
    gone = sorted(main.expelled, key=lambda expulsion: expulsion.step)
    # words to the right of their thread, the earliest lowest, so that no thread crosses them; late ones, for
    # which there is no room on the right, above them to the left, the earliest highest
    late = [expulsion for expulsion in gone if expulsion.step > 0.55 * steps]
    early = [expulsion for expulsion in gone if expulsion.step <= 0.55 * steps]
    for place, expulsion in enumerate([*late, *reversed(early)]):
        step = min(expulsion.step, steps)  # closing steps lie beyond the panel
        top, end = height_at(main.accuracies, step), 0.78 - 0.08 * (place % 9)
        axes.vlines(step, end, top, color=_INK, linewidth=1.0, zorder=5)
        axes.plot(step, top, marker="X", markersize=12, color=_INK, markeredgecolor="white", zorder=7)
        axes.annotate(
            _ban_words(main, expulsion, len(gone) <= _FEW),
            (step, end),
            xytext=(-6 if expulsion in late else 6, 0),
            textcoords="offset points",
            ha="right" if expulsion in late else "left",
            va="center",
            bbox=_PAPER,
            zorder=6,
        )


def _ban_words(main: Outcome, gone: Expulsion, full: bool) -> str:
    attack = main.attacks.get(gone.peer)
    who = f"peer-{gone.peer} ({attack.name if attack else 'honest!'})"
    return (
        f"{who} {gone.verb} in step {gone.step} by {gone.rule}" if full else f"peer-{gone.peer} by {gone.rule}"
    )


def height_at(curve: Curve, step: int) -> float:
    """Return the curve's height at a step, between two evaluations on the line that joins them."""
    import numpy

    if not curve:
        return 0.0
    steps, values = zip(*curve, strict=True)
    return float(numpy.interp(step, steps, values))


def _name_curves(axes: Axes, outcomes: Mapping[Variant, Outcome]) -> None:
    ends = {variant: outcome.accuracies[-1] for variant, outcome in outcomes.items() if outcome.accuracies}
    order = sorted(ends, key=lambda variant: ends[variant][1])
    heights = spread([ends[variant][1] for variant in order], _NAME_GAP, 1.0)
    for variant, height in zip(order, heights, strict=True):
        axes.annotate(
            _NAMES[variant],
            (1.0, height),
            xycoords=("axes fraction", "data"),
            xytext=(8, 0),
            textcoords="offset points",
            va="center",
            color=_LINES[variant]["color"],
            fontweight="bold",
            annotation_clip=False,
        )


def spread(heights: Sequence[float], gap: float, top: float) -> list[float]:
    """Return ascending heights, moved down where needed so that they lie ``gap`` apart and below ``top``."""
    placed: list[float] = []
    for height in reversed(heights):
        placed.append(min(height, top if not placed else placed[-1] - gap))
    return placed[::-1]


def _draw_members(axes: Axes, main: Outcome) -> None:
    """Draw a bar for each peer, for as long as it was a member."""
    gone = {expulsion.peer: expulsion for expulsion in main.expelled}
    for peer in range(main.plan.peers):
        attack, steps = main.attacks.get(peer), main.plan.steps
        end = min(gone[peer].step, steps) if peer in gone else steps
        turn = min(attack.from_step, end) if attack else end
        axes.barh(peer, turn, height=0.62, color=_BLUE, alpha=0.35, zorder=2)
        bar: dict[str, Any] = {"color": _VERMILION, "hatch": "////", "edgecolor": "white"}
        axes.barh(peer, end - turn, left=turn, height=0.62, zorder=2, **bar)
        if peer in gone:
            axes.plot(end, peer, marker="X", markersize=9, color=_INK, markeredgecolor="white", zorder=6)
            words = f"{gone[peer].verb} by {gone[peer].rule}: {gone[peer].reason}"
            _name_end(axes, peer, turn, end, steps, f"{attack.name if attack else 'honest!'}, {words}")
        elif attack:
            _name_end(axes, peer, turn, end, steps, f"{attack.name}, not banned")
    axes.set_yticks(range(main.plan.peers), [f"peer-{peer}" for peer in range(main.plan.peers)], fontsize=11)
    axes.tick_params(axis="y", length=0)
    axes.invert_yaxis()
    axes.set_title("who takes part (hatched: attacking)", loc="left", fontsize=13)


def _name_end(axes: Axes, peer: int, turn: int, end: int, steps: int, words: str) -> None:
    """Write behind a bar, or where there is no room on its honest part, or else upon it."""
    behind, before = end <= 0.55 * steps, turn > 0.45 * steps
    axes.annotate(
        shorten(words, _REASON_WIDTH, placeholder="..."),
        (turn if before and not behind else end, peer),
        xytext=(9 if behind else -9, -0.5),
        textcoords="offset points",
        ha="left" if behind else "right",
        va="center",
        fontsize=10.5,
        bbox=None if before and not behind else _PAPER | {"pad": 0.5},
        zorder=5,
    )
