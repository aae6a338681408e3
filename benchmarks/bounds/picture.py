"""The measurements against the bounds in one picture."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from attrs import frozen

from benchmarks.bounds.chances import Cast
from benchmarks.bounds.measure import MISSED, Covered, Passed, Shift, missed
from benchmarks.bounds.sketches import SEEN, Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's colours, which colour-blind people can tell apart; markers differ besides.
COLOURS: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS: Final = ("o", "s", "^", "D", "v", "P")
BOUND: Final[dict[str, Any]] = {"color": "#222222", "linewidth": 1.8, "linestyle": "--", "zorder": 2}
STYLE: Final[dict[Any, Any]] = {
    "font.size": 11,
    "axes.titlesize": 12.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#E4E4E4",
    "legend.frameon": True,
    "legend.facecolor": "white",
    "legend.edgecolor": "none",
    "legend.framealpha": 0.95,
    "legend.fontsize": 9.5,
}


@frozen(eq=False)
class Findings:
    """Everything that the picture shows."""

    rows: Mapping[str, Array]  # lengths of rows by direction
    shifts: Sequence[Shift]
    covered: Sequence[Covered]
    alarm: float  # what verification 3 leaves of a covered cheat, in spreads
    dragged: Mapping[float, Sequence[tuple[float, float, float]]]  # by tau: share, measured, bound
    caught: Mapping[Cast, tuple[Sequence[float], Array]]  # probability by step, and played runs
    passed: Sequence[Passed]


def draw(findings: Findings, path: Path) -> None:
    """Write the picture as PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from matplotlib.layout_engine import ConstrainedLayoutEngine
    from PIL import Image

    with matplotlib.rc_context(STYLE):
        engine = ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.12)
        figure, axes = pyplot.subplots(2, 3, figsize=(16.5, 9.8), layout=engine)
        for axis, show in zip(axes.flat, (_rows, _shifts, _covered, _dragged, _caught, _passed), strict=True):
            show(axis, findings)
        figure.savefig(path, dpi=100)
        pyplot.close(figure)
    with Image.open(path) as image:
        few_colours = image.convert("RGB").quantize(
            256, Image.Quantize.MAXCOVERAGE
        )  # a third of the size, and looks the same
    few_colours.save(path, optimize=True)


def _rows(axes: Axes, findings: Findings) -> None:
    ratios = np.linspace(0.5, 5.8, 425)
    for name, colour in zip(findings.rows, COLOURS, strict=True):
        odds = np.array([missed(findings.rows[name], ratio) for ratio in ratios])
        odds[odds == 0] = np.nan
        axes.plot(ratios, odds, color=colour, linewidth=2, label=name)
    axes.axvline(SEEN, **BOUND)
    axes.axhline(MISSED, color="#888888", linewidth=1.2)
    axes.text(SEEN + 0.05, 3e-5, "bound: three thresholds")
    axes.text(4.3, 1.4e-6, "one in a million", fontsize=9.5, color="#555555")
    axes.set(
        title="A wrong aggregate that verification 2 misses",
        xlabel="length of the residual, in thresholds (TOL-5)",
        ylabel="probability that all four rows miss it",
        yscale="log",
        ylim=(1e-8, 2),
    )
    axes.legend(loc="upper right")


def _shifts(axes: Axes, findings: Findings) -> None:
    cases = sorted({(shift.peers, shift.dimension) for shift in findings.shifts})
    names = list(dict.fromkeys(shift.direction for shift in findings.shifts))
    for name, colour, marker in zip(names, COLOURS, MARKERS, strict=True):
        found = {(s.peers, s.dimension): s for s in findings.shifts if s.direction == name}
        places = np.arange(len(cases)) + 0.1 * (names.index(name) - (len(names) - 1) / 2)
        axes.plot(
            places,
            [1e6 * found[case].measured for case in cases],
            marker,
            color=colour,
            label=name,
            markersize=7,
        )
    for place, case in enumerate(cases):
        bound = 1e6 * next(s.bound for s in findings.shifts if (s.peers, s.dimension) == case)
        axes.plot([place - 0.4, place + 0.4], [bound, bound], **BOUND, label="" if place else "bound")
    axes.set_xticks(range(len(cases)), [f"n = {n}\nd = {d:,}" for n, d in cases])
    axes.set(
        title="Shift past verification 2, uncovered",
        ylabel="shift missed with odds of $10^{-6}$, in $10^{-6}\\,\\tau$",
        ylim=(0, 1.4e6 * max(shift.bound for shift in findings.shifts)),
    )
    axes.legend(loc="upper center", ncols=2, columnspacing=1.0)


