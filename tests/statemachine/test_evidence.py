"""Evidence: what proves a fault to anybody, and all that does not."""

from collections.abc import Sequence

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from btard.statemachine.config import faults, quorum
from btard.statemachine.evidence import BANNING, proves, rule_broken
from btard.statemachine.handle import initial
from btard.statemachine.messages import (
    Accuse,
    Body,
    Claim,
    ClaimKind,
    Commit,
    Envelope,
    Evidence,
    EvidenceKind,
    Late,
    NoVerdict,
    Reveal,
    Validate,
    Vote,
)
from btard.statemachine.randomness import Purpose, Secret, commitment
from btard.statemachine.state import State
from btard.statemachine.table import Phase
from fuzz import byzantine as byz
from fuzz.world import configs

HASH, OTHER = bytes(range(32)), bytes(range(1, 33))
CONFIGS = configs(7)
ROSTERS = ((0, 1, 2, 3, 4, 5, 6), (0, 1, 3, 4, 6))  # q = 4, then q = 3
K = EvidenceKind
ACCUSED = int(Phase.ACCUSE)


def state_in(epoch: int = 1, rosters: tuple[tuple[int, ...], ...] = ROSTERS) -> State:
    return evolve(initial(CONFIGS[0]), epoch=epoch, rosters=rosters)


def by(author: int, body: Body, epoch: int = 1) -> Envelope:
    return byz.forge(CONFIGS[author], epoch, body)


def proven(kind: EvidenceKind, subject: int, envelopes: Sequence[Envelope], state: State | None = None) -> bool:
    return proves(CONFIGS[0], state or state_in(), Evidence(kind, subject, tuple(envelopes)))


def forged(envelope: Envelope) -> Envelope:
    return evolve(envelope, signature=bytes(64))


# -- what one peer signed -------------------------------------------------------------------------------

ONE, TWO = Reveal(2, HASH, HASH, HASH), Reveal(2, HASH, HASH, OTHER)
PAIRS: list[tuple[Body, Body]] = [
    (ONE, TWO),
    (Vote(2, ACCUSED, 3, HASH, 3), Vote(2, ACCUSED, 3, OTHER, 3)),
    (Vote(2, ACCUSED, 3, HASH, 3), Vote(2, ACCUSED, 3, HASH, 4)),
    (Vote(2, ACCUSED, 3, HASH, 1), Vote(2, ACCUSED, 3, HASH, 1, (4,))),
    (NoVerdict(2, 3, HASH), NoVerdict(2, 3, OTHER)),
    (Accuse(2, HASH, HASH, HASH, None), Accuse(2, HASH, HASH, HASH, Claim(ClaimKind.GRADIENT, 3, 0, b""))),
]


@pytest.mark.refuses("MSG-5", "AGR-9")
@pytest.mark.parametrize(("one", "two"), PAIRS)
def test_two_messages_for_one_slot_prove_equivocation(one: Body, two: Body) -> None:
    assert proven(K.EQUIVOCATION, 4, [by(4, one), by(4, two)])
    assert proven(K.EQUIVOCATION, 4, [by(4, two), by(4, one)])


@pytest.mark.shows("MSG-5", "AGR-9")
@pytest.mark.refuses("MSG-2")
def test_what_is_no_equivocation() -> None:
    other_run = byz.forge(configs(7, run=b"another run".ljust(32))[4], 1, TWO)
    for envelopes in (
        [by(4, ONE)],
        [by(4, ONE), by(4, ONE)],
        [by(4, ONE), evolve(by(4, ONE), signature=bytes(64))],
        [by(4, ONE), by(4, TWO), by(4, TWO)],
        [by(4, ONE), forged(by(4, TWO))],
        [by(4, ONE), other_run],
        [by(4, ONE), by(3, TWO)],
        [by(3, ONE), by(3, TWO)],
        [by(4, ONE), by(4, evolve(TWO, step=3))],
        [by(4, ONE), by(4, TWO, epoch=0)],
        [by(4, ONE), by(4, Commit(2, HASH, (), HASH, HASH, HASH))],
        [by(4, Late(2, 0, 3, -1)), by(4, Late(2, 0, 1, -1))],
        [by(4, Vote(2, ACCUSED, 3, HASH, 3)), by(4, Vote(2, Phase.VALIDATE, 3, HASH, 1))],
        [by(4, ONE), byz.sign(CONFIGS[4], 4, b"garbage")],
        [],
    ):
        assert not proven(K.EQUIVOCATION, 4, envelopes)


