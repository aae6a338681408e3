"""What came of one run, and of the whole demonstration: `summary.json`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from attrs import frozen

from btard.attacks.names import AttackSpec
from btard.demo.events import Expulsion
from btard.demo.plan import Plan, Variant
from btard.demo.state import Member, RunState

LAST_EVALUATIONS: Final = 5
Curve = tuple[tuple[int, float], ...]


@frozen
class Outcome:
    """One run that is over."""

    plan: Plan
    variant: Variant
    run_id: str
    seconds: float
    steps: int  # the last that was applied
    accuracies: Curve  # (step, test accuracy)
    losses: Curve  # (step, training loss, a mean over honest peers)
    expelled: tuple[Expulsion, ...]  # in order of time, as the observer saw it
    agreed: bool  # whether all honest peers that were not expelled saw the same
    digests: Mapping[int, str | None]  # of honest peers' states at the end
    failures: Mapping[int, str]  # of honest peers, in words
    bulk_per_step: float  # bytes that an honest peer sends, a mean
    control_per_step: float  # also over closing steps
    observer: int  # the honest peer whose view and model are shown

    @property
    def attacks(self) -> Mapping[int, AttackSpec]:
        """Who attacked in it."""
        return self.plan.attacks if self.variant.attacked else {}

    @property
    def accuracy(self) -> float | None:
        """The mean of the last five evaluations; None if there was none."""
        last = [accuracy for _, accuracy in self.accuracies[-LAST_EVALUATIONS:]]
        return sum(last) / len(last) if last else None

    @property
    def digests_equal(self) -> bool:
        """Whether all honest peers ended with the same state."""
        return None not in self.digests.values() and len(set(self.digests.values())) == 1

    @property
    def honest_expelled(self) -> tuple[Expulsion, ...]:
        """The honest peers that were banned or removed."""
        return tuple(expulsion for expulsion in self.expelled if expulsion.peer not in self.attacks)

    def expulsion_of(self, peer: int) -> Expulsion | None:
        """Return how a peer lost its place; None if it did not."""
        return next((expulsion for expulsion in self.expelled if expulsion.peer == peer), None)

    def ban_of(self, peer: int) -> Expulsion | None:
        """Return how a peer was banned; None if it was not."""
        found = (expulsion for expulsion in self.expelled if expulsion.peer == peer and expulsion.kind == "ban")
        return next(found, None)


def outcome_of(state: RunState, run_id: str, seconds: float) -> Outcome:
    """Return what came of a run whose honest peers have all ended with a summary."""
    summaries = {member.index: member.summary for member in state.honest if member.summary is not None}
    observer = _observer(state)
    stayed = [member for member in state.honest if member.index not in state.expelled]
    return Outcome(
        plan=state.plan,
        variant=state.variant,
        run_id=run_id,
        seconds=seconds,
        steps=summaries[observer.index].steps,
        accuracies=summaries[observer.index].accuracies,
        losses=tuple(state.losses),
        expelled=tuple({**observer.expelled, **_unseen(state, observer)}.values()),
        agreed=len({frozenset(member.expelled.values()) for member in stayed}) <= 1,
        digests={peer: s.digest if s.failure is None else None for peer, s in summaries.items()},
        failures={member.index: member.failure for member in state.honest if member.failure is not None},
        bulk_per_step=_mean(summary.bulk_bytes / max(1, summary.steps) for summary in summaries.values()),
        control_per_step=_mean(
            summary.control_bytes / max(1, summary.steps + summary.closing_steps)
            for summary in summaries.values()
        ),
        observer=observer.index,
    )


def _observer(state: RunState) -> Member:
    """Return the honest peer with the lowest index, if possible one that finished."""

    def place(member: Member) -> tuple[bool, bool, int]:
        return member.index in state.expelled, member.failure is not None, member.index

    return min(state.honest, key=place)


def _unseen(state: RunState, observer: Member) -> dict[int, Expulsion]:
    """Return the expulsions that only other honest peers report: an observer's own, for one."""
    return {peer: expulsion for peer, expulsion in state.expelled.items() if peer not in observer.expelled}


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return sum(found) / len(found)


def summary(outcomes: Mapping[Variant, Outcome]) -> dict[str, Any]:
    """Return what `summary.json` holds; all but the accuracies is of the run with BTARD."""
    main = outcomes[Variant.BTARD]
    return {
        "run_id": main.run_id,
        "peers": main.plan.peers,
        "steps": main.steps,
        "byzantine": [
            {"peer": peer, "attack": attack.name, "from_step": attack.from_step}
            for peer, attack in main.attacks.items()
        ],
        "bans": [
            {
                "peer": gone.peer,
                "step": gone.step,
                "rule": gone.rule,
                "kind": gone.kind,
                "applied": gone.applied,
            }
            for gone in main.expelled
        ],
        "honest_banned": len(main.honest_expelled),
        "accuracy": {
            variant.value: None if (outcome := outcomes.get(variant)) is None else outcome.accuracy
            for variant in Variant
        },
        "digests_equal": main.digests_equal,
        "bytes_per_step": {"bulk": round(main.bulk_per_step, 1), "control": round(main.control_per_step, 1)},
    }
