"""Freeze, settle, ratify: which chains and records count, when, and what a peer does in between."""

from collections.abc import Callable, Iterable
from functools import cache

import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from btard.robust.encoding import SKETCH_SIZE
from btard.statemachine import effects as fx
from btard.statemachine.effects import Verdict
from btard.statemachine.events import Fired, Received
from btard.statemachine.messages import (
    Accuse,
    Body,
    Certificate,
    Chain,
    Claim,
    ClaimKind,
    Class,
    CommitClass,
    Envelope,
    Epoch,
    Evidence,
    EvidenceKind,
    GuiltyClass,
    Late,
    PhaseBody,
    Reveal,
    Validate,
    Vote,
)
from btard.statemachine.state import State
from btard.statemachine.table import STEP_PHASES, Phase
from btard.wire import class_content, decode_frame, encode_frame, max_payload
from fuzz import byzantine as byz
from fuzz.world import Tamper, World, configs
from tests.reference import hashed, number
from tests.statemachine.stage import Watched, expelled, finish, judgement, signed, tried, world_of

CONFIGS = configs(5)  # f = 2, q = 3: three rounds
EVERYBODY = range(5)
K = EvidenceKind
HASH = bytes(range(32))


@cache
def run() -> Watched:
    """Peer 4 equivocates in step 2: the others settle it and go on without it."""
    return finish(world_of(5, 3, {4: byz.changed(Reveal, 2, byz.other_digest, [0, 1])}))


@cache
def calm() -> Watched:
    """Nobody does anything wrong; with this seed peer 0 waits in every phase."""
    return finish(world_of(5, 2))


def forge(author: int, body: Body, epoch: int = 0) -> Envelope:
    return byz.forge(CONFIGS[author], epoch, body)


def sign(klass: Class, signers: Iterable[int], epoch: int = 0) -> tuple[tuple[int, bytes], ...]:
    content = class_content(CONFIGS[0].run, epoch, klass)
    return tuple((member, CONFIGS[member].sign(content)) for member in signers)


def chain(klass: Class, proof: Evidence | Certificate, signers: Iterable[int], epoch: int = 0) -> Chain:
    return Chain(epoch, klass, proof, sign(klass, signers, epoch))


def equivocation(subject: int) -> Evidence:
    pair = (forge(subject, Reveal(2, HASH, HASH, bytes([i]) * 32)) for i in range(2))
    return Evidence(K.EQUIVOCATION, subject, tuple(pair))


def lateness(subject: int, members: Iterable[int] = (1, 2, 3)) -> Evidence:
    return Evidence(K.LATE, subject, tuple(forge(m, Late(2, 1, subject, -1)) for m in members))


def guilty(subject: int) -> GuiltyClass:
    return GuiltyClass("guilty", subject)


def ban(subject: int) -> GuiltyClass:
    return GuiltyClass("ban", subject)


def running(phase: Phase = Phase.REVEAL) -> State:
    """Return the state of peer 0 in step 2, before it knows of any fault."""
    return calm().first(0, phase, 2)


def certificate(step: int) -> tuple[CommitClass, Certificate]:
    """Return what certifies a step of epoch 0, as peer 1 holds it."""
    state = next(s for s in calm().states_of(1) if s.certificate and s.certificate[0].step == step)
    assert state.certificate is not None
    return state.certificate


def received(frame: Chain | Envelope, state: State, sender: int = 1) -> tuple[State, tuple[fx.Effect, ...]]:
    return tried(run(), 0, Received(sender, frame), state)


def chains_in(effects: Iterable[fx.Effect]) -> list[Chain]:
    sent = [effect.frame for effect in effects if isinstance(effect, fx.Send)]
    return [frame for frame in sent if isinstance(frame, Chain)]


def frozen(rounds: int = 0) -> State:
    """Return the state of peer 0 after it froze on peer 4, so many rounds later."""
    state, _ = received(chain(guilty(4), equivocation(4), [1]), running())
    for k in range(1, rounds + 1):
        state, _ = tried(run(), 0, Fired(("settle", 0, k)), state)
    return state