@pytest.mark.shows("AGR-9")
@pytest.mark.refuses("MSG-3")
def test_malformed_is_what_breaks_schema_or_form_of_its_epoch() -> None:
    garbage = byz.sign(CONFIGS[4], 4, b"garbage")
    for_all = by(4, Commit(2, HASH, (HASH,) * 5, HASH, HASH, HASH))
    for_seven = Commit(2, HASH, (HASH,) * 7, HASH, HASH, HASH)
    assert proven(K.MALFORMED, 4, [garbage])
    assert proven(K.MALFORMED, 4, [by(4, for_seven)])
    assert proven(K.MALFORMED, 4, [by(4, Vote(2, ACCUSED, 5, HASH, 3))]), "5 is no member any more"
    assert not proven(K.MALFORMED, 4, [for_all])
    assert not proven(K.MALFORMED, 4, [by(4, for_seven, epoch=0)]), "then there were seven"
    assert not proven(K.MALFORMED, 3, [garbage])
    assert not proven(K.MALFORMED, 4, [forged(garbage)])
    assert not proven(K.MALFORMED, 4, [garbage, garbage])


SECRET = Secret(HASH, OTHER)


def commit_to(author: int, epoch: int = 1, step: int = 2) -> Commit:
    place = (CONFIGS[0].run, epoch, step, author)
    sketch, election = (commitment(*place, purpose, SECRET) for purpose in Purpose)
    return Commit(step, HASH, (), sketch, election, HASH)


@pytest.mark.shows("AGR-9", "RND-2")
@pytest.mark.refuses("RND-2")
def test_an_opening_of_something_else_than_was_committed_is_proven_by_both() -> None:
    committed = by(4, commit_to(4))
    reveal, accuse = (
        Reveal(2, HASH, SECRET.value, SECRET.salt),
        Accuse(2, HASH, SECRET.value, SECRET.salt, None),
    )
    for right in (reveal, accuse):
        assert not proven(K.OPENING, 4, [committed, by(4, right)])
        for wrong in (evolve(right, value=OTHER), evolve(right, salt=HASH)):
            assert proven(K.OPENING, 4, [committed, by(4, wrong)])
            assert not proven(K.OPENING, 3, [committed, by(4, wrong)])
            assert not proven(K.OPENING, 4, [by(4, wrong), committed])
            assert not proven(K.OPENING, 4, [committed, forged(by(4, wrong))])
            assert not proven(K.OPENING, 4, [committed])
            assert not proven(K.OPENING, 4, [committed, by(3, wrong)])
            assert not proven(K.OPENING, 4, [committed, by(4, evolve(wrong, step=3))])
            assert not proven(K.OPENING, 4, [committed, by(4, wrong, epoch=0)])
    copied = by(4, commit_to(3))
    assert proven(K.OPENING, 4, [copied, by(4, reveal)]), (
        "a commitment that was copied from another cannot open"
    )


# -- what a quorum signed -------------------------------------------------------------------------------

LATE = Late(2, 1, 6, -1)
CLAIM = Claim(ClaimKind.GRADIENT, 6, 0, b"")


def accusation(claim: Claim | None = CLAIM, author: int = 0, epoch: int = 1) -> Envelope:
    return by(author, Accuse(2, HASH, HASH, HASH, claim), epoch)


def quorums(kind: EvidenceKind, members: Sequence[int]) -> list[Envelope]:
    """Return what proves that peer 6 is late, guilty or in doubt, signed by these members."""
    accused = accusation()
    match kind:
        case K.LATE:
            return [by(member, LATE) for member in members]
        case K.VERDICT:
            return [accused, *(by(member, Vote(2, ACCUSED, 0, accused.hash, 6)) for member in members)]
    return [accused, *(by(member, NoVerdict(2, 0, accused.hash)) for member in members)]


QUORUM_KINDS = [K.LATE, K.VERDICT, K.NOVERDICT]


