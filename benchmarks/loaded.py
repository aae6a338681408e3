"""What a peer spends seconds to import; to import this module is to have done so."""

import sklearn.datasets  # noqa: F401

import btard.cli.main
import btard.node.run
import btard.training.digits  # noqa: F401
from btard.training.numerics import set_deterministic

set_deterministic(threads=1)  # imports much of torch
