"""Measure what cheats gain, print it against the stated bounds and draw both (spec/45-bounds.md)."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch

from benchmarks.bounds import measure
from benchmarks.bounds.chances import Cast, expected_steps, quantile, survival
from benchmarks.bounds.picture import Findings, draw
from benchmarks.bounds.shifts import displacement
from benchmarks.bounds.sketches import SEEN, WORST_ROW, flat_row_bound

CASTS = (Cast(8, 3, 1), Cast(16, 7, 1), Cast(16, 7, 1, liars=3), Cast(32, 7, 4))
ALARM = 4.0 + 1.0  # alarm_factor spreads from an honest contributor, which is one from the centre


def findings(keys: int, runs: int) -> Findings:
    """Measure everything; with 2000 keys and 4000 runs that takes a minute."""
    return Findings(
        rows={direction.name: direction.lengths(4 * keys) for direction in measure.directions(1000)},
        shifts=[
            shift
            for peers, dimension in ((8, 1000), (16, 1000), (16, 50_000), (32, 1000))
            for shift in measure.shifts(peers, dimension, keys)
        ],
        covered=measure.covered(honest=24, byzantine=7, tau=0.5, dimension=1000, keys=max(20, keys // 20)),
        alarm=ALARM,
        dragged={
            tau: [
                (bad / (15 - bad), measure.dragged(15, bad, tau, 4000), displacement(1.0, tau, 15 - bad, bad))
                for bad in range(8)
            ]
            for tau in (0.1, 4.0)
        },
        caught={cast: (survival(cast, 300), measure.caught_after(cast, runs)) for cast in CASTS},
        passed=[measure.passed(10.0**k, tau=0.5, dimension=1000, keys=21) for k in range(-6, -1)],
    )


def report(found: Findings) -> None:
    """Print the tables."""
    print(f"a row no longer than 1/{SEEN:g} of its vector: flat vectors at most {flat_row_bound(SEEN):.4f},")
    print(f"all others {WORST_ROW}; four rows at once {WORST_ROW**4:.2e}\n")
    print("shift missed more often than 1e-6, in tau    n         d   measured      bound")
    for s in found.shifts:
        print(f"{s.direction:40} {s.peers:5} {s.dimension:9,} {s.measured:10.2e} {s.bound:10.2e}")
    print("\ncovered shift, 24 honest, 7 cheats, in spreads")
    print("liars  one coordinate  dense, even odds  if rows are as vectors  bound at 1e-6  verification 3")
    for c in found.covered:
        print(
            f"{c.liars:5} {c.one_coordinate:15.2f} {c.dense:17.2f} {c.rows_as_vectors:23.2f} {c.bound:14.2f}"
            f" {found.alarm:15.2f}"
        )
    print("\nCenteredClip, 15 contributors   tau  cheats/honest  measured  bound")
    for tau, points in found.dragged.items():
        for share, reached, bound in points:
            print(f"{tau:35g} {share:14.3f} {reached:9.3f} {bound:6.3f}")
    print("\nsteps until a liar is found     n  f  m liars   mean  played  all but 1e-4")
    for cast, (_, played) in found.caught.items():
        print(
            f"{cast.peers:33} {cast.byzantine:2} {cast.validators:2} {cast.liars:5} {expected_steps(cast):6.1f}"
            f" {played.mean():7.1f} {quantile(cast):13}"
        )
    print("\ngradient_rtol   dense  one coordinate   bound, in tau")
    for p in found.passed:
        print(f"{p.gradient_rtol:13.0e} {p.dense:7.1e} {p.one_coordinate:15.1e} {p.bound:7.1e}")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bounds", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for bounds.png")
    parser.add_argument("--keys", type=int, default=2000, help="sketch values to try (2000)")
    parser.add_argument("--runs", type=int, default=4000, help="elections to play (4000)")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    found = findings(options.keys, options.runs)
    report(found)
    options.out.mkdir(parents=True, exist_ok=True)
    draw(found, options.out / "bounds.png")
    print(f"\nwritten: {options.out / 'bounds.png'}")


if __name__ == "__main__":
    main()