@pytest.mark.shows("AGR-1")
@given(n=st.integers(1, 1024))
def test_a_quorum_outvotes_the_faulty_and_two_quorums_meet_in_an_honest_peer(n: int) -> None:
    f, q = faults(n), quorum(n)
    assert (f, q) == ((n - 1) // 2, n // 2 + 1)
    assert f < q <= n - f
    assert 2 * q > n


@pytest.mark.shows("AGR-1", "AGR-9")
@pytest.mark.refuses("AGR-1", "AGR-9")
@given(kind=st.sampled_from(QUORUM_KINDS), members=st.lists(st.integers(0, 6), max_size=7))
def test_it_takes_a_quorum_of_distinct_members(kind: EvidenceKind, members: list[int]) -> None:
    distinct = len(set(members)) == len(members) and set(members) <= set(ROSTERS[1])
    assert proven(kind, 6, quorums(kind, members)) == (distinct and len(members) >= 3)


@pytest.mark.refuses("AGR-9", "MSG-2")
@pytest.mark.parametrize("kind", QUORUM_KINDS)
def test_opinions_must_be_signed_equal_and_on_the_subject(kind: EvidenceKind) -> None:
    good = quorums(kind, [0, 1, 3])
    assert proven(kind, 6, good)
    assert not proven(kind, 4, good)
    assert not proven(kind, 6, [*good[:-1], forged(good[-1])])
    assert not proven(kind, 6, good[:-1])
    assert not proven(kind, 6, [*good[:-1], by(3, ONE)])
    others: dict[EvidenceKind, Body] = {
        K.LATE: Late(2, 2, 6, -1),
        K.VERDICT: Vote(2, ACCUSED, 0, good[0].hash, 0),
        K.NOVERDICT: NoVerdict(2, 1, good[0].hash),
    }
    assert not proven(kind, 6, [*good[:-1], by(3, others[kind])])


@pytest.mark.refuses("MSG-6")
@pytest.mark.parametrize("kind", [K.VERDICT, K.NOVERDICT])
def test_votes_that_name_another_accusation_prove_nothing(kind: EvidenceKind) -> None:
    accused, *opinions = quorums(kind, [0, 1, 3])
    assert proven(kind, 6, [accused, *opinions])
    louder = by(0, Accuse(2, HASH, HASH, OTHER, CLAIM))
    for wrong in (
        louder,
        accusation(author=1),
        accusation(epoch=0),
        accusation(claim=None),
        by(0, Accuse(3, HASH, HASH, HASH, CLAIM)),
        by(0, ONE),
    ):
        assert not proven(kind, 6, [wrong, *opinions])
    assert not proven(kind, 6, opinions)
    assert not proven(kind, 6, [accused])


@pytest.mark.shows("AGR-9")
def test_whom_opinions_on_a_claim_can_hit() -> None:
    accused = accusation()
    for guilty in range(7):
        votes = [by(member, Vote(2, ACCUSED, 0, accused.hash, guilty)) for member in (1, 3, 4)]
        hit = [peer for peer in range(7) if proven(K.VERDICT, peer, [accused, *votes])]
        assert hit == [guilty]
    doubts = quorums(K.NOVERDICT, [1, 3, 4])
    assert [peer for peer in range(7) if proven(K.NOVERDICT, peer, doubts)] == [0, 6]


@pytest.mark.shows("AGR-9", "VER-20")
@pytest.mark.refuses("AGR-9")
def test_votes_hit_whomever_a_quorum_of_them_names() -> None:
    """As the guilty or as an accomplice: votes that agree on one of them prove that one."""
    accused = accusation()
    named = {1: (6, (3, 4)), 3: (6, (3,)), 4: (3, (1,))}
    votes = [by(member, Vote(2, ACCUSED, 0, accused.hash, *found)) for member, found in named.items()]
    assert [peer for peer in range(7) if proven(K.VERDICT, peer, [accused, *votes])] == [3]
    more = [*votes[:2], by(0, Vote(2, ACCUSED, 0, accused.hash, 6))]
    assert [peer for peer in range(7) if proven(K.VERDICT, peer, [accused, *more])] == [6]


@pytest.mark.refuses("AGR-9")
@pytest.mark.parametrize("epoch", [0, 1])
def test_what_names_nobody_proves_no_verdict(epoch: int) -> None:
    """A claim of one peer and what everybody else says of other things convict nobody."""
    accused = accusation(epoch=epoch)
    for said in (
        ONE,
        Accuse(2, HASH, HASH, HASH, None),
        NoVerdict(2, 0, accused.hash),
        Vote(2, ACCUSED, 0, HASH, 6),
        Vote(3, ACCUSED, 0, accused.hash, 6),
        Vote(2, ACCUSED, 1, accused.hash, 6),
        Vote(2, Phase.VALIDATE, 0, accused.hash, 6),
        Vote(2, ACCUSED, 0, accused.hash, 4),
    ):
        envelopes = [accused, *(by(member, said, epoch) for member in (0, 1, 3, 6))]
        assert not proven(K.VERDICT, 6, envelopes)


@pytest.mark.shows("AGR-9", "VER-19")
@pytest.mark.refuses("VER-19")
def test_votes_on_a_report_prove_a_verdict_on_a_former_member_and_doubts_nothing() -> None:
    def opinions(body: Body) -> list[Envelope]:
        return [by(member, body) for member in (1, 3, 4)]

    report = by(0, Validate(2, HASH, b"", b"", Claim(ClaimKind.GRADIENT, 5, 0, b"")))
    votes = opinions(Vote(2, Phase.VALIDATE, 0, report.hash, 5))
    assert proven(K.VERDICT, 5, [report, *votes])
    assert not proven(K.VERDICT, 5, [report, *votes[:2]])
    assert not proven(K.VERDICT, 5, [report, *opinions(Vote(2, ACCUSED, 0, report.hash, 5))])
    assert not proven(K.VERDICT, 5, [by(0, Validate(2, HASH, b"", b"")), *votes])
    for subject in (0, 5):
        assert not proven(K.NOVERDICT, subject, [report, *opinions(NoVerdict(2, 0, report.hash))])


@pytest.mark.refuses("AGR-16")
def test_quorums_are_those_of_the_epoch_in_which_they_signed() -> None:
    """Three of seven signed in epoch 0: a quorum of today's five, but none of theirs."""
    late = [by(member, LATE, epoch=0) for member in (0, 1, 3, 4)]
    assert not proven(K.LATE, 6, late[:3])
    assert proven(K.LATE, 6, late)
    assert not proven(K.LATE, 6, [*late[:2], *[by(member, LATE) for member in (3, 4)]])


@pytest.mark.refuses("AGR-9")
def test_evidence_from_the_future_proves_nothing_yet() -> None:
    early = state_in(epoch=0, rosters=ROSTERS[:1])
    assert not proven(K.EQUIVOCATION, 4, [by(4, ONE), by(4, TWO)], early)
    for kind in QUORUM_KINDS:
        assert not proven(kind, 6, quorums(kind, [0, 1, 3]), early)


@pytest.mark.shows("AGR-10")
def test_which_evidence_bans() -> None:
    assert {K.EQUIVOCATION, K.MALFORMED, K.OPENING, K.VERDICT} == BANNING


@pytest.mark.shows("AGR-9")
@pytest.mark.parametrize(
    ("kind", "subject", "rule"),
    [
        (ClaimKind.GRADIENT, 6, "VER-1"),
        (ClaimKind.SCALARS, 6, "VER-2"),
        (ClaimKind.NONFINITE, 6, "VER-3"),
        (ClaimKind.AGGREGATE, 6, "VER-4"),
        (ClaimKind.VALIDATOR, 6, "VER-5"),
        (ClaimKind.SCALARS, 0, "VER-6"),
    ],
)
def test_a_verdict_names_the_rule_that_was_broken(kind: ClaimKind, subject: int, rule: str) -> None:
    accused = accusation(Claim(kind, 6, 0, b""))
    votes = tuple(by(member, Vote(2, ACCUSED, 0, accused.hash, subject)) for member in (1, 3, 4))
    assert rule_broken(Evidence(K.VERDICT, subject, (accused, *votes)))[0] == rule


@pytest.mark.shows("AGR-9", "VER-18")
def test_a_verdict_names_the_rule_that_an_accomplice_broke() -> None:
    accused = accusation()
    votes = tuple(by(member, Vote(2, ACCUSED, 0, accused.hash, 6, (3, 4))) for member in (0, 1, 3))
    rules = {peer: rule_broken(Evidence(K.VERDICT, peer, (accused, *votes)))[0] for peer in (3, 4, 6)}
    assert rules == {3: "VER-18", 4: "VER-18", 6: "VER-1"}


@pytest.mark.shows("AGR-9")
def test_other_evidence_names_its_rule() -> None:
    rules = {kind: rule_broken(Evidence(kind, 6, ()))[0] for kind in K if kind is not K.VERDICT}
    assert rules == {
        K.EQUIVOCATION: "MSG-5",
        K.MALFORMED: "MSG-3",
        K.OPENING: "RND-2",
        K.LATE: "STP-3",
        K.NOVERDICT: "AGR-9",
    }
