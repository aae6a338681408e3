"""Form and fit: what convicts its author by itself, and what only is not delivered."""

import math
import struct
from functools import cache

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from btard.robust.encoding import SKETCH_SIZE, pack_norms, pack_rows
from btard.statemachine.form import malformed, unfit
from btard.statemachine.messages import (
    Accuse,
    Body,
    Claim,
    ClaimKind,
    Commit,
    Enter,
    Epoch,
    Late,
    Need,
    NoVerdict,
    PhaseBody,
    Publish,
    Reduce,
    Reveal,
    Stay,
    Validate,
    Vote,
)
from btard.statemachine.parameters import Parameters
from btard.statemachine.state import State
from btard.statemachine.table import Phase
from fuzz.world import parameters
from tests.statemachine.stage import signed, world_of

HASH = bytes(range(32))
ROSTER = (0, 2, 3, 7)  # of some later epoch: peers 1, 4, 5 and 6 are gone
OK = Accuse(1, HASH, HASH, HASH, None)
REPORT = Claim(ClaimKind.GRADIENT, 4, 0, b"")  # on a former member


def wrong(author: int, body: Body, params: Parameters | None = None) -> str | None:
    return malformed(params or parameters(8, late_limit=1), 8, ROSTER, author, body)


def scalars(*parts: tuple[float, float]) -> Validate:
    """Return a VALIDATE with, for each part, one entry in its second row and its norm."""
    rows = [
        row for entry, _ in parts for row in ([0.0] * 16, [0.0, entry] + [0.0] * 14, [0.0] * 16, [0.0] * 16)
    ]
    return Validate(1, HASH, pack_rows(rows), pack_norms([norm for _, norm in parts]))


# -- form -----------------------------------------------------------------------------------------------

WELL_FORMED: list[Body] = [
    Commit(1, HASH, (HASH,) * 4, HASH, HASH, HASH),
    Commit(1, HASH, (), HASH, HASH, HASH),
    Commit(1, HASH, (), HASH, HASH, HASH, (2, 3, 7)),
    Reduce(1, HASH, HASH),
    Reduce(1, HASH, b""),
    Reveal(1, HASH, HASH, HASH),
    Validate(1, HASH, b"", b""),
    scalars((0.0, 0.0)),
    scalars((4.0, 1.0), (-4.0, 1.0), (4.0, 1e300), (2.0, 0.5), (0.0, 0.0)),
    OK,
    *(evolve(OK, claim=Claim(kind, 2, 5, b"")) for kind in ClaimKind),
    Enter(1, 4),
    Publish(1, 0),
    Publish(1, 3),
    Late(1, 0, 7, -1),
    Late(1, 4, 0, 3),
    Late(1, 1, 0, 3),
    Need(1, (2,)),
    Need(1, (7,)),
    evolve(Validate(1, HASH, b"", b""), report=REPORT),
    evolve(scalars((0.0, 0.0)), report=evolve(REPORT, accused=1023)),
    Vote(1, 4, 2, HASH, 3),
    Vote(1, 3, 2, HASH, 1),
    Vote(1, 4, 2, HASH, 2),
    Vote(1, 4, 2, HASH, 7, (0, 1, 2)),
    NoVerdict(1, 7, HASH),
    Epoch(1, HASH, (7,), (0, 2, 3)),
    Epoch(1, HASH, (), (3,)),
    Stay(1, HASH, ROSTER, True),
    Stay(1, HASH, (0, 3, 7), False),
    Stay(1, HASH, (0, 2, 3), True),
]


@pytest.mark.shows("MSG-3")
@pytest.mark.parametrize("body", WELL_FORMED)
def test_well_formed(body: Body) -> None:
    assert wrong(0, body) is None


