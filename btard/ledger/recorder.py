"""Keeps one peer's ledger while it runs (spec OPS-11 to OPS-13).

It sees what the state machine does and what others show, and decides nothing about the run. What it has to
know after a crash it finds in the ledger, and in the state that the journal gives back.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Final

from attrs import define, evolve, field

from btard.disk import ROOM
from btard.ledger.entry import Begins, Entry, Judgement, target_step
from btard.ledger.errors import LedgerError
from btard.ledger.file import Ledger
from btard.ledger.proof import canonical, fits, is_report, order, shown, signed_in
from btard.statemachine import effects as fx
from btard.statemachine.compute import GradientCheck, Judge
from btard.statemachine.config import Config, quorum
from btard.statemachine.evidence import proves
from btard.statemachine.messages import (
    Certificate,
    Chain,
    CommitClass,
    Digest,
    Envelope,
    Evidence,
    Frame,
    GuiltyClass,
    phase_slot,
)
from btard.statemachine.state import State
from btard.statemachine.table import STEP_PHASES, Phase

MAX_PASSED: Final = 4
"""Lesser proofs against one peer that are passed on, and that is all that a cheat's many proofs cost."""

MAX_TRIED: Final = 8
"""Proofs against one peer that are looked at for one sender."""

Place = tuple[int, int]
"""Epoch and peer."""


