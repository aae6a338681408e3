"""The declared fault configurations: what the liars may do, where it begins, and where the story ends."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from attrs import evolve, field, fields, frozen

from btard.robust.encoding import SKETCH_SIZE
from btard.statemachine import compute as cp
from btard.statemachine.messages import Claim, ClaimKind, Commit
from btard.statemachine.parameters import Parameters, Timing
from btard.statemachine.state import State
from btard.statemachine.table import Phase
from fuzz.search import adversary as adv
from fuzz.search.adversary import Move, Scene
from fuzz.search.broken import Broken
from fuzz.search.forget import FROZEN
from fuzz.world import Oracle, parameters

P = Phase


def ticks(delta: int = 1, **changes: int) -> Timing:
    """Return the tightest timing in ticks: computations take no time, clocks do not drift."""
    zero = [
        "c_commit", "c_aggregate", "c_reveal", "c_validate", "c_accuse", "c_judge", "c_publish", "drift_ppm",
    ]  # fmt: skip
    given = dict.fromkeys(zero, 0) | {"delta": delta, "delta_bulk": delta, "pull_grace": 0}
    rest = {f.name: 1 for f in fields(Timing) if f.name not in given}
    timing = Timing(**given, **rest)
    for _ in range(4):  # the bounds rest on each other
        timing = Timing(**given, **(rest | timing.minima()))
    return Timing(**{f.name: getattr(timing, f.name) for f in fields(Timing)} | changes)


def step_0(delta: int = 1) -> Timing:
    """Return the tightest timing where there is no bulk: REDUCE is a phase like any other."""
    return ticks(delta, t_reduce=4 * delta)


def small(steps: int = 1, peers: int = 3, validators: int = 0) -> Parameters:
    """Return parameters that bear one liar, or two of five."""
    return parameters(peers, steps, validators=validators, f_max=(peers - 1) // 2)


def next_step_reached(state: State) -> bool:
    """Whether the peer is past COMMIT of step 1, or in the next epoch."""
    return past(1, P.COMMIT)(state)


@frozen
class Configuration:
    """One declared search: everything that can happen with these liars, from ``start`` on.

    ``start`` is the (step, phase) from which on the liars do what the menu says; before, everybody behaves
    and nothing takes time. None begins at genesis.
    """

    name: str
    what: str
    menu: tuple[Move, ...]
    start: tuple[int, int] | None = None
    timing: Timing = field(factory=step_0)
    parameters: Parameters = field(factory=small)
    peers: int = 3
    liars: tuple[int, ...] = (2,)
    fifo: bool = True
    prompt: tuple[tuple[int, int], ...] = ()  # links between honest peers that take no time
    withheld: bool = False  # the liars serve nothing in the phase in which it begins, either
    serves: str = ""  # what the liars serve of bulk: nothing, or "free": when they like, or "at once"
    until: Callable[[State], bool] = next_step_reached
    oracle: Callable[[], Oracle] = Oracle
    broken: Broken | None = None  # where the times do not hold, and what need not hold then
    limit: int = 5_000_000
    long: bool = False

    def limited(self, states: int) -> Configuration:
        """Return the same with another limit."""
        return evolve(self, limit=states)


class Spoiling(Oracle):
    """The liar's sketches make the sum of one part wrong; nobody finds who is to blame."""

    def __init__(self, part: int) -> None:
        self.part = part

    def compute(self, me: int, request: cp.Request, entropy: bytes) -> cp.Result:
        """Compute; the liar's first entry of that part's sketch is off."""
        result = super().compute(me, request, entropy)
        if me == 2 and isinstance(result, cp.Sketched) and result.sketches:
            before, after = self.part * SKETCH_SIZE, self.part * SKETCH_SIZE + len(adv.FALSE)
            return evolve(result, sketches=result.sketches[:before] + adv.FALSE + result.sketches[after:])
        return result


def on_aggregate(scene: Scene, state: State, liar: int) -> Iterable[Claim]:
    """Make a false claim on the aggregate of peer 0, whose part is disputed."""
    for part in state.at.disputed:
        if state.at.aggregators[part] == 0:
            yield Claim(ClaimKind.AGGREGATE, 0, part, b"")