def settling_on_another() -> State:
    """Return the state of peer 0 after it froze on peer 2."""
    return received(chain(guilty(2), equivocation(2), [1]), running())[0]


# -- freeze ---------------------------------------------------------------------------------------------


@pytest.mark.shows("AGR-11", "AGR-12", "AGR-13", "AGR-17")
@pytest.mark.parametrize("phase", STEP_PHASES)
def test_a_guilty_chain_freezes_and_all_classes_go_out_signed(phase: Phase) -> None:
    brought = chain(guilty(4), equivocation(4), [1, 3])
    state, effects = received(brought, running(phase))
    assert judgement(effects).verdict == Verdict.ACCEPT
    assert state.phase is Phase.SETTLE
    sent = {c.klass: [member for member, _ in c.signatures] for c in chains_in(effects)}
    known = certificate(1)[0]
    assert sent == {guilty(4): [1, 3, 0], ban(4): [0], known: [0]}
    for c in chains_in(effects):
        content = class_content(CONFIGS[0].run, 0, c.klass)
        assert all(CONFIGS[0].verify(CONFIGS[0].keys[m], content, signature) for m, signature in c.signatures)
    timers = [effect for effect in effects if isinstance(effect, fx.SetTimer) and effect.timer[0] == "settle"]
    delta = CONFIGS[0].timing.delta
    assert [(t.timer, t.delay) for t in timers] == [(("settle", 0, k), 2 * k * delta) for k in (1, 2, 3)]


@pytest.mark.shows("AGR-12")
def test_removing_evidence_makes_no_ban_class() -> None:
    _, effects = received(chain(guilty(4), lateness(4), [1]), running())
    assert {c.klass for c in chains_in(effects)} == {guilty(4), certificate(1)[0]}


@pytest.mark.shows("AGR-12", "AGR-17")
@pytest.mark.refuses("AGR-17")
def test_a_commit_chain_waits_until_there_is_evidence() -> None:
    """Peer 0 still is in ACCUSE of step 1 when a chain says that the step is certified."""
    klass, proof = certificate(1)
    before = calm().first(0, Phase.ACCUSE, 1)
    waiting, effects = received(chain(klass, proof, [2]), before)
    assert judgement(effects).verdict == Verdict.DEFER
    assert waiting.phase is Phase.ACCUSE
    assert not chains_in(effects)
    settling, effects = received(chain(guilty(4), equivocation(4), [1]), waiting)
    assert settling.phase is Phase.SETTLE
    assert {c.klass: len(c.signatures) for c in chains_in(effects)}[klass] == 2


@pytest.mark.shows("AGR-11")
@pytest.mark.refuses("AGR-11")
def test_a_frozen_peer_accepts_no_phase_message_and_signs_none() -> None:
    state = frozen()
    for author in (1, 2, 3):
        for body in (
            Reveal(2, HASH, HASH, HASH),
            Accuse(2, HASH, HASH, HASH, None),
            Vote(2, Phase.ACCUSE, 1, HASH, 2),
        ):
            message = forge(author, body)
            if message.message is None or message.message.slot in state.slots:
                continue
            after, effects = received(message, state)
            assert after == state
            assert judgement(effects) == fx.Judgement(Verdict.IGNORE, "the epoch is frozen", "AGR-11")
    for event in calm().events_of(0):
        if not isinstance(event, Received):
            _, effects = tried(run(), 0, event, state)
            kept = [effect.envelope.message for effect in effects if isinstance(effect, fx.Persist)]
            assert all(message is not None and isinstance(message.body, Epoch) for message in kept)