MALFORMED: list[tuple[str, Body]] = [
    *(("part hashes among 4 members", Commit(1, HASH, (HASH,) * n, HASH, HASH, HASH)) for n in (1, 3, 5, 8)),
    *(
        ("no ascending other members", Commit(1, HASH, (), HASH, HASH, HASH, late))
        for late in ((1,), (0,), (3, 2), (2, 2), (2, 1023))
    ),
    ("different numbers of parts", Validate(1, HASH, bytes(SKETCH_SIZE), b"")),
    ("different numbers of parts", Validate(1, HASH, b"", bytes(8))),
    ("different numbers of parts", Validate(1, HASH, bytes(SKETCH_SIZE), bytes(16))),
    ("different numbers of parts", Validate(1, HASH, bytes(SKETCH_SIZE - 1), bytes(8))),
    ("different numbers of parts", Validate(1, HASH, bytes(SKETCH_SIZE), bytes(7))),
    *((f"norm of part 0 is {norm}", scalars((0.0, norm))) for norm in (-1.0, -math.inf, math.inf, math.nan)),
    ("norm of part 2 is nan", scalars((0.0, 1.0), (0.0, 1.0), (0.0, math.nan))),
    *(("a sketch row of part 0", scalars((entry, 1.0))) for entry in (4.1, -4.1, 1e308, math.nan, math.inf)),
    ("a sketch row of part 1", scalars((0.0, 1.0), (1.1, 0.25))),
    ("a sketch row of part 0", scalars((1e-300, 0.0))),
    ("accuses itself", evolve(OK, claim=Claim(ClaimKind.SCALARS, 0, 0, HASH))),
    ("nobody's message", Late(1, 0, 1, -1)),
    ("nobody's message", Late(1, 0, 1023, -1)),
    ("nobody's message", Late(1, 4, 2, 4)),
    *(("in REDUCE and ACCUSE only", Late(1, phase, 2, 0)) for phase in (0, 2, 3)),
    *(
        ("needs parts of nobody else", Need(1, peers))
        for peers in ((0,), (1,), (1023,), (2, 2), (3, 2), (2, 4))
    ),
    *(("peers, where 1 may be faulty", Need(1, peers)) for peers in ((), (2, 3), (2, 3, 7))),
    ("publishes part 4 of 4", Publish(1, 4)),
    *(
        ("no gradient claim on a former member", Validate(1, HASH, b"", b"", report))
        for report in (
            evolve(REPORT, accused=2),
            evolve(REPORT, accused=0),
            *(evolve(REPORT, kind=kind) for kind in ClaimKind if kind is not ClaimKind.GRADIENT),
        )
    ),
    ("what nobody has raised", Vote(1, 4, 1, HASH, 2)),
    ("what nobody has raised", Vote(1, 3, 1023, HASH, 2)),
    *(("what nobody has raised", Vote(1, phase, 2, HASH, 3)) for phase in range(3)),
    ("no peers, or one twice", Vote(1, 4, 2, HASH, 8)),
    *(
        ("no peers, or one twice", Vote(1, 4, 2, HASH, 3, accomplices))
        for accomplices in ((8,), (1, 1023), (3,), (1, 1), (5, 4))
    ),
    ("no accomplices", Vote(1, 4, 2, HASH, 2, (1,))),
    ("more accomplices", Vote(1, 4, 2, HASH, 7, (0, 1, 2, 3))),
    ("no member has raised", NoVerdict(1, 4, HASH)),
    *(("not ascending", Epoch(1, HASH, (), roster)) for roster in ((2, 0), (0, 0), (0, 2, 3, 3))),
    *(("no smaller part", Epoch(1, HASH, (), roster)) for roster in ((0, 1), (7, 8), ROSTER)),
    *(("not ascending", Stay(1, HASH, roster, True)) for roster in ((2, 0), (0, 0))),
    *(("no part", Stay(1, HASH, roster, True)) for roster in ((2, 3, 7), (0, 1, 2, 3), (0, 2, 1023), ())),
    *(("go on together", Stay(1, HASH, roster, True)) for roster in ((0,), (0, 7))),
]


@pytest.mark.refuses("MSG-3", "SKT-4")
@pytest.mark.parametrize(("reason", "body"), MALFORMED)
def test_malformed(reason: str, body: Body) -> None:
    found = wrong(0, body)
    assert found is not None
    assert reason in found