def on_target(scene: Scene, state: State, liar: int) -> Iterable[Claim]:
    """Make a false claim on the gradient of the liar's target."""
    for pair in state.at.pairs:
        if pair.validator == liar:
            yield Claim(ClaimKind.GRADIENT, pair.target, 0, b"")


def on_honest(kind: ClaimKind) -> Callable[[Scene, State, int], Iterable[Claim]]:
    """Make a false claim of this kind on peer 0, of the part that the liar aggregates."""

    def make(scene: Scene, state: State, liar: int) -> Iterable[Claim]:
        part = state.at.aggregators.index(liar)
        said = state.slots.get(("phase", state.epoch, state.at.number, 0, 0))
        body = said.message.body if said and said.message else None
        if isinstance(body, Commit) and body.parts:
            yield Claim(kind, 0, part, body.parts[part])

    return make


REST = (P.REDUCE, P.REVEAL, P.VALIDATE, P.ACCUSE)


def past(step: int, phase: Phase) -> Callable[[State], bool]:
    """Whether a peer is past this phase, or in the next epoch."""
    return lambda state: (
        state.epoch > 0 or (state.phase not in FROZEN and (state.at.number, state.at.phase) > (step, phase))
    )


ONE_WAY = ((1, 0),)  # what peer 1 sends is there at once; what peer 0 sends takes its time


def _skewed() -> Iterable[Configuration]:
    """One phase's message comes to one or to none, late or at once; then honest peers are a phase apart."""
    for start in ((0, P.COMMIT), (0, P.REDUCE), (0, P.REVEAL), (0, P.VALIDATE), (0, P.ACCUSE)):
        step, phase = start
        following = (step, P(phase + 1)) if phase < P.ACCUSE else (step + 1, P.COMMIT)
        yield Configuration(
            f"skewed-{following[1].name.lower()}",
            f"{phase.name} comes late or to one; then {following[1].name} of an honest peer is called late",
            (adv.phases(phase), adv.lates(0, wanted=[following[1]])),
            start=start,
            until=past(*following),
        )


def _step_0() -> Iterable[Configuration]:
    yield Configuration(
        "genesis",
        "COMMIT of the first step comes late, to one or to none, and an honest COMMIT is called late",
        (adv.phases(P.COMMIT), adv.lates(0, wanted=[P.COMMIT])),
        until=past(0, P.COMMIT),
        prompt=ONE_WAY,
    )
    yield Configuration(
        "equivocate-commit",
        "two COMMITs, one for each honest peer, and REDUCE that follows either",
        (adv.phases(P.COMMIT, variants=(0, 1)), adv.phases(P.REDUCE)),
        start=(0, P.COMMIT),
        until=past(0, P.REDUCE),
        prompt=ONE_WAY,
    )
    yield Configuration(
        "equivocate-reveal",
        "REVEALs that open the COMMIT and that do not, and VALIDATE that follows either",
        (adv.phases(P.REVEAL, variants=(0, 1)), adv.phases(P.VALIDATE)),
        start=(0, P.REVEAL),
        until=past(0, P.VALIDATE),
        prompt=ONE_WAY,
    )
    yield Configuration(
        "silent-validate",
        "VALIDATE and ACCUSE come late, to one or to none, and honest messages are called late",
        (adv.phases(P.VALIDATE, P.ACCUSE), adv.enters, adv.lates(0, wanted=[P.VALIDATE, P.ACCUSE])),
        start=(0, P.VALIDATE),
        until=past(0, P.ACCUSE),
        prompt=ONE_WAY,
        long=True,
    )
    yield Configuration(
        "last-ok",
        "the last ok comes to one or to none while a fault is shown: who applied, who not?",
        (adv.phases(P.ACCUSE), adv.chains("guilty", "commit")),
        start=(0, P.ACCUSE),
        prompt=ONE_WAY,
    )
    yield Configuration(
        "faked-chains",
        "a fault is shown, and chains with signatures that are repeated or made up",
        (adv.phases(P.ACCUSE), adv.chains("guilty"), adv.chains("ban", faked=True, signers=False)),
        start=(0, P.ACCUSE),
        prompt=ONE_WAY,
    )
    yield Configuration(
        "fault-shown",
        "the two messages that prove a fault come to one or to both while the last ok does",
        (adv.phases(P.ACCUSE), adv.faults),
        start=(0, P.ACCUSE),
        prompt=ONE_WAY,
    )
    yield Configuration(
        "ratify",
        "a fault is shown, and the liar signs the outcome, or one that keeps it in, for one or for both",
        (adv.chains("guilty"), adv.epochs, adv.false_epochs),
        start=(0, P.ACCUSE),
    )