@pytest.mark.shows("AGR-11", "STP-9")
def test_a_step_that_was_not_certified_before_the_freeze_is_not_applied_by_itself() -> None:
    """Its last `ok` comes an instant after the freeze."""
    world = calm()
    pairs = [(s, e) for who, s, e in world.seen if who == 0 and s.phase is Phase.ACCUSE and s.at.number == 1]
    last = next(
        (state, event)
        for state, event in pairs
        if any(isinstance(effect, fx.Certified) for effect in tried(world, 0, event, state)[1])
    )
    state, event = last
    settling, _ = received(chain(guilty(4), equivocation(4), [1]), state)
    after, effects = tried(world, 0, event, settling)
    assert not [effect for effect in effects if isinstance(effect, fx.Certified | fx.Compute)]
    assert after.model_step == state.model_step


# -- which chains count ---------------------------------------------------------------------------------


def without_last(proof: Certificate) -> Certificate:
    return Certificate(proof.envelopes[:-1])


def with_last(proof: Certificate, envelope: Envelope) -> Certificate:
    return Certificate((*proof.envelopes[:-1], envelope))


def last_ok(proof: Certificate) -> Accuse:
    message = proof.envelopes[-1].message
    assert message is not None
    assert isinstance(message.body, Accuse)
    return message.body


def broken_guilty_chains() -> dict[str, Chain]:
    good = chain(guilty(4), equivocation(4), [1, 2])
    other = evolve(CONFIGS[1], run=bytes(32))
    content = class_content(other.run, 0, guilty(4))
    return {
        "signed twice by one": evolve(good, signatures=good.signatures[:1] * 2),
        "signed by a stranger": evolve(good, signatures=((9, bytes(64)),)),
        "a false signature": evolve(good, signatures=((1, bytes(64)),)),
        "signed for another class": evolve(good, signatures=sign(ban(4), [1, 2])),
        "signed for another run": evolve(good, signatures=((1, other.sign(content)),)),
        "signed for another epoch": evolve(good, signatures=sign(guilty(4), [1, 2], epoch=1)),
        "evidence against another": chain(guilty(3), equivocation(4), [1, 2]),
        "evidence that proves nothing": chain(guilty(4), lateness(4, [1, 2]), [1, 2]),
        "no member": chain(guilty(9), Evidence(K.LATE, 9, lateness(4).envelopes), [1, 2]),
        "a certificate": evolve(good, object=certificate(1)[1]),
        "no object": chain(guilty(4), Evidence(K.EQUIVOCATION, 4, ()), [1, 2]),
    }


def broken_commit_chains() -> dict[str, Chain]:
    klass, proof = certificate(1)
    ok = last_ok(proof)
    accusing = evolve(ok, claim=Claim(ClaimKind.GRADIENT, 1, 0, b""))
    later = CommitClass(2, klass.prev)
    elsewhere = CommitClass(1, HASH)
    return {
        "one is missing": chain(klass, without_last(proof), [1]),
        "one stands twice": chain(klass, Certificate(proof.envelopes[:1] * 5), [1]),
        "one too many": chain(klass, Certificate(proof.envelopes + proof.envelopes[:1]), [1]),
        "in another order": chain(klass, Certificate(proof.envelopes[::-1]), [1]),
        "another step": chain(later, proof, [1]),
        "another view": chain(elsewhere, proof, [1]),
        "a claim": chain(klass, with_last(proof, forge(4, accusing)), [1]),
        "a false opening": chain(klass, with_last(proof, forge(4, evolve(ok, salt=HASH))), [1]),
        "another view in one": chain(klass, with_last(proof, forge(4, evolve(ok, prev=HASH))), [1]),
        "another phase": chain(klass, with_last(proof, forge(4, Reveal(1, HASH, HASH, HASH))), [1]),
        "a false signature": chain(
            klass, with_last(proof, evolve(proof.envelopes[-1], signature=bytes(64))), [1]
        ),
        "evidence": chain(klass, equivocation(4), [1]),
    }


