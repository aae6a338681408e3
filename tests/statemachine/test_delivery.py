"""How messages come to count, and that nobody keeps honest peers from it, early, late or by silence."""

import struct
from collections.abc import Iterable

import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from btard.statemachine import effects as fx
from btard.statemachine.effects import Verdict
from btard.statemachine.events import Fired, Received
from btard.statemachine.messages import (
    PHASE_BODIES,
    Body,
    Chain,
    Commit,
    Enter,
    Envelope,
    Evidence,
    EvidenceKind,
    GuiltyClass,
    Late,
    PhaseBody,
    Pull,
    Validate,
)
from btard.statemachine.table import STEP_PHASES, Phase
from btard.wire import encode_payload, message_hash
from fuzz import byzantine as byz
from fuzz.world import Tamper, World
from tests.reference import hashed
from tests.statemachine.stage import expelled, finish, judgement, signed, tried, world_of

HASH = bytes(range(32))


def is_own(effect: fx.Effect, peer: int) -> bool:
    return isinstance(effect, fx.Send) and isinstance(effect.frame, Envelope) and effect.frame.author == peer


# -- views ----------------------------------------------------------------------------------------------


@pytest.mark.shows("AGR-2", "MSG-6")
@settings(max_examples=4)
@given(seed=st.integers(0, 2**32), phase=st.sampled_from(STEP_PHASES))
def test_every_message_names_the_whole_preceding_phase(seed: int, phase: Phase) -> None:
    """In each epoch; a cheat in step 2 makes for two."""
    world = finish(world_of(4, seed, {3: byz.garbage(PHASE_BODIES[phase], 2)}))
    said = {
        (m.epoch, 5 * m.body.step + m.body.phase, m.author): m.body
        for m in signed(world)
        if isinstance(m.body, PhaseBody)
    }
    seen = 0
    for (epoch, position, author), body in said.items():
        roster = world.states[0].rosters[epoch]
        before = [said.get((epoch, position - 1, peer)) for peer in roster]
        if author == 3 or not any(before):
            continue  # what the cheat signs is not what it shows; the first of an epoch is tested with epochs
        hashes = []
        for peer, other in zip(roster, before, strict=True):
            assert other is not None
            payload = encode_payload(epoch, other)
            hashes.append(hashed("message hash", struct.pack("<I", peer), payload))
            assert hashes[-1] == message_hash(peer, payload)
        assert body.prev == hashed("view", *hashes)
        seen += 1
    assert seen > 30


# -- early ----------------------------------------------------------------------------------------------


@pytest.mark.shows("AGR-4")
def test_early_messages_are_kept_until_they_count() -> None:
    world = finish(world_of(7, 1, steps=4))
    kept = 0
    for peer, state, event in world.seen:
        if not isinstance(event, Received) or not isinstance(event.frame, Envelope):
            continue
        message = event.frame.message
        if message is None or not isinstance(message.body, PhaseBody):
            continue
        _, effects = tried(world, peer, event, state)
        if judgement(effects).verdict == Verdict.DEFER:
            entering = next(s for s in world.states_of(peer) if s.position > state.position)
            assert entering.slots[message.slot] == event.frame
            kept += 1
    assert kept > 10


@pytest.mark.refuses("AGR-4")
def test_nobody_fills_the_memory_with_messages_of_the_future() -> None:
    world = finish(world_of(4))
    state = world.first(0, Phase.REDUCE, 2)
    kept = set()
    for i in range(300):
        early = Commit(2, HASH, (), HASH, HASH, struct.pack("<32s", str(i).encode()))
        for epoch in (1, 2, 9, 2**32 - 1):
            after, effects = tried(world, 0, Received(1, byz.forge(world.configs[1], epoch, early)), state)
            verdict = judgement(effects).verdict
            if verdict == Verdict.DEFER:
                kept.add(epoch)
            else:
                assert after == state
            state = after
        far = Enter(3 + i, 0)
        after, effects = tried(world, 0, Received(1, byz.forge(world.configs[1], 0, far)), state)
        assert (judgement(effects).verdict, judgement(effects).rule) == (Verdict.IGNORE, "AGR-4")
        assert after == state
    assert kept == {1}
    assert len(state.deferred) == 2