def _covered(axes: Axes, findings: Findings) -> None:
    liars = [case.liars for case in findings.covered]
    top = 1.9 * findings.alarm

    def line(name: str) -> list[float]:
        return [min(getattr(case, name), 2 * top) for case in findings.covered]

    axes.plot(liars, line("one_coordinate"), "o-", color=COLOURS[0], label="measured, one coordinate")
    axes.plot(liars, line("dense"), "P-", color=COLOURS[5], label="measured, dense, even odds")
    axes.plot(liars, line("rows_as_vectors"), color=COLOURS[1], label="bound, rows as long as vectors")
    axes.plot(liars, line("bound"), **BOUND, label="bound, odds $10^{-6}$")
    axes.axhline(findings.alarm, color=COLOURS[2], linewidth=2.2, label="bound, verification 3 ($\\kappa$ = 4)")
    axes.set(
        title="Covered shift (24 honest, 7 cheats)",
        xlabel="liars among the cheats; the others follow with true scalars",
        ylabel="shift, in spreads of the honest",
        ylim=(0, top),
    )
    axes.legend(loc="upper left")


def _dragged(axes: Axes, findings: Findings) -> None:
    for (tau, points), colour, marker in zip(findings.dragged.items(), COLOURS, MARKERS, strict=False):
        share, measured, bound = zip(*points, strict=True)
        axes.plot(share, measured, marker, color=colour, label=f"measured, $\\tau$ = {tau:g} spreads")
        axes.plot(share, bound, **{**BOUND, "color": colour}, label=f"bound, $\\tau$ = {tau:g} spreads")
    shares = np.linspace(0, 0.875, 100)
    usual = shares / np.sqrt(1 - shares**2)
    axes.plot(shares, usual, color="#999999", linewidth=1.2, label="honest ones in all directions", zorder=1)
    axes.set(
        title="CenteredClip's own bound (15 contributors)",
        xlabel="cheats per honest contributor",
        ylabel="shift, in spreads of the honest",
        ylim=(0, None),
    )
    axes.legend(loc="upper left")


def _caught(axes: Axes, findings: Findings) -> None:
    for (cast, (stated, runs)), colour, marker in zip(findings.caught.items(), COLOURS, MARKERS, strict=False):
        label = f"n = {cast.peers}, f = {cast.byzantine}, m = {cast.validators}"
        axes.plot(stated, color=colour, linewidth=2, label=f"{label}, {_liars(cast.liars)}")
        steps = np.unique(np.linspace(1, runs[-20], 12).astype(int))  # later marks would be chance
        axes.plot(steps, [(runs > step).mean() for step in steps], marker, color=colour, markersize=6)
    axes.set(
        title="Steps until a liar is validated",
        xlabel="steps since the first lie (lines: stated, marks: played)",
        ylabel="probability that none was found",
        yscale="log",
        ylim=(1e-4, 1.3),
        xlim=(0, 260),
    )
    axes.legend(loc="upper right")


def _liars(count: int) -> str:
    return "1 liar" if count == 1 else f"{count} liars"


def _passed(axes: Axes, findings: Findings) -> None:
    sizes = [case.gradient_rtol for case in findings.passed]
    bound = [case.bound for case in findings.passed]
    axes.plot(
        sizes, [case.one_coordinate for case in findings.passed], "o", color=COLOURS[0], label="one coordinate"
    )
    axes.plot(sizes, [case.dense for case in findings.passed], "P", color=COLOURS[5], label="dense, even odds")
    axes.plot(sizes, bound, **BOUND, label="bound")
    axes.set(
        title="What gradient_rtol lets pass",
        xlabel="gradient_rtol",
        ylabel="change of one contributor's pull, in $\\tau$",
        xscale="log",
        yscale="log",
        ylim=(0.3 * min(case.dense for case in findings.passed), 10 * max(filter(math.isfinite, bound))),
    )
    axes.legend(loc="upper left")