@pytest.mark.refuses("AGR-13", "AGR-17")
@pytest.mark.parametrize("name", broken_guilty_chains())
def test_a_guilty_chain_that_does_not_hold_neither_freezes_nor_counts(name: str) -> None:
    bad = broken_guilty_chains()[name]
    for state in (running(), settling_on_another()):
        after, effects = received(bad, state)
        assert judgement(effects).verdict == Verdict.REJECT
        assert judgement(effects).rule == "AGR-13"
        assert after == state
        assert len(effects) == 1


@pytest.mark.refuses("STP-9", "AGR-12", "AGR-13")
@pytest.mark.parametrize("name", broken_commit_chains())
def test_nothing_but_every_members_ok_certifies_a_step(name: str) -> None:
    """At a peer that has not certified step 1 yet."""
    bad = broken_commit_chains()[name]
    before = calm().first(0, Phase.ACCUSE, 1)
    settling, _ = received(chain(guilty(4), equivocation(4), [1]), before)
    for state in (before, settling):
        after, effects = received(bad, state)
        assert judgement(effects).verdict == Verdict.REJECT
        assert after == state
    assert judgement(received(chain(*certificate(1), [1]), before)[1]).verdict == Verdict.DEFER
    assert judgement(received(chain(*certificate(1), [1]), settling)[1]).verdict == Verdict.ACCEPT


@pytest.mark.refuses("AGR-10")
def test_evidence_that_only_removes_cannot_ban() -> None:
    state, effects = received(chain(ban(4), lateness(4), [1, 2]), running())
    assert judgement(effects) == fx.Judgement(Verdict.REJECT, "its evidence does not ban", "AGR-13")
    assert state == running()


@pytest.mark.shows("AGR-13")
@pytest.mark.refuses("AGR-13", "AGR-16")
@pytest.mark.parametrize("rounds", [0, 1, 2])
@pytest.mark.parametrize("signers", [1, 2, 3])
def test_a_chain_needs_one_signature_more_than_rounds_are_over(rounds: int, signers: int) -> None:
    """Later ones do not count in this epoch; the evidence in them is kept for the next."""
    state = frozen(rounds)
    late = chain(ban(3), equivocation(3), [1, 2, 4][:signers])
    after, effects = received(late, state)
    if signers > rounds:
        assert judgement(effects).verdict == Verdict.ACCEPT
        assert [(c.klass, len(c.signatures)) for c in chains_in(effects)] == [(ban(3), signers + 1)]
    else:
        assert judgement(effects) == fx.Judgement(Verdict.IGNORE, "too late for this epoch", "AGR-13")
        assert after.settle == state.settle
    assert 3 in after.evidence


@pytest.mark.refuses("AGR-13")
def test_a_class_is_signed_and_passed_on_once() -> None:
    state = frozen()
    again, effects = received(chain(guilty(4), equivocation(4), [1, 2, 3]), state)
    assert again == state
    assert judgement(effects).verdict == Verdict.IGNORE


@pytest.mark.refuses("AGR-16")
def test_chains_of_another_epoch_play_no_part() -> None:
    for state in (running(), frozen()):
        after, effects = received(chain(guilty(3), equivocation(3), [1], epoch=3), state)
        assert after == state
        assert judgement(effects).verdict == Verdict.IGNORE


# -- ratify ---------------------------------------------------------------------------------------------


def ratifying() -> State:
    """Return the state of peer 0 when it has signed its outcome, and has nobody else's."""
    state = next(s for s in run().states_of(0) if s.phase is Phase.RATIFY)
    slots = state.slots
    for author in (1, 2, 3, 4):
        slots = slots.discard(("epoch", 0, author))
    return evolve(state, slots=slots)


def outcome() -> Epoch:
    made = ratifying().outcome
    assert made is not None
    return made