@pytest.mark.refuses("AGR-4")
def test_nobody_fills_the_memory_with_chains_of_the_next_epoch() -> None:
    """Of each sender 64 are kept, whatever others send."""
    world = finish(world_of(4))
    state = world.first(0, Phase.REDUCE, 2)
    proof = Evidence(EvidenceKind.LATE, 2, ())
    for sender in (1, 2):
        before = state
        for i in range(100):
            signatures = ((sender, struct.pack("<64s", str(i).encode())),)
            chain = Chain(1, GuiltyClass("remove", 3), proof, signatures)
            state, effects = tried(world, 0, Received(sender, chain), state)
            found = judgement(effects)
            assert found.verdict == (Verdict.DEFER if i < 64 else Verdict.IGNORE)
            assert i < 64 or found.rule == "AGR-4"
        assert state.deferred[: len(before.deferred)] == before.deferred
        assert len(state.deferred) == len(before.deferred) + 64


@pytest.mark.shows("AGR-5")
@pytest.mark.refuses("AGR-5")
def test_a_lure_into_the_next_phase_is_followed_once_and_by_one_pull() -> None:
    """Whatever a peer says of the phase ahead, it is asked once for the current one, after a grace."""
    world = finish(world_of(4))
    state = world.first(0, Phase.REVEAL, 2)
    lures: list[Body] = [Validate(2, HASH, b"", b""), Enter(2, 3)]
    timers = []
    for body in lures:
        lure = byz.forge(world.configs[1], 0, body)
        if lure.message is None or lure.message.slot in state.slots:
            continue
        state, effects = tried(world, 0, Received(1, lure), state)
        assert judgement(effects).verdict == Verdict.DEFER
        assert not [e for e in effects if isinstance(e, fx.Send)]
        timers += [e for e in effects if isinstance(e, fx.SetTimer)]
    assert [timer.delay for timer in timers] == [world.configs[0].timing.pull_grace]
    pulls = []
    for _ in range(3):
        state, effects = tried(world, 0, Fired(timers[0].timer), state)
        pulls += [e for e in effects if isinstance(e, fx.Send)]
    assert pulls == [fx.Send((1,), Pull(0, 2, int(Phase.REVEAL)))]


@pytest.mark.shows("AGR-6")
@pytest.mark.refuses("AGR-6")
def test_a_pull_is_served_once_and_for_two_phases_only() -> None:
    world = finish(world_of(5, 2))
    state = world.first(0, Phase.VALIDATE, 2)
    for step, phase, served in [(2, 3, None), (2, 2, 5), (2, 1, 0), (2, 4, 0), (1, 3, 0), (3, 3, 0)]:
        after, effects = tried(world, 0, Received(1, Pull(0, step, phase)), state)
        frames = [e.frame for e in effects if isinstance(e, fx.Send)]
        if served is None or served:
            assert judgement(effects).verdict == Verdict.ACCEPT
            held = [env for slot, env in state.slots.items() if slot[:4] == ("phase", 0, step, phase)]
            assert {env.author for env in held} - {1} == {f.author for f in frames if isinstance(f, Envelope)}
            again, effects = tried(world, 0, Received(1, Pull(0, step, phase)), after)
            assert not [e for e in effects if isinstance(e, fx.Send)]
            assert again == after
        else:
            assert judgement(effects).verdict == Verdict.IGNORE
            assert after == state
            assert not frames


def offers_early(world: World, peer: int, effect: fx.Effect) -> Iterable[fx.Effect]:
    """Serve the own parts to everybody together with COMMIT."""
    if isinstance(effect, fx.Persist) and effect.envelope.message:
        body = effect.envelope.message.body
        if isinstance(body, Commit):
            return (effect, *(fx.Offer(name, None) for name in body.parts))
    return (effect,)


@pytest.mark.refuses("STP-6")
def test_nobody_fetches_what_is_served_before_all_have_committed() -> None:
    """So it tells nothing to whoever could still choose its own."""
    world = finish(world_of(4, 3, {3: offers_early}))
    assert expelled(world) == []
    entered = dict.fromkeys(range(4), (-1, Phase.COMMIT))
    fetched = 0
    for _, peer, effect in world.effects:
        if isinstance(effect, fx.Entered):
            entered[peer] = (effect.step, effect.phase)
        if isinstance(effect, fx.Fetch) and peer != 3:
            assert entered[peer] >= (effect.step, Phase.REDUCE)
            fetched += 1
    assert fetched


