"""What a cheat can gain: the bounds of spec/45-bounds.md as formulas, and measurements to hold against them.

python -m benchmarks.bounds --help
"""