@pytest.mark.shows("AGR-14")
def test_the_outcome_follows_from_the_accepted_classes() -> None:
    state = ratifying()
    assert outcome().bans == (4,)
    assert outcome().roster == (0, 1, 2, 3)
    assert outcome().next_step == 2
    assert state.certificate is not None
    assert outcome().view == state.certificate[0].prev
    assert state.model_step == 2
    late = Watched.first(finish(world_of(5, 3, {4: byz.silent(Reveal, 2)})), 0, Phase.RATIFY, 2).outcome
    assert late is not None
    assert (late.bans, late.roster) == ((), (0, 1, 2, 3)), "removed, not banned"
    early = Watched.first(finish(world_of(5, 3, {4: byz.silent(Reveal, 0)})), 0, Phase.RATIFY, 0).outcome
    assert early is not None
    assert (early.next_step, early.view) == (0, CONFIGS[0].run), "no step was certified"


@pytest.mark.shows("AGR-1", "AGR-15")
@pytest.mark.refuses("AGR-1", "AGR-15")
def test_a_quorum_of_equal_outcomes_opens_the_next_epoch_and_nothing_less() -> None:
    state = ratifying()
    stranger = evolve(outcome(), next_step=1)
    for author, body in ((1, outcome()), (4, stranger), (3, stranger)):
        state, effects = received(forge(author, body), state)
        assert judgement(effects).verdict == Verdict.ACCEPT
        assert state.phase is Phase.RATIFY
        assert state.epoch == 0
    before = state
    forged = evolve(forge(2, outcome()), signature=bytes(64))
    state, effects = received(forged, state)
    assert judgement(effects).verdict == Verdict.REJECT
    assert state == before
    state, effects = received(forge(2, outcome()), state)
    assert (state.epoch, state.phase, state.roster) == (1, Phase.COMMIT, (0, 1, 2, 3))
    passed_on = [e.frame for e in effects if isinstance(e, fx.Send) and isinstance(e.frame, Envelope)]
    records = [e.message.body for e in passed_on if e.message and isinstance(e.message.body, Epoch)]
    assert records == [outcome(), outcome()]


@pytest.mark.shows("AGR-18")
@pytest.mark.shows("AGR-15")
@pytest.mark.refuses("MSG-5")
def test_a_second_record_of_a_cheat_still_counts() -> None:
    """Others may have entered the epoch with it; whoever did not count it would follow too late."""
    state = ratifying()
    state, _ = received(forge(3, evolve(outcome(), next_step=1)), state)
    state, _ = received(forge(1, outcome()), state)
    state, effects = received(forge(3, outcome()), state, sender=2)
    assert judgement(effects).verdict == Verdict.REJECT
    assert (state.epoch, state.phase) == (1, Phase.SETTLE), "its two records freeze the epoch that it is in"


@pytest.mark.refuses("AGR-15")
def test_who_is_left_out_does_not_count_among_the_signers() -> None:
    """It could sign for a partition's one side and for the other, and give itself up for that."""
    state = ratifying()
    for author in (4, 1):
        state, effects = received(forge(author, outcome()), state)
        assert judgement(effects).verdict == Verdict.ACCEPT
        assert (state.epoch, state.phase) == (0, Phase.RATIFY)
    state, _ = received(forge(2, outcome()), state)
    assert (state.epoch, state.phase) == (1, Phase.COMMIT)


@pytest.mark.refuses("AGR-14", "AGR-15")
def test_a_quorum_of_another_history_stops_a_peer() -> None:
    state = ratifying()
    other = evolve(outcome(), view=HASH)
    for author in (1, 2):
        state, _ = received(forge(author, other), state)
        assert state.phase is Phase.RATIFY
    state, effects = received(forge(3, other), state)
    assert state.phase is Phase.STOPPED
    reasons = [effect.reason for effect in effects if isinstance(effect, fx.Stopped)]
    assert len(reasons) == 1
    assert "two histories" in reasons[0]


@pytest.mark.shows("AGR-18")
def test_evidence_against_itself_stops_a_peer() -> None:
    """Somebody uses its key: it signs nothing more and says so."""
    state, effects = received(chain(guilty(0), equivocation(0), [1]), running())
    assert state.phase is Phase.STOPPED
    assert not [effect for effect in effects if isinstance(effect, fx.Persist)]
    reasons = [effect.reason for effect in effects if isinstance(effect, fx.Stopped)]
    assert "MSG-5" in reasons[0]
    assert "second process uses its key" in reasons[0]


