"""CenteredClip against the textbook iteration: speed, convergence, and what hostile inputs do to it.

python -m benchmarks.centered_clip --help
"""

import argparse
import math
import os
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
from torch import Tensor

from btard.robust.centered_clip import centered_clip, distances, residual_norm
from btard.robust.tolerances import nu

Case = tuple[list[Tensor], float]
Result = TypeVar("Result")


def textbook(vectors: Sequence[Tensor], tau: float, steps: int, enough: float) -> tuple[Tensor, int]:
    """v += mean of the clipped differences, in float32 over all data, until v moves less than `enough`."""
    rows = torch.stack(list(vectors))
    v = rows.mean(dim=0)
    for step in range(1, steps + 1):
        differences = rows - v
        norms = differences.norm(dim=1, keepdim=True)
        move = (differences * (tau / norms).clamp(max=1.0)).mean(dim=0)
        v = v + move
        if float(move.norm()) <= enough:
            return v, step
    return v, steps


def residual_per_nu(vectors: Sequence[Tensor], v: Tensor, tau: float) -> float:
    """The residual of v, as a multiple of what an honest aggregate may show; at most 1 is right."""
    norm = distances([v], torch.zeros_like(v))[0]
    return residual_norm(vectors, v, tau) / nu(distances(vectors, v), norm, tau)


def hostile(dimension: int = 300, seed: int = 0) -> dict[str, Case]:
    """Inputs that break a careless CenteredClip: name -> (vectors, tau)."""
    generator = torch.Generator().manual_seed(seed)

    def normal(count: int, scale: float = 1.0) -> list[Tensor]:
        return [scale * torch.randn(dimension, generator=generator) for _ in range(count)]

    def full(value: float) -> Tensor:
        return torch.full((dimension,), float(value))

    line = normal(1)[0]
    offset = 1e4 * normal(1)[0]
    same = normal(1)[0]
    return {
        "16 alike": (normal(16), 10.0),
        "one x 1e20": ([*normal(15), normal(1, 1e20)[0]], 1.0),
        "7 of 16 at 1e20": (normal(9) + normal(7, 1e20), 1.0),
        "7 of 16 at one point of 1e20": (normal(9) + [full(1e20)] * 7, 1.0),
        "all 3e38": ([full(3e38)] * 16, 1.0),
        "half 3e38, half -3e38": ([full(3e38), full(-3e38)] * 8, 1.0),
        "3e38 among ones": ([*normal(9), full(3e38), full(-3e38), *normal(5, 3e37)], 1.0),
        "tau 1e-30": (normal(16), 1e-30),
        "tau 1e300": (normal(16), 1e300),
        "tau inf": (normal(16), math.inf),
        "values of 1e-30": (normal(16, 1e-30), 1e-30),
        "values of 1e-40": (normal(16, 1e-40), 1e-30),
        "zeros": ([full(0.0)] * 16, 1.0),
        "duplicates": ([same] * 9 + normal(7), 1.0),
        "all equal": ([same] * 16, 1e-3),
        "common offset": ([offset + x for x in normal(16)], 1.0),
        "common offset, one x 1e20": ([offset + x for x in [*normal(15), *normal(1, 1e20)]], 1.0),
        "one": (normal(1), 1.0),
        "two": (normal(2), 1.0),
        "two far apart": ([full(0.0), full(1e20)], 1.0),
        "even split": ([full(-1.0)] * 8 + [full(1.0)] * 8, 1e-3),
        "even split, 1e20 apart": (normal(8) + [full(1e20)] * 8, 1.0),
        "even split, three scales": (
            [*normal(8), *normal(4, 1e10), full(1e20), full(-1e20), full(3e38), full(-3e38)],
            1.0,
        ),
        "on one line": ([k * line for k in range(-7, 9)], 0.1),
        "on one line, odd": ([k**3 * line for k in range(-7, 8)], 1e-3),
        "geometric median": (normal(31), 1e-5),
        "start on a vector by cancellation": ([line, -line, full(0.0), 20 * same, 21 * same], 1e-30),
        "three numbers": ([torch.tensor([x]) for x in (3.0, 50.0, 4.0)], 1e-3),
        "numbers of two scales": ([full(x) for x in (-4, 1e25, -1, 0, 5e25, 3e25, -2)], 1e-9),
        "numbers of many scales": ([full(x) for x in (0, 0, 0, 1e10, 1e10, -1e10, 3e15)], 1e-4),
        "zeros, the rest at 1e21": (
            [*[full(0.0)] * 4, *normal(10, 1e21), 1e25 * line, full(3e38)],
            1e-30,
        ),
        "32 at all scales": ([10.0 ** (k - 16) * x for k, x in enumerate(normal(32))], 1.0),
    }


def _timed(action: Callable[[], Result], repeat: int = 1) -> tuple[Result, float]:
    """Return the result and the best time in milliseconds."""
    best = math.inf
    for _ in range(repeat):
        begin = time.perf_counter()
        result = action()
        best = min(best, time.perf_counter() - begin)
    return result, 1e3 * best


def _compare(peers: int, dimension: int, tau: float, steps: int, repeat: int) -> None:
    vectors = [torch.randn(dimension) for _ in range(peers)]
    radius = tau * math.sqrt(dimension)
    ours, our_time = _timed(lambda: centered_clip(vectors, radius), repeat)
    (theirs, taken), their_time = _timed(lambda: textbook(vectors, radius, steps, 1e-6 * radius))
    print(
        f"{peers:5} {dimension:10,} {tau:8g} {our_time:10.1f} {their_time:12.1f}"
        f" {their_time / our_time:7.0f}x {taken:6} {residual_per_nu(vectors, ours, radius):10.2g}"
        f" {residual_per_nu(vectors, theirs, radius):12.2g}"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.centered_clip", description=__doc__)
    parser.add_argument("--peers", type=int, nargs="+", default=[4, 16], help="vectors to aggregate (4 16)")
    parser.add_argument("--dimension", type=int, nargs="+", default=[300_000], help="their length (300000)")
    parser.add_argument(
        "--tau", type=float, nargs="+", default=[1.0, 0.1], help="radius, in typical lengths (1 0.1)"
    )
    parser.add_argument("--steps", type=int, default=500, help="the textbook iteration's limit (500)")
    parser.add_argument("--repeat", type=int, default=3, help="take the best of so many (3)")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    torch.manual_seed(0)

    print("peers  dimension      tau    ours, ms textbook, ms    ratio  steps    ours/nu  textbook/nu")
    for peers in options.peers:
        for dimension in options.dimension:
            for tau in options.tau:
                _compare(peers, dimension, tau, options.steps, options.repeat)
    print("\nhostile input                     residual / nu (at most 1)    ms")
    for name, (vectors, tau) in hostile().items():
        v, took = _timed(partial(centered_clip, vectors, tau))
        share = 0.0 if math.isinf(tau) else residual_per_nu(vectors, v, tau)
        print(f"{name:33} {share:25.2g} {took:5.1f}")


if __name__ == "__main__":
    main()
