"""Elections: seeds, aggregators and pairs follow from the last election value; nobody gets around them."""

from collections import Counter
from collections.abc import Iterable

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from btard.statemachine import compute as cp
from btard.statemachine import effects as fx
from btard.statemachine.election import Pair, assign_parts, draw_pairs, gradient_seed
from btard.statemachine.messages import Accuse, Body, Claim, ClaimKind, Commit, Envelope, Reveal, Validate
from fuzz import byzantine as byz
from fuzz.world import Tamper, World
from tests.reference import drawn, hashed, number
from tests.statemachine.stage import bodies, expelled, finish, world_of

RUN, RHO = bytes(range(32)), bytes(range(32, 64))
ROSTER = (1, 4, 5, 9, 11, 12, 20)
hashes = st.binary(min_size=32, max_size=32)
numbers = st.integers(0, 2**32 - 1)
rosters = st.lists(st.integers(0, 1023), min_size=3, max_size=20, unique=True).map(sorted).map(tuple)


@pytest.mark.shows("ELE-1", "ELE-2", "ELE-3")
def test_golden_values() -> None:
    seed = "8a228a224ca4660809c7b5e04de608f55642a9af51ea38ac392eaa5b77f5ea99"
    assert gradient_seed(RUN, RHO, 7, 3).hex() == seed
    assert assign_parts(RUN, RHO, 2, 7, ROSTER) == (1, 12, 20, 4, 9, 11, 5)
    assert draw_pairs(RUN, RHO, 7, ROSTER, 2) == (Pair(validator=4, target=20), Pair(validator=9, target=1))


@pytest.mark.shows("ELE-1")
@given(run=hashes, rho=hashes, step=numbers, peer=st.integers(0, 1022))
def test_every_peer_has_a_seed_of_its_own_in_every_step(run: bytes, rho: bytes, step: int, peer: int) -> None:
    seed = gradient_seed(run, rho, step, peer)
    assert seed == hashed("gradient seed", run, rho, number(step), number(peer))
    others = [
        gradient_seed(run, rho, step, peer + 1),
        gradient_seed(run, rho, step + 1, peer),
        gradient_seed(run, bytes(31) + b"\xff", step, peer),
        gradient_seed(rho, run, step, peer),
    ]
    assert seed not in others or run == rho


@pytest.mark.shows("ELE-2")
@given(run=hashes, rho=hashes, epoch=numbers, step=numbers, roster=rosters)
def test_every_member_aggregates_one_part(
    run: bytes, rho: bytes, epoch: int, step: int, roster: tuple[int, ...]
) -> None:
    aggregators = assign_parts(run, rho, epoch, step, roster)
    assert sorted(aggregators) == list(roster)
    n = len(roster)
    places = drawn("assignment", run, rho, number(epoch), number(step), k=n, n=n)
    assert aggregators == tuple(roster[place] for place in places)


