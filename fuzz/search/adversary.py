"""What liars can send: menus of moves, made from what honest peers have said so far.

A move looks at the scene and yields (sender, receiver, frame). The liars hear everything at once, and may send
any of these frames to anybody at any moment, again and again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import combinations, product

from attrs import evolve, field, frozen

from btard.hashing import digest
from btard.robust.encoding import SKETCH_SIZE
from btard.statemachine.compute import Work
from btard.statemachine.config import Config
from btard.statemachine.election import gradient_seed
from btard.statemachine.form import scalars_due
from btard.statemachine.messages import (
    Accuse,
    Body,
    Certificate,
    Chain,
    Claim,
    Class,
    Commit,
    CommitClass,
    Enter,
    Envelope,
    Epoch,
    Evidence,
    EvidenceKind,
    Frame,
    GuiltyClass,
    Late,
    Need,
    NoVerdict,
    Poll,
    Publish,
    Reduce,
    Reveal,
    Stay,
    Validate,
    Vote,
    phase_slot,
)
from btard.statemachine.randomness import Purpose, Secrets, commitment
from btard.statemachine.state import State
from btard.statemachine.table import STEP_PHASES, Phase
from btard.wire import class_content
from fuzz.byzantine import forge
from fuzz.search.cores import entropy
from fuzz.world import parts_of

NORM = b"\x00\x00\x00\x00\x00\x00\xf0\x3f"  # 1.0
FALSE = b"\xcd\xcc\xcc\xcc\xcc\xcc\xec\x3f"  # 0.9


@frozen
class Scene:
    """What honest peers are like now, and whose keys the liars hold."""

    states: Mapping[int, State]
    configs: list[Config]
    liars: tuple[int, ...]
    forged: dict[tuple[int, int, Body], Envelope] = field(factory=dict)

    def forge(self, liar: int, epoch: int, body: Body) -> Envelope:
        """Sign a message with a liar's key."""
        key = (liar, epoch, body)
        if key not in self.forged:
            self.forged[key] = forge(self.configs[liar], epoch, body)
        return self.forged[key]

    def running(self) -> list[State]:
        """Return the states of those in a step's phases, each once."""
        return list(dict.fromkeys(state for state in self.states.values() if state.phase in STEP_PHASES))

    def said(self, author: int, slot: tuple[str | int, ...]) -> Envelope | None:
        """Return what an honest peer signed for a slot."""
        return self.states[author].slots.get(slot)


Move = Callable[[Scene], Iterable[tuple[int, int, Frame]]]


def secrets_of(config: Config, epoch: int, step: int, variant: int) -> Secrets:
    """Return a liar's secrets; variant 0 is what the prelude used."""
    return Secrets.from_entropy(entropy(config.me, epoch, step, variant))


def to_all(scene: Scene, sender: int, epoch: int, *bodies: Body) -> Iterator[tuple[int, int, Frame]]:
    """Offer these messages to every honest peer."""
    for body in bodies:
        frame = scene.forge(sender, epoch, body)
        yield from ((sender, receiver, frame) for receiver in scene.states)


def phases(*wanted: Phase, variants: tuple[int, ...] = (0,)) -> Move:
    """Send the message of each wanted phase that some honest peer is in, following its view, in variants."""

    def move(scene: Scene) -> Iterator[tuple[int, int, Frame]]:
        for state in scene.running():
            if state.phase not in wanted:
                continue
            for liar, variant in product(scene.liars, variants):
                if liar in state.roster:
                    yield from to_all(scene, liar, state.epoch, body_for(scene, liar, state, variant))

    return move


def body_for(scene: Scene, liar: int, state: State, variant: int) -> Body:
    """Return the message that a liar owes a peer in this state; other variants say something else."""
    config, at = scene.configs[liar], state.at
    prev = at.views[-1] if at.views else state.opening
    match state.phase:
        case Phase.COMMIT:
            secrets = secrets_of(config, state.epoch, at.number, variant)
            place = (config.run, state.epoch, at.number, liar)
            return Commit(
                at.number,
                prev,
                _parts(config, state, liar) if liar in at.contributors else (),
                commitment(*place, Purpose.SKETCH, secrets.sketch),
                commitment(*place, Purpose.ELECTION, secrets.election),
                state.model_digest,
            )
        case Phase.REDUCE:
            if at.number == 0:
                return Reduce(0, prev if variant == 0 else bytes(32), b"")
            return Reduce(at.number, prev, _aggregate(state, liar, variant))
        case Phase.REVEAL:
            secrets = _committed_secrets(config, state, liar)
            value = secrets.sketch.value if variant == 0 else bytes(32)
            return Reveal(at.number, prev, value, secrets.sketch.salt)
        case Phase.VALIDATE:
            due = scalars_due(state, liar)
            if due == 0:
                return Validate(at.number, prev, b"", b"")
            first = FALSE if variant == 1 else bytes(8)  # which makes the sum wrong
            norms = (FALSE if variant == 2 else NORM) + NORM * (due - 1)
            return Validate(at.number, prev, first + bytes(SKETCH_SIZE * due - 8), norms)
        case _:
            return accuse_body(config, state, liar, None)