@define(eq=False)
class Recorder:
    """The ledger's side of a running peer."""

    config: Config
    ledger: Ledger
    send: Callable[[Frame, tuple[int, ...]], None]
    warn: Callable[[str], None]  # what went wrong with the disk: the run goes on without
    _out: dict[Place, Entry] = field(factory=dict)  # of this epoch and the last: whose proofs may still change
    _seen: dict[Place, Evidence] = field(factory=dict)  # the least proofs against members, before any decision
    _told: dict[Place, tuple[int, bytes]] = field(factory=dict)  # order of the proof that others have from here
    _passed: Counter[Place] = field(factory=Counter)
    _tried: Counter[tuple[int, Place]] = field(factory=Counter)
    _certified: dict[int, tuple[Envelope, ...]] = field(factory=dict)  # messages of the last training steps

    def __attrs_post_init__(self) -> None:
        self._out = {(entry.epoch, entry.peer): entry for entry in self.ledger.entries()}
        self._seen = {(seen.epoch, seen.peer): seen.proof for seen in self.ledger.seen() if seen.proof}

    # -- coming back -------------------------------------------------------------------------------------

    def restore(self, state: State) -> None:
        """Take up what an earlier process knew, and show the others what it may not have come to show.

        What the journal knows of former epochs and the ledger does not is entered again (spec OPS-20).
        """
        known = self.ledger.decisions()
        lacking = [epoch for epoch in range(state.epoch) if epoch not in known]
        for epoch in lacking:
            passage = state.passages[epoch]
            for chain in passage.guilty:
                if isinstance(chain.object, Evidence):
                    self._seen.setdefault((epoch, chain.object.subject), _canonical(state, chain.object))
            self._decided(state, epoch, state.rosters[epoch + 1], passage.records)
        if lacking and self.ledger.begins() is None:
            self.warn(f"the ledger lacks what ended epochs {lacking}: what the journal knows is entered again")
            self._write(lambda: self.ledger.begin_again(Begins(state.epoch, state.at.number)))
        for epoch, step, certificate in _certificates(state):
            self._remember(state, epoch, step, certificate)
        for entry in self._out.values():
            self._show(state, entry)

    def proofs(self, state: State) -> list[Chain]:
        """Return what a peer that comes back is shown: all proofs that may still change (spec OPS-13)."""
        recent = [entry for entry in self._out.values() if entry.epoch >= state.epoch - 1]
        return [shown(entry.epoch, entry.kind, entry.proof) for entry in recent if entry.proof]

    # -- who is out --------------------------------------------------------------------------------------

    def _sent(self, state: State, frame: Frame) -> None:
        """Note which proofs the agreement has shown to all."""
        if isinstance(frame, Chain) and isinstance(frame.object, Evidence):
            proof = _canonical(state, frame.object)
            place = (frame.epoch, proof.subject)
            self._told[place] = min(order(proof), self._told.get(place, order(proof)))

    def received(self, state: State, sender: int, chain: Chain) -> None:
        """Look at a chain's proof (spec OPS-13); the state machine is given the chain as well."""
        if isinstance(chain.klass, GuiltyClass) and isinstance(chain.object, Evidence):
            self._consider(state, sender, chain.epoch, chain.object)

    def follow(self, state: State, effect: fx.Effect) -> None:
        """Enter what an effect decides, and note what it shows; ``state`` is the one after it.

        After a crash it may happen once more.
        """
        match effect:
            case fx.Send():
                self._sent(state, effect.frame)
            case fx.Expelled():
                self._expelled(state, effect)
            case fx.RosterChanged():
                self._decided(state, effect.epoch - 1, effect.roster, effect.signed)
                self._forget(effect.epoch)
            case fx.LeftOut():
                self._decided(state, effect.epoch, effect.roster, effect.signed)
            case fx.Certified():
                for epoch, step, certificate in _certificates(state):
                    if step == effect.step:
                        self._remember(state, epoch, step, certificate)

    def _expelled(self, state: State, effect: fx.Expelled) -> None:
        """Enter who is out, with the least proof that was seen, and show it to all if they may not have it."""
        place = (effect.epoch, effect.peer)
        proofs = [_canonical(state, effect.evidence)]
        if (seen := self._seen.get(place)) is not None and fits(seen, effect.kind):
            proofs.append(seen)
        self._enter(state, Entry(effect.epoch, effect.peer, effect.kind, min(proofs, key=order)))

    def _decided(self, state: State, epoch: int, roster: tuple[int, ...], signed: tuple[Envelope, ...]) -> None:
        """Keep the signed records that ended an epoch, and enter whoever left without an effect of its own."""
        self._write(lambda: self.ledger.put_decision(epoch, signed))
        bodies = [env.message.body for env in signed if env.message]
        bans = {peer for body in bodies for peer in getattr(body, "bans", ())}
        for peer in sorted(set(state.rosters[epoch]) - set(roster)):
            place = (epoch, peer)
            if place not in self._out:
                kind = "ban" if peer in bans else "remove"
                proof = self._seen.get(place)
                self._enter(state, Entry(*place, kind, proof if proof and fits(proof, kind) else None))

    def _forget(self, epoch: int) -> None:
        """Keep what this epoch and the last may still need (spec OPS-13)."""
        for kept in (self._out, self._seen, self._told, self._passed):
            for place in [place for place in kept if place[0] < epoch - 1]:
                del kept[place]
        for tried in [tried for tried in self._tried if tried[1][0] < epoch - 1]:
            del self._tried[tried]

    def _consider(self, state: State, sender: int, epoch: int, evidence: Evidence) -> None:
        place = (epoch, evidence.subject)
        if not state.epoch - 1 <= epoch <= state.epoch or sender not in state.roster:
            return
        entry = self._out.get(place)
        convicts = is_report(evidence) and evidence.subject not in state.rosters[epoch]
        undecided = epoch == state.epoch and evidence.subject in state.roster
        if entry is None and not (convicts or undecided):
            return
        evidence = _canonical(state, evidence)
        known = entry.proof if entry else self._seen.get(place)
        if (entry and not fits(evidence, entry.kind)) or (known and order(known) <= order(evidence)):
            return
        self._tried[sender, place] += 1
        if self._tried[sender, place] > MAX_TRIED or (signed_in(evidence) or 0) > epoch:
            return
        if not proves(self.config, state, evidence):
            return
        if entry is not None:
            self._enter(state, evolve(entry, proof=evidence))
        elif convicts:
            self._enter(state, Entry(*place, "ban", evidence))
        else:
            self._seen[place] = evidence
            self._write(lambda: self.ledger.put_seen(Entry(*place, "seen", evidence)))

    def _enter(self, state: State, entry: Entry) -> None:
        place = (entry.epoch, entry.peer)
        entry = entry.better(self._out.get(place))
        self._out[place] = entry
        self._write(lambda: self.ledger.put_entry(entry))
        self._show(state, entry)

    def _show(self, state: State, entry: Entry) -> None:
        """Show a proof to the others, as long as their ledgers take another (spec OPS-13)."""
        place = (entry.epoch, entry.peer)
        if entry.proof is None or entry.epoch < state.epoch - 1:
            return
        if place in self._told and self._told[place] <= order(entry.proof):
            return
        self._passed[place] += 1
        if self._passed[place] <= MAX_PASSED:
            self._told[place] = order(entry.proof)
            others = tuple(peer for peer in state.roster if peer not in (self.config.me, entry.peer))
            self.send(shown(entry.epoch, entry.kind, entry.proof), others)

    # -- what judges compute from ------------------------------------------------------------------------

    def _remember(self, state: State, epoch: int, step: int, certificate: Certificate) -> None:
        """Remember the messages of a certified step: what is judged in the next ones rests on them."""
        if step > self.config.parameters.steps:
            return  # closing steps look at the last training step
        phases = _messages(state, epoch, step, STEP_PHASES)
        held = {env.author for env in phases if env.message and env.message.body.kind == "accuse"}
        phases += tuple(env for env in certificate.envelopes if env.author not in held)
        self._certified[step] = phases
        for old in [old for old in self._certified if old < step - 1]:
            del self._certified[old]

    def judgement(self, state: State, request: Judge, objects: tuple[Digest, ...]) -> Judgement:
        """Return what a judge is about to compute from, without the model; ``objects`` are here."""
        target = target_step(request)
        envelopes = self._openings((request.step if target is None else target) - 1)
        if target is not None:
            envelopes += self._certified.get(target, ())
        if not isinstance(request.check, GradientCheck):
            envelopes += _messages(state, request.epoch, request.step, STEP_PHASES[: Phase.ACCUSE])
        unique = {(env.author, env.hash): env for env in envelopes}
        return Judgement(request, tuple(unique.values()), objects, None)

    def judged(self, judgement: Judgement, model: Digest | None) -> None:
        """Keep what a judge computed from."""
        self._write(lambda: self.ledger.put_judgement(evolve(judgement, model=model)))

    def _write(self, action: Callable[[], None]) -> None:
        try:
            action()
        except LedgerError as error:
            self.warn(f"{error}; what it should have held is lost; {ROOM}")

    def _openings(self, step: int) -> tuple[Envelope, ...]:
        """The ACCUSEs of a certified step: they open its election value."""
        envelopes = self._certified.get(step, ())
        return tuple(env for env in envelopes if env.message and env.message.body.kind == "accuse")


def _canonical(state: State, evidence: Evidence) -> Evidence:
    epoch = signed_in(evidence)
    known = epoch is not None and epoch < len(state.rosters)
    return canonical(evidence, quorum(len(state.rosters[epoch if known and epoch else 0])))


def _certificates(state: State) -> Iterator[tuple[int, int, Certificate]]:
    """Yield epoch, step and certificate of the last certified steps, in the order of steps."""
    passage = state.passages[state.epoch - 1] if state.epoch else None
    chain = passage.certificate if passage else None
    if chain and isinstance(chain.klass, CommitClass) and isinstance(chain.object, Certificate):
        yield state.epoch - 1, chain.klass.step, chain.object
    for held in (state.before.certificate if state.before else None, state.certificate):
        if held is not None:
            yield state.epoch, held[0].step, held[1]


def _messages(state: State, epoch: int, step: int, phases: tuple[Phase, ...]) -> tuple[Envelope, ...]:
    slots = (phase_slot(epoch, step, phase, author) for phase in phases for author in state.rosters[epoch])
    return tuple(state.slots[slot] for slot in slots if slot in state.slots)
