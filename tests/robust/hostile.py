"""Vectors as an adversary would pick them, from a few small draws."""

import torch
from hypothesis import strategies as st
from torch import Tensor

KINDS = ("normal", "equal", "zero", "line", "constant", "copy", "mirror")


@st.composite
def vectors(draw: st.DrawFn, max_peers: int = 16) -> list[Tensor]:
    """Up to 16 finite vectors at scales from 1e-38 to 3e38, with a common offset or not."""
    dimension = draw(st.sampled_from([1, 2, 3, 30]))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 10**6)))
    line, equal = torch.randn(2, dimension, generator=generator, dtype=torch.float64)
    offset = draw(st.sampled_from([0.0, 0.0, 1.0, 1e4])) * torch.randn(dimension, generator=generator)
    kinds = draw(st.lists(st.tuples(st.sampled_from(KINDS), SCALES), min_size=1, max_size=max_peers))
    made: list[Tensor] = []
    for kind, exponent in kinds:
        scale = 10.0**exponent
        fresh = torch.randn(dimension, generator=generator, dtype=torch.float64)
        vector = {
            "normal": scale * fresh,
            "equal": scale * equal,
            "zero": torch.zeros(dimension, dtype=torch.float64),
            "line": scale * round(float(fresh[0]) * 3) * line,
            "constant": torch.full((dimension,), scale, dtype=torch.float64),
            "copy": made[-1].double() if made else fresh,
            "mirror": -made[-1].double() if made else fresh,
        }[kind]
        if kind not in ("copy", "mirror"):
            vector = vector + offset
        made.append(vector.clamp(-3e38, 3e38).float())
    return made


SCALES = st.one_of(st.just(0), st.integers(-3, 3), st.integers(-38, 38))
RADII = st.one_of(st.just(1.0), st.floats(-5, 5).map(lambda e: 10.0**e), st.sampled_from([1e-30, 1e30, 1e300]))