def _larger() -> Iterable[Configuration]:
    yield Configuration(
        "ratify-of-4",
        "four peers: a fault is shown, and the liar signs the outcome for some: who enters when?",
        (adv.chains("guilty", signers=False), adv.epochs),
        start=(0, P.ACCUSE),
        peers=4,
        liars=(3,),
        parameters=small(peers=4),
        prompt=((1, 0), (2, 0)),
        until=lambda state: state.epoch > 0,
        long=True,
    )


def _next_epoch() -> Iterable[Configuration]:
    yield evolve(
        next(iter(_larger())),
        name="two-records-of-4",
        what="the same, and the liar signs another outcome for some",
        menu=(adv.chains("guilty", signers=False), adv.epochs, adv.false_epochs),
    )
    yield Configuration(
        "next-epoch",
        "five peers, two liars: one's fault is shown, the other's at a last moment or in the next epoch",
        (adv.chains("guilty", signers=False), adv.old_faults),
        start=(0, P.ACCUSE),
        peers=5,
        liars=(3, 4),
        parameters=small(peers=5),
        prompt=((1, 0), (2, 0), (2, 1), (0, 2), (1, 2)),
        until=lambda state: state.epoch > 1,
        long=True,
    )


def _step_1() -> Iterable[Configuration]:
    yield Configuration(
        "withhold-commit",
        "COMMIT of a step with parts goes to one only, or late, so that the others' parts come late",
        (adv.phases(P.COMMIT, P.REDUCE),),
        start=(1, P.COMMIT),
        timing=ticks(),
        serves="at once",
        until=past(1, P.REDUCE),
    )
    yield Configuration(
        "withhold-part",
        "a part is served to one or to none, and published to one or to none; an honest REDUCE is called late",
        (adv.only_to([1], adv.publishes), adv.lates(0, wanted=[P.REDUCE])),
        start=(1, P.REDUCE),
        withheld=True,
        timing=ticks(),
        serves="free",
        until=past(1, P.REDUCE),
        prompt=ONE_WAY,
    )
    yield Configuration(
        "withhold-both",
        "COMMIT comes to one first, parts to one or to none, and an honest REDUCE is called late",
        (adv.only_to([0], adv.phases(P.COMMIT)), adv.lates(0, wanted=[P.REDUCE])),
        start=(1, P.COMMIT),
        withheld=True,
        timing=ticks(),
        serves="free",
        until=past(1, P.REDUCE),
        long=True,
    )
    yield Configuration(
        "false-need",
        "an honest part is called needed, to one or to none, and late",
        (adv.phases(P.REDUCE), adv.needs(1), adv.part_lates(1)),
        start=(1, P.REDUCE),
        timing=ticks(),
        serves="at once",
        until=past(1, P.REDUCE),
    )
    yield Configuration(
        "early-need",
        "COMMIT comes to one first; an honest part is called needed, to one or to none, and late",
        (adv.only_to([0], adv.phases(P.COMMIT)), adv.needs(1), adv.part_lates(1)),
        start=(1, P.COMMIT),
        timing=ticks(),
        serves="at once",
        until=past(1, P.REDUCE),
        prompt=ONE_WAY,
    )
    yield Configuration(
        "withhold-aggregate",
        "the aggregate is announced, and served to one, late or never",
        (adv.phases(P.REDUCE, variants=(0, 1)),),
        start=(1, P.REDUCE),
        timing=ticks(),
        serves="free",
        until=past(1, P.REVEAL),
        prompt=ONE_WAY,
    )
    yield Configuration(
        "equivocate-validate",
        "two VALIDATEs, one for each honest peer, and ok that follows either",
        (adv.phases(P.VALIDATE, variants=(0, 2)), adv.phases(P.ACCUSE)),
        start=(1, P.VALIDATE),
        timing=ticks(),
        until=past(1, P.ACCUSE),
        prompt=ONE_WAY,
    )
    yield Configuration(
        "late-publish",
        "a sum that does not add up, and disputed parts that are published late, to one or to none",
        (adv.phases(P.ACCUSE), adv.publishes),
        start=(1, P.ACCUSE),
        timing=ticks(),
        serves="at once",
        until=past(1, P.ACCUSE),
        oracle=lambda: Spoiling(0),
        prompt=ONE_WAY,
        long=True,
    )
    yield Configuration(
        "skewed-publish",
        "VALIDATE that spoils a sum comes to one first; then honest parts are called late",
        (adv.only_to([0], adv.phases(P.VALIDATE, variants=(1,))), adv.part_lates(1)),
        start=(1, P.VALIDATE),
        timing=ticks(),
        until=past(1, P.ACCUSE),
    )
    yield Configuration(
        "hidden-claim",
        "VALIDATE and then a false claim come to one only, and the liar says at once that there is no verdict",
        (
            adv.only_to([0], adv.phases(P.VALIDATE), adv.accusations(on_honest(ClaimKind.SCALARS))),
            adv.opinions(),
        ),
        start=(1, P.VALIDATE),
        timing=ticks(),
        serves="free",
        until=past(1, P.ACCUSE),
    )
    yield Configuration(
        "claim-without-object",
        "a false claim on an honest aggregate comes to one only, and the liar says that there is no verdict",
        (adv.publishes, adv.only_to([0], adv.accusations(on_aggregate)), adv.opinions()),
        start=(1, P.ACCUSE),
        timing=ticks(),
        serves="at once",
        until=past(1, P.ACCUSE),
        oracle=lambda: Spoiling(1),
        prompt=ONE_WAY,
    )
    yield Configuration(
        "false-claim",
        "a false claim on an honest peer, or ok, or both, and votes of every kind",
        (adv.phases(P.ACCUSE), adv.accusations(on_honest(ClaimKind.SCALARS)), adv.opinions(0, 2)),
        start=(1, P.ACCUSE),
        timing=ticks(),
        serves="free",
        until=past(1, P.ACCUSE),
        prompt=ONE_WAY,
    )
    yield Configuration(
        "gradient-claim",
        "a false claim on its target, which rests on no object, comes to one only, with votes of every kind",
        (adv.only_to([1], adv.accusations(on_target)), adv.opinions(0, 2)),
        start=(2, P.ACCUSE),
        timing=ticks(),
        parameters=small(steps=2, validators=1),
        until=past(2, P.ACCUSE),
        prompt=ONE_WAY,
    )
    yield Configuration(
        "at-the-end",
        "the last ok and the goodbye come to one or to none, and a fault is shown when others have left",
        (adv.phases(P.ACCUSE), adv.goodbyes, adv.chains("guilty")),
        start=(1, P.ACCUSE),
        timing=ticks(),
        until=lambda state: False,
        prompt=ONE_WAY,
    )


def _all() -> Iterable[Configuration]:
    yield from _skewed()
    yield from _step_0()
    yield from _step_1()
    yield from _larger()
    yield from _next_epoch()


def _wider(one: Configuration) -> Iterable[Configuration]:
    """The same where every honest message takes its time, then in any order."""
    if one.prompt and one.peers == 3:
        yield evolve(one, name=f"{one.name}, both ways", prompt=(), long=True)
    yield evolve(one, name=f"{one.name}, any order", fifo=False, long=True)


CONFIGURATIONS: dict[str, Configuration] = {one.name: one for one in _all()} | {
    wide.name: wide for one in _all() for wide in _wider(one)
}