@pytest.mark.shows("ELE-3")
@given(run=hashes, rho=hashes, step=numbers, contributors=rosters, m=st.integers(0, 8))
def test_pairs_are_distinct_contributors(
    run: bytes, rho: bytes, step: int, contributors: tuple[int, ...], m: int
) -> None:
    pairs = draw_pairs(run, rho, step, contributors, m)
    k = min(m, len(contributors) // 2)
    peers = [peer for pair in pairs for peer in (pair.validator, pair.target)]
    places = drawn("pairs", run, rho, number(step), k=2 * k, n=len(contributors))
    assert peers == [contributors[place] for place in places]
    assert len(peers) == len(set(peers)) == 2 * k


def chi_square(counts: Counter[Pair], cells: int) -> float:
    expected = counts.total() / cells
    return sum((count - expected) ** 2 / expected for count in counts.values()) + expected * (
        cells - len(counts)
    )


@pytest.mark.shows("ELE-3")
@pytest.mark.parametrize(("m", "bound"), [(1, 43.8), (2, 43.8)])
def test_every_ordered_pair_is_equally_likely(m: int, bound: float) -> None:
    """20 cells, 19 degrees of freedom: chance exceeds 43.8 in one of a thousand; these seeds are fixed."""
    contributors = (2, 3, 5, 7, 11)
    for place in range(m):
        counts = Counter(draw_pairs(RUN, number(i), 1, contributors, m)[place] for i in range(3000))
        assert set(counts) == {Pair(a, b) for a in contributors for b in contributors if a != b}
        assert chi_square(counts, 20) < bound


# -- in a run -------------------------------------------------------------------------------------------


def prepares(world: World, peer: int) -> dict[tuple[int, int], cp.Prepare]:
    """Return what a peer was to compute at first, by epoch and step."""
    requests = [effect.request for effect in world.of(fx.Compute, peer) if isinstance(effect, fx.Compute)]
    return {(r.epoch, r.step): r for r in requests if isinstance(r, cp.Prepare)}


@pytest.mark.shows("ELE-1", "ELE-3", "ELE-4")
@pytest.mark.parametrize("m", [0, 1, 2])
def test_seeds_and_pairs_of_a_run_follow_from_the_certified_step_before(m: int) -> None:
    world = world_of(7, seed=2, steps=6, validators=m, f_max=2)
    run = world.configs[0].run
    rho = {0: bytes(32)}
    contributed: dict[int, tuple[int, ...]] = {}

    def watch() -> bool:
        for state in world.states:
            if state.last is not None:
                rho[state.last.step + 1] = state.last.election_value
                contributed[state.last.step + 1] = state.last.contributors
        return world.over(range(7))

    world.run(watch)
    for step in range(1, 7):
        pairs = draw_pairs(run, rho[step], step, contributed[step], m)
        targets = {pair.validator: pair.target for pair in pairs}
        assert len(pairs) == (m if step > 1 else 0), "nobody contributes to step 0"
        for peer in range(7):
            request = prepares(world, peer)[0, step]
            if peer in targets:
                assert request.own is None
                assert request.audit is not None
                audited = (request.audit.peer, request.audit.step)
                assert audited == (targets[peer], step - 1)
                assert request.audit.seed == gradient_seed(run, rho[step - 1], step - 1, targets[peer])
            else:
                assert request.audit is None
                assert request.own is not None
                assert request.own.seed == gradient_seed(run, rho[step], step, peer)
        if step > 1:
            assert not {pair.validator for pair in pairs} & set(contributed.get(step + 1, ()))


def fails_as(role: str, kind: type[Body]) -> Tamper:
    """Sign garbage the first time that this peer has a role in a pair."""

    def tamper(world: World, peer: int, effect: fx.Effect) -> Iterable[fx.Effect]:
        mine = peer in [getattr(pair, role) for pair in world.states[peer].at.pairs]
        if mine and isinstance(effect, fx.Send) and isinstance(effect.frame, Envelope) and effect.frame.message:
            said = effect.frame.message
            if said.author == peer and isinstance(said.body, kind):
                return (evolve(effect, frame=byz.sign(world.configs[peer], peer, b"\xff")),)
        return (effect,)

    return tamper


@pytest.mark.shows("ELE-1", "ELE-3", "ELE-4")
def test_pairs_seeds_and_contributors_are_the_same_in_every_epoch() -> None:
    """A target is banned in the step in which it is checked: the step is repeated, the draw is not."""
    world = finish(world_of(5, seed=6, tamper={4: fails_as("target", Reveal)}, steps=20))
    assert expelled(world) == [(4, "MSG-3", "ban")]
    again = world.states[0].rosters
    assert again == ((0, 1, 2, 3, 4), (0, 1, 2, 3))
    step = min(number for epoch, number in prepares(world, 0) if epoch == 1)
    before = {peer: prepares(world, peer)[0, step] for peer in range(4)}
    after = {peer: prepares(world, peer)[1, step] for peer in range(4)}
    (validator,) = [peer for peer, request in before.items() if request.audit]
    assert before[validator].audit is not None
    assert after[validator].own is None, "it sits out though its target is gone"
    assert after[validator].audit is None
    for peer in set(range(4)) - {validator}:
        first, second = before[peer].own, after[peer].own
        assert first is not None
        assert second is not None
        assert first.seed == second.seed
        assert (first.parts, second.parts) == (5, 4)
    commits = [body for body in bodies(world, Commit, validator) if isinstance(body, Commit)]
    assert [len(body.parts) for body in commits if body.step == step] == [0, 0]


@pytest.mark.shows("ELE-3")
def test_a_validator_that_leaves_takes_its_pair_along() -> None:
    world = finish(world_of(5, seed=9, tamper={4: fails_as("validator", Reveal)}, steps=20))
    assert expelled(world) == [(4, "MSG-3", "ban")]
    step = min(number for epoch, number in prepares(world, 0) if epoch == 1)
    again = [prepares(world, peer)[1, step] for peer in range(4)]
    assert all(request.own is not None and request.audit is None for request in again)


# -- who does not keep to it ----------------------------------------------------------------------------


def other_seed(step: int) -> Tamper:
    """Compute the gradient of another seed from ``step`` on."""

    def tamper(world: World, peer: int, effect: fx.Effect) -> Iterable[fx.Effect]:
        request = effect.request if isinstance(effect, fx.Compute) else None
        if isinstance(request, cp.Prepare) and request.own and request.step >= step:
            return (fx.Compute(evolve(request, own=evolve(request.own, seed=bytes(32)))),)
        return (effect,)

    return tamper


@pytest.mark.refuses("ELE-1", "VER-1")
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_gradient_of_another_seed_is_found_and_bans(seed: int) -> None:
    """Judges derive the seed themselves; what the target says of it plays no part."""
    world = finish(world_of(4, seed=seed, tamper={3: other_seed(2)}, steps=30))
    assert expelled(world) == [(3, "VER-1", "ban")]


def raising(claim: Claim) -> Tamper:
    return byz.claiming(2, lambda world, peer: claim)


def scalars_claim(world: World, peer: int, kind: ClaimKind, other_part: int) -> Claim:
    """Claim on what another contributor committed to, of the own part or one that many places further."""
    state = world.states[peer]
    part = (state.at.aggregators.index(peer) + other_part) % len(state.at.aggregators)
    accused = next(p for p in state.at.contributors if p != peer)
    envelope = state.slots[("phase", state.epoch, state.at.number, 0, accused)]
    assert envelope.message is not None
    assert isinstance(envelope.message.body, Commit)
    return Claim(kind, accused, part, envelope.message.body.parts[part])


def raising_scalars_claim(kind: ClaimKind, other_part: int) -> Tamper:
    """Make up the claim on sending VALIDATE of step 2, and raise it."""
    raised: list[Claim] = []
    claiming = byz.claiming(2, lambda world, peer: raised[0])

    def tamper(world: World, peer: int, effect: fx.Effect) -> Iterable[fx.Effect]:
        if isinstance(effect, fx.Persist) and effect.envelope.message:
            body = effect.envelope.message.body
            if isinstance(body, Validate) and body.step == 2:
                raised.append(scalars_claim(world, peer, kind, other_part))
        return claiming(world, peer, effect)

    return tamper


@pytest.mark.refuses("ELE-2", "VER-11")
def test_a_claim_on_a_part_that_was_assigned_to_another_does_not_count() -> None:
    for kind in (ClaimKind.SCALARS, ClaimKind.NONFINITE):
        world = finish(world_of(4, seed=5, tamper={3: raising_scalars_claim(kind, other_part=1)}))
        assert expelled(world) == [(3, "STP-3", "remove")]
    own = finish(world_of(4, seed=5, tamper={3: raising_scalars_claim(ClaimKind.SCALARS, other_part=0)}))
    assert expelled(own) == [(3, "VER-6", "ban")], "on its own part it counts, and is judged"


@pytest.mark.refuses("ELE-3", "VER-11")
def test_who_was_not_drawn_cannot_accuse_as_a_validator() -> None:
    outcomes = set()
    for accused in range(3):
        world = world_of(4, seed=7, tamper={3: raising(Claim(ClaimKind.GRADIENT, accused, 0, b""))})
        world.run(lambda world=world: world.states[0].at.number == 2)  # type: ignore[misc]
        drawn_to_check = Pair(3, accused) in world.states[0].at.pairs
        finish(world)
        assert expelled(world) == [(3, "VER-6", "ban") if drawn_to_check else (3, "STP-3", "remove")]
        outcomes.add(drawn_to_check)
    assert False in outcomes


def contributes_as_validator(world: World, peer: int, effect: fx.Effect) -> Iterable[fx.Effect]:
    if isinstance(effect, fx.Send) and isinstance(effect.frame, Envelope) and effect.frame.message:
        said = effect.frame.message
        if said.author == peer and isinstance(said.body, Commit) and said.body.step > 1 and not said.body.parts:
            more = evolve(said.body, parts=(bytes(32),) * len(world.states[peer].roster))
            return (evolve(effect, frame=byz.forge(world.configs[peer], said.epoch, more)),)
    return (effect,)


@pytest.mark.refuses("ELE-4", "STP-4")
def test_a_validator_that_contributes_all_the_same_is_not_delivered() -> None:
    world = finish(world_of(5, seed=8, tamper={2: contributes_as_validator}, steps=20))
    assert expelled(world) == [(2, "STP-3", "remove")]


@pytest.mark.refuses("ELE-4", "STP-4")
def test_a_contributor_that_sits_out_is_not_delivered() -> None:
    def without_parts(body: Body) -> Body:
        return evolve(body, parts=()) if isinstance(body, Commit) else body

    world = finish(world_of(5, seed=8, tamper={2: byz.changed(Commit, 1, without_parts, range(5))}))
    assert expelled(world) == [(2, "STP-3", "remove")]
    assert not [body for body in bodies(world, Accuse, 0) if isinstance(body, Accuse) and body.claim]
