"""CenteredClip's equation in n coefficients, given the inner products of its n vectors.

`gram` holds the inner products of the vectors relative to some centre, shape [n, n]; a point is written
sum_j place[j] y_j with y_j those vectors; tau is the clipping radius, positive and finite.

The fixed point is the minimum of a convex function, a sum of Huber losses of the distances to the vectors.
Values of that function are never compared: beside a vector of 1e20 they are all equal. Residuals are.
"""

import math

import attrs
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

PRECISION = 1e-9
"""Residual per vector and tau that is good enough; an honest aggregate is allowed 1e-7."""

_ROUNDING = 2.0**-52
_PATIENCE = 50  # steps that do not halve the error, before giving up
_MAX_TRIES = 60
_DAMPING = 1e-6  # keeps Newton's step finite where all vectors are clipped and lie on one line


@attrs.frozen
class Point:
    """A point and what the equation says there.

    Pulls and lengths are in units of `reach` = max(tau, smallest radius): where every vector is clipped,
    only the ratios of the pulls matter, and so they never underflow.
    """

    place: Array
    radii: Array
    """Distance to each vector."""
    pulls: Array
    """min(1, reach / radius)."""
    slope: Array
    """The residual, negated, as coefficients of the vectors."""
    residual: float
    """Its length / (n * reach)."""
    noise: float
    """What rounding may make of it, likewise."""

    @property
    def weights(self) -> Array:
        """The reweighted mean: weights >= 0 with sum 1. At the fixed point that is the place itself."""
        weights: Array = self.pulls / self.pulls.sum()
        return weights

    @property
    def error(self) -> float:
        """How large the residual may be in truth; infinite where nothing is known."""
        error = self.residual + self.noise
        return math.inf if math.isnan(error) else error

    @property
    def solved(self) -> bool:
        """Whether no further step can be expected to help."""
        return self.residual <= max(PRECISION, self.noise)


def central_half(gram: Array) -> Array:
    """Return the weights of a mean of more than half of the vectors: those closest together around one.

    Where more than half of the vectors are honest, no others can make this point lie far from them.
    """
    n = len(gram)
    half = n // 2 + 1
    diagonal = np.diagonal(gram)
    squares = diagonal[:, None] + diagonal[None, :] - 2 * gram
    medoid = int(np.argmin(np.sort(squares, axis=1)[:, half - 1]))
    weights = np.zeros(n)
    weights[np.argsort(squares[medoid], kind="stable")[:half]] = 1.0 / half
    return weights


def fixed_point(gram: Array, start: Array, tau: float) -> Point:
    """Return the fixed point, or a point as near to it as rounding lets one come.

    Newton's method on the residual. Where its step does not halve the residual, go to the minimum along it
    and then to the minimum towards the reweighted mean, neither of which leads away.

    Where the noise of the result is larger than wanted, call again with inner products relative to it and
    its weights as the start.
    """
    with np.errstate(all="ignore"):  # points without meaning have an infinite error, and lose
        best = point = _point(gram, start, tau)
        stalled = 0
        while not point.solved and stalled < _PATIENCE:
            newton = _point(gram, _newton(gram, point, tau), tau)
            if newton.error <= point.error / 2:
                point = newton
            else:
                point = _lowest(gram, point, newton.place, tau)
                point = _lowest(gram, point, point.weights, tau)
                point = _point(gram, point.weights, tau)
            stalled = 0 if point.error <= best.error / 2 else stalled + 1
            best = min(best, point, key=lambda candidate: candidate.error)
    return point if point.solved else best


def _point(gram: Array, place: Array, tau: float) -> Point:
    n = len(place)
    diagonal = np.diagonal(gram)
    product = gram @ place
    radii = np.sqrt(np.maximum(diagonal - 2 * product + place @ product, 0.0))
    reach = max(tau, float(radii.min()))
    far = np.maximum(radii, reach)
    pulls = reach / far
    total = pulls.sum()
    slope = total * place - pulls
    residual = math.sqrt(max(slope @ gram @ slope, 0.0))

    sizes, shares = np.abs(gram), np.abs(place)
    lost = diagonal + 2 * (sizes @ shares) + shares @ sizes @ shares  # in the squared radii
    of_slope = (total * shares + pulls) @ np.sqrt(diagonal)
    noise = _ROUNDING * (of_slope + pulls @ (lost / far))
    return Point(place, radii, pulls, slope, residual / (n * reach), float(noise) / (n * reach))


def _newton(gram: Array, point: Point, tau: float) -> Array:
    """Return the place to which Newton's method goes from `point`.

    The Jacobian is sum(pulls) I - sum_i pulls_i u_i u_i^T over the clipped vectors, u_i the unit vector
    from vector i to the point. The unknowns are sqrt(pulls_i) <u_i, step>, which makes the system symmetric
    and its entries at most sum(pulls).
    """
    place = point.place
    total = point.pulls.sum()
    clipped = np.flatnonzero(point.radii > tau)
    product = gram @ place
    offsets = gram - product[:, None] - product[None, :] + place @ product
    roots = np.sqrt(point.pulls[clipped])
    scale = roots / point.radii[clipped]
    among = offsets[np.ix_(clipped, clipped)]
    system = (1 + _DAMPING) * total * np.eye(len(clipped)) - scale[:, None] * among * scale[None, :]
    along = scale * (offsets[clipped] @ point.pulls)
    unknown = np.linalg.solve(system, -along)
    turn = np.zeros_like(place)
    turn[clipped] = scale * unknown
    target: Array = place + (turn.sum() * place - turn - point.slope) / total
    return target


def _lowest(gram: Array, start: Point, towards: Array, tau: float) -> Point:
    """Return about the point on the ray from `start` through `towards` where the loss is least.

    The loss is convex, so its derivative along the ray changes sign there once: bracket that by growing
    steps, since scales may lie a hundred orders of magnitude apart, then close in (Illinois method).
    """
    step = towards - start.place
    along = gram @ step
    low, low_slope = 0.0, float(start.slope @ along)
    enough = abs(low_slope) / 10
    point, high, high_slope = start, 1.0, 0.0
    for _ in range(_MAX_TRIES):
        point = _point(gram, start.place + high * step, tau)
        high_slope = float(point.slope @ along)
        if not high_slope < 0:
            break
        low, low_slope, high = high, high_slope, high * 64
    if not low_slope < 0 <= high_slope:
        return start
    for _ in range(_MAX_TRIES):
        if abs(point.slope @ along) <= enough:
            break
        middle = low - low_slope * (high - low) / (high_slope - low_slope)
        point = _point(gram, start.place + middle * step, tau)
        slope = float(point.slope @ along)
        if slope < 0:
            low, low_slope, high_slope = middle, slope, high_slope / 2
        else:
            high, high_slope, low_slope = middle, slope, low_slope / 2
    return point
