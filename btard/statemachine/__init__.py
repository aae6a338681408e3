"""The protocol: a sans-IO, deterministic per-peer state machine.

`handle(config, state, event) -> (state, effects)`; see `spec/` for the rules that it follows.
"""