def accuse_body(config: Config, state: State, liar: int, claim: Claim | None) -> Accuse:
    """Return an ACCUSE that follows the view of ``state``."""
    secret = _committed_secrets(config, state, liar).election
    prev = state.at.views[-1] if state.at.views else state.opening
    return Accuse(state.at.number, prev, secret.value, secret.salt, claim)


def _committed_secrets(config: Config, state: State, liar: int) -> Secrets:
    """Return those of the liar's secrets that ``state`` has a commitment to."""
    at = state.at
    envelope = state.slots.get(phase_slot(state.epoch, at.number, Phase.COMMIT, liar))
    body = envelope.message.body if envelope and envelope.message else None
    for variant in range(2):
        secrets = secrets_of(config, state.epoch, at.number, variant)
        place = (config.run, state.epoch, at.number, liar)
        shown = commitment(*place, Purpose.SKETCH, secrets.sketch)
        if isinstance(body, Commit) and body.sketch_commitment == shown:
            return secrets
    return secrets_of(config, state.epoch, at.number, 0)


def _parts(config: Config, state: State, liar: int) -> tuple[bytes, ...]:
    seed = gradient_seed(config.run, state.election_value, state.at.number, liar)
    return parts_of(Work(liar, state.at.number, seed, len(state.roster)))


def _aggregate(state: State, liar: int, variant: int) -> bytes:
    part = state.at.aggregators.index(liar)
    committed = []
    for peer in state.at.contributors:
        envelope = state.slots.get(phase_slot(state.epoch, state.at.number, Phase.COMMIT, peer))
        body = envelope.message.body if envelope and envelope.message else None
        committed.append(body.parts[part] if isinstance(body, Commit) and body.parts else b"")
    return digest("aggregate" if variant == 0 else "wrong aggregate", *committed)


def enters(scene: Scene) -> Iterator[tuple[int, int, Frame]]:
    """Say ENTER for the phase after the one that some honest peer is in."""
    for state in scene.running():
        if state.phase in (Phase.COMMIT, Phase.VALIDATE):
            for liar in scene.liars:
                yield from to_all(scene, liar, state.epoch, Enter(state.at.number, int(state.phase) + 1))


def goodbyes(scene: Scene) -> Iterator[tuple[int, int, Frame]]:
    """Say ENTER after the last step."""
    for state in scene.states.values():
        if state.phase is Phase.DONE:
            for liar in scene.liars:
                yield from to_all(scene, liar, state.epoch, Enter(state.at.number, int(Phase.COMMIT)))


def lates(*subjects: int, wanted: Iterable[Phase] = STEP_PHASES) -> Move:
    """Say that messages of these honest peers were late, in the phases that honest peers are in."""
    chosen = tuple(wanted)

    def move(scene: Scene) -> Iterator[tuple[int, int, Frame]]:
        for state in scene.running():
            for liar, subject in product(scene.liars, subjects):
                if state.phase in chosen:
                    late = Late(state.at.number, int(state.phase), subject, -1)
                    yield from to_all(scene, liar, state.epoch, late)

    return move


def part_lates(*subjects: int) -> Move:
    """Say that disputed or needed parts of these honest peers were not published."""

    def move(scene: Scene) -> Iterator[tuple[int, int, Frame]]:
        for state in scene.running():
            for liar, subject, part in product(scene.liars, subjects, _published(state)):
                late = Late(state.at.number, int(state.phase), subject, part)
                yield from to_all(scene, liar, state.epoch, late)

    return move


def publishes(scene: Scene) -> Iterator[tuple[int, int, Frame]]:
    """Publish the liar's own disputed and needed parts."""
    for state in scene.running():
        for liar, part in product(scene.liars, _published(state)):
            yield from to_all(scene, liar, state.epoch, Publish(state.at.number, part))


