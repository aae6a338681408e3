"""What a peer owes in place of the gradient that its task computed."""

import math

from torch import Tensor

from btard.robust.arithmetic import consensus_norm
from btard.robust.finite import finite_or_zero


def owed(gradient: Tensor, clip: float) -> Tensor:
    """Return g * min(1, clip / |g|), or zeros if g is not finite (TRN-19, VER-1; Clipped-SGD of the paper).

    `gradient` is float32 of shape (dimension,); what needs no change is returned as it is. The norm is that
    of CNS-7, so equal gradients come to equal bits. `clip` is positive, and `inf` for no clipping.
    """
    clean = finite_or_zero(gradient)
    if math.isinf(clip) or (norm := consensus_norm(clean)) <= clip:
        return clean
    return clean * (clip / norm)