@pytest.mark.shows("AGR-18")
def test_losing_more_than_f_max_stops_everybody() -> None:
    tamper = {peer: byz.garbage(Reveal, 2) for peer in (3, 4)}
    world = world_of(5, 3, tamper)  # f_max = 1
    world.run(lambda: world.over(range(3)))
    for peer in range(3):
        assert world.states[peer].phase is Phase.STOPPED
        reasons = [effect.reason for effect in world.of(fx.Stopped, peer) if isinstance(effect, fx.Stopped)]
        assert "more than f_max" in reasons[0]


# -- the next epoch -------------------------------------------------------------------------------------


def prev_of(world: World, author: int, epoch: int) -> bytes:
    """Return `prev` in the first phase message of an epoch."""
    said = [m.body for m in signed(world, author) if m.epoch == epoch and isinstance(m.body, PhaseBody)]
    return said[0].prev


@pytest.mark.shows("AGR-2", "AGR-16")
def test_an_epoch_opens_with_the_hash_of_its_outcome() -> None:
    made = outcome()
    roster = [peer.to_bytes(4, "little") for peer in made.roster]
    opening = hashed("epoch", number(1), number(made.next_step), made.view, *roster)
    for author in made.roster:
        assert prev_of(run(), author, 0) == CONFIGS[0].run
        assert prev_of(run(), author, 1) == opening


@pytest.mark.shows("AGR-16")
@pytest.mark.refuses("AGR-16")
def test_nothing_of_the_old_epoch_counts_in_the_new_one() -> None:
    """Its messages are ignored, whether they are known or not."""
    fresh = run().first(0, Phase.COMMIT, 2)
    state = next(s for s in run().states_of(0) if s.epoch == 1)
    assert fresh.epoch == 0
    old = [env for _, _, e in run().seen if isinstance(e, Received) and isinstance(env := e.frame, Envelope)]
    old = [env for env in old if env.message and env.message.epoch == 0 and env.author != 0]
    assert old
    for envelope in old:
        after, effects = received(envelope, state, envelope.author)
        assert judgement(effects).verdict == Verdict.IGNORE
        assert after == state


@pytest.mark.shows("AGR-16")
@pytest.mark.refuses("AGR-14", "MSG-5")
def test_evidence_that_came_too_late_freezes_the_next_epoch_at_once() -> None:
    """Peer 3 signs two different outcomes: that is evidence, but not for the epoch that they end."""

    def two_outcomes(world: World, peer: int, effect: fx.Effect) -> Iterable[fx.Effect]:
        if isinstance(effect, fx.Send) and isinstance(effect.frame, Envelope) and effect.frame.message:
            body = effect.frame.message.body
            if effect.frame.author == peer and isinstance(body, Epoch) and effect.frame.message.epoch == 0:
                return (effect, evolve(effect, frame=forge_in(world, peer, evolve(body, view=HASH))))
        return (effect,)

    tamper: dict[int, Tamper] = {6: byz.garbage(Reveal, 2), 5: two_outcomes}
    world = finish(world_of(7, 4, tamper))
    assert expelled(world) == [(6, "MSG-3", "ban"), (5, "MSG-5", "ban")]
    assert world.states[0].rosters == (tuple(range(7)), tuple(range(6)), tuple(range(5)))


def forge_in(world: World, peer: int, body: Body) -> Envelope:
    return byz.forge(world.configs[peer], world.states[peer].epoch, body)


# -- accomplices ----------------------------------------------------------------------------------------


def hides(frame: object) -> bool:
    """Whether this is part of an agreement."""
    if isinstance(frame, Envelope):
        return frame.message is not None and isinstance(frame.message.body, Epoch)
    return isinstance(frame, Chain)


def keeps_silent(world: World, peer: int, effect: fx.Effect) -> Iterable[fx.Effect]:
    return () if isinstance(effect, fx.Send) and hides(effect.frame) else (effect,)