# -- late -----------------------------------------------------------------------------------------------


def cries_late(step: int, subject: int) -> Tamper:
    """Say in each phase of a step that an honest peer's message was late, at once."""

    def tamper(world: World, peer: int, effect: fx.Effect) -> Iterable[fx.Effect]:
        if isinstance(effect, fx.Send) and isinstance(effect.frame, Envelope) and effect.frame.message:
            message = effect.frame.message
            body = message.body
            if message.author == peer and isinstance(body, PhaseBody) and body.step == step:
                late = Late(step, int(body.phase), subject, -1)
                return (effect, evolve(effect, frame=byz.forge(world.configs[peer], message.epoch, late)))
        return (effect,)

    return tamper


@pytest.mark.refuses("AGR-7", "AGR-9")
@settings(max_examples=5)
@given(peers=st.integers(3, 8), seed=st.integers(0, 2**32))
def test_a_minority_that_cries_late_removes_nobody(peers: int, seed: int) -> None:
    liars = range(peers - (peers - 1) // 2, peers)
    world = finish(world_of(peers, seed, {liar: cries_late(2, 0) for liar in liars}))
    assert expelled(world) == []


@pytest.mark.shows("AGR-7")
def test_a_late_message_still_counts() -> None:
    """Not everything was there when peer 0's time was over: it says so, and goes on with what comes."""
    world = finish(world_of(5, 2))
    before = world.first(0, Phase.REVEAL, 2)
    missing = next(peer for peer in (1, 2, 3, 4) if peer not in before.at.delivered)
    state, effects = tried(world, 0, Fired(("phase", 0, 2, int(Phase.REVEAL))), before)
    lates = [e.envelope.message.body for e in effects if isinstance(e, fx.Persist) and e.envelope.message]
    assert Late(2, int(Phase.REVEAL), missing, -1) in lates
    assert {body.subject for body in lates if isinstance(body, Late)} == set(range(5)) - before.at.delivered
    reveal = next(
        event
        for event in world.events_of(0)
        if isinstance(event, Received) and isinstance(event.frame, Envelope) and event.frame.message
        if event.frame.message.slot == ("phase", 0, 2, int(Phase.REVEAL), missing)
    )
    after, effects = tried(world, 0, reveal, state)
    assert judgement(effects).verdict == Verdict.ACCEPT
    assert missing in after.at.delivered or after.phase is not Phase.REVEAL


def forwards_nothing(world: World, peer: int, effect: fx.Effect) -> Iterable[fx.Effect]:
    """Send own messages only, and answer neither LATE nor pull."""
    return () if isinstance(effect, fx.Send) and not is_own(effect, peer) else (effect,)


@pytest.mark.shows("AGR-5", "AGR-8")
@pytest.mark.refuses("AGR-6", "AGR-8")
@settings(max_examples=6)
@given(phase=st.sampled_from(STEP_PHASES), seed=st.integers(0, 2**32), honest=st.integers(0, 2))
def test_one_honest_peer_that_holds_a_message_is_enough(phase: Phase, seed: int, honest: int) -> None:
    """One shows its messages to an accomplice and to one honest peer only; the accomplice keeps them."""
    tamper: dict[int, Tamper] = {
        4: byz.to_some(PHASE_BODIES[phase], 1, [honest, 3]),
        3: forwards_nothing,
    }
    assert expelled(finish(world_of(5, seed, tamper))) == []


# -- the end --------------------------------------------------------------------------------------------


@pytest.mark.refuses("STP-11")
def test_who_never_says_that_it_is_done_is_waited_for_and_then_left() -> None:
    world = world_of(4, 1, {3: byz.silent(Enter, 4)})
    world.run(lambda: world.released >= {0, 1, 2})
    timing = world.configs[0].timing
    for peer in range(3):
        done = [
            t
            for t, who, e in world.effects
            if who == peer and isinstance(e, fx.Entered) and e.phase is Phase.DONE
        ]
        left = [t for t, who, e in world.effects if who == peer and isinstance(e, fx.Released)]
        assert [t - done[0] for t in left] == [timing.t_accuse + timing.c_judge + 4 * timing.delta]
        assert not world.of(fx.Stopped, peer)
    assert expelled(world) == []
