"""Robust aggregation and its verification: partition, CenteredClip, sketches, tolerances."""