@pytest.mark.shows("SKT-4")
@pytest.mark.refuses("SKT-4")
@given(
    norm=st.floats(1e-3, 1e3),
    tau=st.floats(1e-3, 1e3) | st.just(math.inf),
    share=st.floats(0, 3).filter(lambda share: abs(share - 1) > 1e-5),
    bucket=st.integers(0, 15),
)
def test_a_row_may_be_as_long_as_four_times_the_clipped_difference(
    norm: float, tau: float, share: float, bucket: int
) -> None:
    entry = share * 4 * min(tau, norm)
    row = [0.0] * 16
    row[bucket] = entry
    body = Validate(1, HASH, pack_rows([[0.0] * 16] * 3 + [row]), pack_norms([norm]))
    assert (wrong(0, body, parameters(8, tau=tau)) is None) == (share < 1)


@pytest.mark.refuses("MSG-3")
@given(count=st.integers(0, 3), data=st.data())
def test_any_scalars_have_a_form_or_have_none(count: int, data: st.DataObject) -> None:
    """Whatever the floats are, it is decided without a crash, and as the specification says."""
    entries = data.draw(st.lists(st.floats(), min_size=64 * count, max_size=64 * count))
    norms = data.draw(st.lists(st.floats(), min_size=count, max_size=count))
    body = Validate(1, HASH, struct.pack(f"<{64 * count}d", *entries), pack_norms(norms))
    good = all(math.isfinite(norm) and norm >= 0 for norm in norms)
    for index in range(0, 64 * count, 16):
        length = math.hypot(*entries[index : index + 16])
        limit = 4 * min(1.0, norms[index // 64])
        if good and abs(length - limit) <= 1e-5 * limit:
            return  # too close to tell with another arithmetic
        good = good and length <= limit
    assert (wrong(0, body) is None) == good


@pytest.mark.shows("MSG-3")
def test_form_depends_on_genesis_and_roster_alone() -> None:
    """A claim that its author may not raise, or a step far away, is well-formed: it only does not count."""
    far = evolve(OK, step=2**32 - 1, claim=Claim(ClaimKind.AGGREGATE, 1023, 1023, HASH))
    assert wrong(2, far) is None


# -- fit ------------------------------------------------------------------------------------------------


@cache
def peer_in(phase: Phase, step: int) -> State:
    """Return the state of peer 0 among five in a phase, model up to date; from step 2 on with a pair."""
    world = world_of(5, seed=2)

    def there() -> bool:
        state = world.states[0]
        return (state.at.number, state.phase, state.model_step) == (step, phase, step)

    world.run(there)
    return world.states[0]


@pytest.mark.shows("STP-4", "STP-5")
def test_everything_that_honest_peers_say_fits() -> None:
    world = world_of(5, seed=2)
    world.run(lambda: world.over(range(5)))
    said = {
        (m.body.step, m.body.phase, m.author): m.body for m in signed(world) if isinstance(m.body, PhaseBody)
    }
    for phase in (Phase.COMMIT, Phase.REDUCE, Phase.REVEAL, Phase.VALIDATE, Phase.ACCUSE):
        for step in (0, 1, 2):
            state = peer_in(phase, step)
            assert [unfit(state, author, said[step, phase, author]) for author in range(5)] == [None] * 5


def roles(state: State) -> tuple[int, int]:
    """Return a contributor and a validator."""
    return state.at.contributors[0], state.at.pairs[0].validator


@pytest.mark.shows("STP-12")
@pytest.mark.refuses("STP-4", "ELE-4")
def test_a_commit_with_other_parts_does_not_fit() -> None:
    state = peer_in(Phase.COMMIT, 2)
    contributor, validator = roles(state)
    assert validator not in state.at.contributors
    commit = Commit(2, HASH, (HASH,) * 5, HASH, HASH, state.model_digest)
    assert unfit(state, contributor, commit) is None
    assert unfit(state, validator, evolve(commit, parts=())) is None
    assert unfit(state, contributor, evolve(commit, parts=())) == "0 part hashes where 5 are due"
    assert unfit(state, contributor, evolve(commit, parts=(HASH,) * 4)) == "4 part hashes where 5 are due"
    assert unfit(state, validator, commit) == "5 part hashes where 0 are due"
    assert unfit(state, contributor, evolve(commit, model=HASH)) is None, "drifted, and delivered"


@pytest.mark.refuses("STP-4", "STP-10")
def test_aggregates_are_due_in_every_training_step() -> None:
    first, later, closing = (peer_in(Phase.REDUCE, step) for step in (0, 1, 4))
    assert unfit(first, 1, Reduce(0, HASH, b"")) is None
    assert unfit(later, 1, Reduce(1, HASH, HASH)) is None
    assert unfit(first, 1, Reduce(0, HASH, HASH)) == "an aggregate in a step without contributors"
    assert unfit(closing, 1, Reduce(4, HASH, b"")) is None
    assert unfit(closing, 1, Reduce(4, HASH, HASH)) == "an aggregate in a step without contributors"
    assert unfit(later, 1, Reduce(1, HASH, b"")) == "no aggregate"


@pytest.mark.refuses("STP-4", "STP-10")
def test_scalars_are_due_from_contributors_and_validators_with_a_target() -> None:
    first, state = peer_in(Phase.VALIDATE, 0), peer_in(Phase.VALIDATE, 2)
    contributor, validator = roles(state)

    def of(parts: int) -> Validate:
        return Validate(2, HASH, bytes(SKETCH_SIZE * parts), bytes(8 * parts))

    for author in (contributor, validator):
        assert unfit(state, author, of(5)) is None
        for parts in (0, 1, 4, 6):
            assert unfit(state, author, of(parts)) == f"scalars of {parts} parts where 5 are due"
    assert unfit(first, 1, of(0)) is None
    assert unfit(first, 1, of(5)) == "scalars of 5 parts where 0 are due"
    closing = peer_in(Phase.VALIDATE, 4)  # of what four contributed in step 3
    (pair,) = closing.at.pairs
    for author in range(5):
        due, other = (5, 0) if author == pair.validator else (0, 5)
        assert unfit(closing, author, of(due)) is None
        assert unfit(closing, author, of(other)) == f"scalars of {other} parts where {due} are due"
    idle = evolve(state, at=evolve(state.at, pairs=()))  # its target is gone
    assert unfit(idle, validator, of(0)) is None
    assert unfit(idle, validator, of(5)) == "scalars of 5 parts where 0 are due"


@pytest.mark.shows("STP-4", "VER-17")
@pytest.mark.refuses("STP-4", "VER-17")
def test_a_report_fits_on_the_authors_own_absent_target_only() -> None:
    state = peer_in(Phase.VALIDATE, 2)
    (pair,) = state.at.pairs
    # Its target was removed: so the validator has no scalars to show, but may report.
    gone = evolve(state, at=evolve(state.at, pairs=(), absent=(pair,)))
    report = Claim(ClaimKind.GRADIENT, pair.target, 0, b"")
    silent = Validate(2, HASH, b"", b"")
    assert unfit(gone, pair.validator, silent) is None
    assert unfit(gone, pair.validator, evolve(silent, report=report)) is None
    reason = "its report is not on its own target"
    other = evolve(report, accused=pair.validator)
    for wrong in (other, evolve(report, part=1), evolve(report, object=HASH)):
        assert unfit(gone, pair.validator, evolve(silent, report=wrong)) == reason
    assert unfit(state, pair.validator, evolve(scalars(*[(0.0, 0.0)] * 5), report=report)) == reason
    contributor = gone.at.contributors[0]
    assert unfit(gone, contributor, evolve(scalars(*[(0.0, 0.0)] * 5), report=report)) == reason


@pytest.mark.shows("STP-5")
def test_a_commit_carries_the_digest_of_the_model_before_its_step() -> None:
    for step in (0, 1, 2, 3, 4):
        state = peer_in(Phase.REDUCE, step)
        commits = [state.slots["phase", 0, step, Phase.COMMIT, author].message for author in range(5)]
        models = {said.body.model for said in commits if said and isinstance(said.body, Commit)}
        assert models == {state.model_digest}
    before = [peer_in(Phase.COMMIT, step).model_digest for step in range(7)]
    assert before[0] == before[1], "step 0 changes nothing"
    assert len(set(before[1:4])) == 3
    assert len(set(before[4:])) == 1, "nor do closing steps"
