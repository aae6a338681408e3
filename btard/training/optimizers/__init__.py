"""Optimizers and learning rates in consensus arithmetic: equal bits on any hardware (TRN-14)."""

from btard.training.optimizers.adamw import AdamW
from btard.training.optimizers.base import ConsensusOptimizer
from btard.training.optimizers.lamb import LAMB
from btard.training.optimizers.schedule import ConsensusSchedule
from btard.training.optimizers.sgd import SGD

__all__ = ["LAMB", "SGD", "AdamW", "ConsensusOptimizer", "ConsensusSchedule"]
