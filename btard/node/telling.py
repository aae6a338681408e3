"""What a peer tells of itself, as events of its log."""

from __future__ import annotations

from collections import Counter

from attrs import define, field

from btard.node.gathering import Report
from btard.statemachine import effects as fx
from btard.statemachine.state import State


@define(eq=False)
class Telling:
    """Turns what the state machine tells, and complaints, into events."""

    report: Report
    _complaints: Counter[tuple[str, int]] = field(factory=Counter)

    def tell(self, state: State, effect: fx.Effect) -> None:
        """Tell of an effect that is there for that alone."""
        match effect:
            case fx.Entered():
                self.report("phase", epoch=effect.epoch, step=effect.step, phase=effect.phase.name)
            case fx.Certified():
                self.report("certified", step=effect.step)
            case fx.Drifted():
                self.report("drifted", step=effect.step, peers=list(effect.peers))
            case fx.Accused():
                self.report(
                    "accused",
                    step=effect.step,
                    accuser=effect.accuser,
                    accused=effect.accused,
                    reason=effect.reason,
                )
            case fx.Expelled():
                self.report(
                    "expelled",
                    peer=effect.peer,
                    step=effect.step,
                    rule=effect.rule,
                    kind=effect.kind,
                    reason=effect.reason,
                    applied=effect.applied,
                )
            case fx.RosterChanged():
                self.report("roster", epoch=effect.epoch, roster=list(effect.roster))
            case fx.Finished():
                self.report("finished", digest=effect.digest.hex())
            case fx.Halted():
                held = sorted(state.halted.held) if state.halted else []
                self.report("halted", step=state.at.number, reason=effect.reason, held=held)

    def complain(self, event: str, peer: int, reason: str) -> None:
        """Report what a peer did wrong, ever more rarely: nobody fills the log by doing it again."""
        self._complaints[event, peer] += 1
        times = self._complaints[event, peer]
        if times & (times - 1) == 0:
            self.report(event, peer=peer, reason=reason, times=times)
