"""Consensus parameters: what all peers of a run must share (spec GEN).

Everything here comes from the run file, whose hash is the run id; times are milliseconds.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from attrs import evolve, fields, frozen


@frozen
class Parameters:
    """What the protocol computes with; floats are finite unless said otherwise.

    ``tau`` is CenteredClip's radius per part and may be ``inf``, which makes the aggregate the plain mean
    and every numeric check vacuous (spec AGG-4): the undefended baseline, not a setting for real runs.
    """

    steps: int  # training steps 1..steps; step 0 only draws shared randomness
    dimension: int  # number of float32 parameters
    tau: float
    validators: int  # m: pairs (validator, target) a step; 0 switches gradient validation off
    f_max: int  # how many Byzantine or crashed peers the run is meant to bear
    gradient_clip: float  # lambda: a longer gradient is scaled down to this length; inf for never
    gradient_rtol: float
    alarm_factor: float  # kappa: verification 3 alarms above kappa times the median of median norms
    late_brake: int  # so many are removed for lateness alone between two certified steps
    window: int  # W: so many steps a false alarm excuses its aggregator's next like it, and a drift counts
    late_limit: int = 0  # X: late in so many of the last W certified steps, as q members say: out; 0 for never

    def problems(self, peers: int) -> Iterator[str]:
        """Say, a line each, what makes these parameters unusable with ``peers`` peers (spec GEN-3)."""
        if peers < 3:
            yield f"{peers} peers: at least 3 are needed to outvote one cheat"
        if self.steps < 1:
            yield f"steps = {self.steps}: must be at least 1"
        if self.dimension < peers:
            yield f"dimension = {self.dimension}: needs at least one coordinate for each of the {peers} peers"
        if not self.tau > 0:
            yield f"tau = {self.tau}: must be positive"
        if self.validators < 0:
            yield f"validators = {self.validators}: must not be negative"
        if self.f_max < 0:
            yield f"f_max = {self.f_max}: must not be negative"
        if peers - self.validators <= 2 * self.f_max:
            yield (
                f"{peers} peers less {self.validators} validators do not outvote f_max = {self.f_max}: "
                f"n - m > 2 f_max is needed, so lower f_max or validators, or add peers"
            )
        if 2 * self.validators > peers - self.validators:
            yield f"validators = {self.validators}: at most a third of {peers} peers can validate"
        if not self.gradient_clip > 0:
            yield f"gradient_clip = {self.gradient_clip}: must be positive; inf leaves gradients as they are"
        if not (math.isfinite(self.gradient_rtol) and 0 <= self.gradient_rtol <= 0.1):
            yield f"gradient_rtol = {self.gradient_rtol}: must lie in 0..0.1 (it is an attacker's gain)"
        if not (math.isfinite(self.alarm_factor) and self.alarm_factor >= 1):
            yield f"alarm_factor = {self.alarm_factor}: must be at least 1"
        if not 0 <= self.late_brake <= self.f_max:
            yield f"late_brake = {self.late_brake}: must lie in 0..f_max"
        if self.window < 1:
            yield f"window = {self.window}: must be at least 1"
        if not 0 <= self.late_limit <= self.window:
            yield f"late_limit = {self.late_limit}: must lie in 0..window = {self.window}; 0 switches it off"


@frozen
class Timing:
    """Delays, compute bounds and time-outs in milliseconds (spec TIM)."""

    delta: int  # control message between honest peers: link, queueing and verification included
    delta_bulk: int  # all bulk objects of a phase, requests included
    pull_grace: int  # how long a peer waits for what is under way before it pulls
    drift_ppm: int  # clock drift
    c_commit: int  # apply, gradient and validation
    c_aggregate: int
    c_reveal: int
    c_validate: int
    c_accuse: int
    c_judge: int
    c_publish: int
    w_bulk: int  # own wait for the parts of one's aggregate
    t_commit: int
    t_reduce: int
    t_reveal: int
    t_validate: int
    t_accuse: int
    t_accuse_disputed: int
    t_publish: int
    t_judge: int
    t_judge_disputed: int

    @property
    def c_reduce(self) -> int:
        """Longest honest time from entering REDUCE to sending (spec TIM-4)."""
        return self.w_bulk + self.t_publish + self.delta + max(self.delta, self.delta_bulk) + self.c_aggregate

    def minima(self) -> dict[str, int]:
        """Return the smallest admissible value of each time-out, drift included (spec TIM-1 to TIM-6)."""
        delta, either = self.delta, max(self.delta, self.delta_bulk)
        publish = self.c_publish + 3 * delta + self.delta_bulk
        judge = self.c_judge + self.c_accuse + 4 * delta + either
        disputed = self.t_publish + 5 * delta + either
        bounds = {
            "w_bulk": 3 * delta + self.delta_bulk,
            "t_commit": 2 * self.c_commit + 4 * delta,
            "t_publish": publish,
            "t_reduce": self.c_reduce + 3 * delta + either,
            "t_reveal": 2 * self.c_reveal + 3 * delta + either,
            "t_validate": 2 * self.c_validate + 4 * delta,
            "t_accuse": self.c_accuse + 3 * delta + either,
            "t_accuse_disputed": self.c_accuse + disputed,
            "t_judge": judge,
            "t_judge_disputed": judge + disputed,
        }
        return {
            name: -(-value * (1_000_000 + 2 * self.drift_ppm) // 1_000_000) for name, value in bounds.items()
        }

    def problems(self) -> Iterator[str]:
        """Say, a line each, which times break the inequalities of spec TIM."""
        for field in fields(type(self)):
            value = getattr(self, field.name)
            if value < (0 if field.name in ("pull_grace", "drift_ppm") else 1):
                yield f"{field.name} = {value}: must be positive"
        if self.pull_grace * 4 > self.delta:
            yield f"pull_grace = {self.pull_grace}: at most a quarter of delta = {self.delta}"
        for name, least in self.minima().items():
            if getattr(self, name) < least:
                yield (
                    f"{name} = {getattr(self, name)} ms: honest peers would be removed as late; "
                    f"at least {least} ms is needed with the delays given"
                )

    def with_absence(self, absence: int) -> Timing:
        """Return times that bear that a peer is away for ``absence`` milliseconds in any phase (spec TIM).

        Where a phase may have to wait until T_publish is over, who is away then needs as long on top of that.
        """
        before = self.minima()
        after = evolve(self, t_publish=self.t_publish + absence).minima()
        names = [field.name for field in fields(type(self)) if field.name.startswith("t_")]
        longer = {name: getattr(self, name) + after[name] - before[name] + absence for name in names}
        return evolve(self, **longer)

    @classmethod
    def derive(
        cls,
        *,
        delta: int,
        delta_bulk: int,
        c_commit: int,
        c_aggregate: int,
        c_reveal: int,
        c_validate: int,
        c_accuse: int,
        c_judge: int,
        c_publish: int,
        drift_ppm: int = 200,
    ) -> Timing:
        """Return the tightest timing for these delays and compute bounds, in milliseconds."""
        names = [field.name for field in fields(cls) if field.name.startswith("t_")]
        timing = cls(
            delta=delta,
            delta_bulk=delta_bulk,
            pull_grace=delta // 8,
            drift_ppm=drift_ppm,
            c_commit=c_commit,
            c_aggregate=c_aggregate,
            c_reveal=c_reveal,
            c_validate=c_validate,
            c_accuse=c_accuse,
            c_judge=c_judge,
            c_publish=c_publish,
            w_bulk=1,
            **dict.fromkeys(names, 1),
        )
        while timing.minima() != {name: getattr(timing, name) for name in timing.minima()}:
            timing = cls(**{f.name: getattr(timing, f.name) for f in fields(cls)} | timing.minima())
        return timing