def _published(state: State) -> tuple[int, ...]:
    """Return the parts that are disputed, or that some aggregator needs."""
    if state.phase is not Phase.REDUCE:
        return state.at.disputed
    asked = [slot[3] for slot in state.slots if slot[:3] == ("need", state.epoch, state.at.number)]
    return tuple(sorted(state.at.aggregators.index(int(author)) for author in asked))


def needs(*subjects: int, wanted: Iterable[Phase] = (Phase.COMMIT, Phase.REDUCE)) -> Move:
    """Say that parts of these peers did not come, while honest peers are in these phases."""
    chosen = tuple(wanted)

    def move(scene: Scene) -> Iterator[tuple[int, int, Frame]]:
        for state in scene.running():
            for liar in scene.liars:
                if state.phase in chosen and state.at.trains:
                    yield from to_all(scene, liar, state.epoch, Need(state.at.number, subjects))

    return move


def accusations(make: Callable[[Scene, State, int], Iterable[Claim]]) -> Move:
    """Raise each of these claims in ACCUSE."""

    def move(scene: Scene) -> Iterator[tuple[int, int, Frame]]:
        for state in scene.running():
            if state.phase is Phase.ACCUSE:
                for liar in scene.liars:
                    for claim in make(scene, state, liar):
                        body = accuse_body(scene.configs[liar], state, liar, claim)
                        yield from to_all(scene, liar, state.epoch, body)

    return move


def opinions(*guilty: int, silent: bool = True) -> Move:
    """Vote for each of these on every claim that an honest peer holds, and say that there was no verdict."""

    def move(scene: Scene) -> Iterator[tuple[int, int, Frame]]:
        for state in scene.running():
            for accuser in state.roster:
                said = state.slots.get(phase_slot(state.epoch, state.at.number, Phase.ACCUSE, accuser))
                body = said.message.body if said and said.message else None
                if said is None or not isinstance(body, Accuse) or body.claim is None:
                    continue
                for liar in scene.liars:
                    votes = [
                        Vote(state.at.number, int(Phase.ACCUSE), accuser, said.hash, peer) for peer in guilty
                    ]
                    none = [NoVerdict(state.at.number, accuser, said.hash)] if silent else []
                    yield from to_all(scene, liar, state.epoch, *votes, *none)

    return move


def epochs(scene: Scene) -> Iterator[tuple[int, int, Frame]]:
    """Sign what honest peers ratified."""
    for state in scene.states.values():
        if state.outcome is not None:
            for liar in scene.liars:
                yield from to_all(scene, liar, state.epoch, state.outcome)


def false_epochs(scene: Scene) -> Iterator[tuple[int, int, Frame]]:
    """Sign a record that keeps the liar in, and not an honest peer."""
    for state in scene.states.values():
        if state.outcome is not None:
            for liar in scene.liars:
                kept = tuple(peer for peer in state.roster if peer != min(scene.states))
                lie = Epoch(state.outcome.next_step, state.outcome.view, (), kept)
                yield from to_all(scene, liar, state.epoch, lie)


def records_of_all(scene: Scene) -> Iterator[tuple[int, int, Frame]]:
    """Sign, from where each honest peer stands, that all stay in and go on."""
    for state in scene.states.values():
        for liar in scene.liars:
            if liar in state.roster:
                record = Stay(state.following, state.view, state.roster, True)
                yield from to_all(scene, liar, state.epoch, record)


def false_polls(scene: Scene) -> Iterator[tuple[int, int, Frame]]:
    """Say to each halted peer to be halted where some halted peer stands."""
    halted = {peer: state for peer, state in scene.states.items() if state.phase is Phase.HALTED}
    for liar, state in product(scene.liars, halted.values()):
        for receiver in halted:
            yield liar, receiver, Poll(state.epoch, state.following, int(Phase.HALTED))


# -- evidence and chains --------------------------------------------------------------------------------


def own_fault(scene: Scene, liar: int, epoch: int, step: int) -> Evidence:
    """Return a proof that the liar signed two messages for one slot, which nobody else has seen."""
    one, other = (
        scene.forge(liar, epoch, Reveal(step, bytes(32), bytes([which]) * 32, bytes(32))) for which in range(2)
    )
    return Evidence(EvidenceKind.EQUIVOCATION, liar, (one, other))