def dissents(world: World, peer: int, effect: fx.Effect) -> Iterable[fx.Effect]:
    """Sign an outcome that keeps the accomplice, and not another."""
    if isinstance(effect, fx.Send) and isinstance(effect.frame, Envelope) and effect.frame.message:
        message = effect.frame.message
        if message.author == peer and isinstance(message.body, Epoch):
            kept = evolve(message.body, bans=(), roster=world.states[peer].rosters[message.epoch][1:])
            return (evolve(effect, frame=byz.forge(world.configs[peer], message.epoch, kept)),)
    return (effect,)


@pytest.mark.refuses("AGR-12", "AGR-14", "AGR-15")
@settings(max_examples=6)
@given(
    accomplice=st.sampled_from([keeps_silent, dissents]),
    fooled=st.sets(st.integers(0, 2), min_size=1, max_size=2),
    seed=st.integers(0, 2**32),
)
def test_an_accomplice_that_hides_or_bends_the_agreement_saves_nobody(
    accomplice: Callable[[World, int, fx.Effect], Iterable[fx.Effect]], fooled: set[int], seed: int
) -> None:
    tamper: dict[int, Tamper] = {4: byz.changed(Reveal, 2, byz.other_digest, fooled), 3: accomplice}
    world = finish(world_of(5, seed, tamper))
    assert [(peer, kind) for peer, _, kind in expelled(world)] == [(4, "ban")]
    assert world.states[0].roster == (0, 1, 2, 3)


# -- sizes ----------------------------------------------------------------------------------------------


def largest_garbage(world: World, peer: int, effect: fx.Effect) -> Iterable[fx.Effect]:
    """Sign as many bytes as a payload may have, in place of REVEAL of step 2, and show them to peer 0 only."""
    if isinstance(effect, fx.Send) and isinstance(effect.frame, Envelope) and effect.frame.message:
        body = effect.frame.message.body
        if effect.frame.author == peer and isinstance(body, Reveal) and body.step == 2:
            payload = b"\xff" * max_payload(len(world.configs))
            return (fx.Send((0,), byz.sign(world.configs[peer], peer, payload)),)
    return (effect,)


def largest_pair(world: World, peer: int, effect: fx.Effect) -> Iterable[fx.Effect]:
    """Sign two VALIDATEs for one slot, each with scalars of as many parts as a payload can hold."""
    if isinstance(effect, fx.Send) and isinstance(effect.frame, Envelope) and effect.frame.message:
        body = effect.frame.message.body
        if effect.frame.author == peer and isinstance(body, Validate) and body.step == 2:
            parts = (max_payload(len(world.configs)) - 200) // (SKETCH_SIZE + 8)
            large = evolve(body, sketches=bytes(SKETCH_SIZE * parts), norms=bytes(8 * parts))
            return (
                effect,
                fx.Send((0,), byz.forge(world.configs[peer], 0, large)),
                fx.Send((1,), byz.forge(world.configs[peer], 0, evolve(large, prev=HASH))),
            )
    return (effect,)


@pytest.mark.shows("MSG-4")
@pytest.mark.refuses("MSG-3", "MSG-5")
@pytest.mark.parametrize("tamper", [largest_garbage, largest_pair])
def test_the_largest_proof_of_a_fault_still_travels(tamper: Tamper) -> None:
    """Who shows huge messages to one honest peer must not keep it from showing them to the others."""
    world = finish(world_of(4, 2, {3: tamper}))
    assert [(peer, kind) for peer, _, kind in expelled(world)] == [(3, "ban")]
    frames = [effect.frame for effect in world.of(fx.Send) if isinstance(effect, fx.Send)]
    sizes = [len(encode_frame(frame)) for frame in frames if isinstance(frame, Chain)]
    assert max(sizes) > max_payload(4)
    for frame in frames:
        assert decode_frame(encode_frame(frame), 4) == frame