def faults(scene: Scene) -> Iterator[tuple[int, int, Frame]]:
    """Send the two messages for one slot of which an own fault consists, to whoever runs."""
    for receiver, state in scene.states.items():
        if state.phase in (*STEP_PHASES, Phase.DONE):
            for liar in scene.liars:
                for envelope in own_fault(scene, liar, state.epoch, max(0, state.at.number - 1)).envelopes:
                    yield liar, receiver, envelope


def old_faults(scene: Scene) -> Iterator[tuple[int, int, Frame]]:
    """Show in a later epoch a fault of the first, as a chain that only the liar has signed."""
    for liar, epoch in product(scene.liars, {state.epoch for state in scene.states.values()} - {0}):
        content = class_content(scene.configs[liar].run, epoch, klass := GuiltyClass("guilty", liar))
        signed = ((liar, scene.configs[liar].sign(content)),)
        for receiver in scene.states:
            yield liar, receiver, Chain(epoch, klass, own_fault(scene, liar, 0, 0), signed)


def only_to(receivers: Iterable[int], *moves: Move) -> Move:
    """Make these moves towards some only."""
    chosen = frozenset(receivers)

    def move(scene: Scene) -> Iterator[tuple[int, int, Frame]]:
        for one in moves:
            yield from (sent for sent in one(scene) if sent[1] in chosen)

    return move


def chains(*kinds: str, faked: bool = False, signers: bool = True) -> Move:
    """Show chains of these classes, with each set of signatures that the liars can put together.

    ``faked`` repeats a signature, and makes one up; without ``signers`` no honest peer's is used.
    """

    def move(scene: Scene) -> Iterator[tuple[int, int, Frame]]:
        for number in dict.fromkeys(state.epoch for state in scene.states.values()):
            for chain in _bare(scene, kinds, number):
                for signatures in _signatures(scene, number, chain.klass, faked, signers):
                    for receiver in scene.states:
                        yield scene.liars[0], receiver, evolve(chain, signatures=signatures)

    return move


def _bare(scene: Scene, kinds: tuple[str, ...], epoch: int) -> Iterator[Chain]:
    for liar in scene.liars:
        for kind in ("guilty", "ban"):
            if kind in kinds:
                proof = own_fault(scene, liar, epoch, 0)
                yield Chain(epoch, GuiltyClass("ban" if kind == "ban" else "guilty", liar), proof, ())
    if "commit" in kinds:
        for klass, certificate in certificates(scene, epoch):
            yield Chain(epoch, klass, certificate, ())


def certificates(scene: Scene, epoch: int) -> Iterator[tuple[CommitClass, Certificate]]:
    """Return all certificates that follow from what honest peers said, with the liars' ``ok`` added."""
    for state in dict.fromkeys(scene.states.values()):
        if state.epoch != epoch:
            continue
        for number in range(max(0, state.at.number - 1), state.at.number + 1):
            oks = [_ok(scene, state, number, peer) for peer in state.roster]
            here = [envelope for envelope in oks if envelope is not None]
            if len(here) == len(state.roster):
                body = here[0].message.body if here[0].message else None
                if isinstance(body, Accuse):
                    yield CommitClass(number, body.prev), Certificate(tuple(here))


def _ok(scene: Scene, state: State, number: int, peer: int) -> Envelope | None:
    slot = phase_slot(state.epoch, number, Phase.ACCUSE, peer)
    if peer not in scene.liars:
        said = scene.said(peer, slot)
        body = said.message.body if said and said.message else None
        return said if isinstance(body, Accuse) and body.claim is None else None
    if state.at.number == number and state.at.phase is Phase.ACCUSE:
        return scene.forge(peer, state.epoch, accuse_body(scene.configs[peer], state, peer, None))
    return state.slots.get(slot)


def _signatures(
    scene: Scene, epoch: int, klass: Class, faked: bool, signers: bool
) -> Iterator[tuple[tuple[int, bytes], ...]]:
    """Yield sets of signatures on a class: the liars', and those of honest peers that have accepted it."""
    content = class_content(scene.configs[0].run, epoch, klass)
    willing = list(scene.liars)
    if signers:
        willing += [
            peer
            for peer, state in scene.states.items()
            if state.settle is not None and state.epoch == epoch and klass in state.settle.accepted
        ]
    signed = [(peer, scene.configs[peer].sign(content)) for peer in willing]
    for size in range(1, len(signed) + 1):
        yield from combinations(signed, size)
    if faked:
        yield (signed[0], signed[0])
        yield (signed[0], (min(scene.states), bytes(64)))
