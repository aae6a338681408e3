"""What a demonstration has shown, in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from attrs import frozen

from btard.demo.events import Expulsion
from btard.demo.outcome import Outcome
from btard.demo.plan import Variant

ATTACK_FREE_GOAL: Final = 0.96
LOSS_GOAL: Final = 0.02  # of accuracy, to the attack
HARM: Final = 0.3  # accuracy below which the attack has ruined a model
RECOVERY_STEPS: Final = 30  # after the last ban
# Rules of the specification that a cheat breaks. A sign_flip also accuses its validator, falsely: as an
# aggregator it holds its own false part, which the recomputed gradient does not fit.
BROKEN_RULES: Final = {"sign_flip": ("VER-1",), "bad_aggregate": ("VER-4",)}


@frozen
class Finding:
    """One sentence; ``holds`` is None where nothing was promised."""

    text: str
    holds: bool | None = None


def findings(outcomes: Mapping[Variant, Outcome]) -> list[Finding]:
    """Return what was found, what matters most first."""
    main = outcomes[Variant.BTARD]
    found = [_cheats(main), *_each_cheat(main), _honest(main), *_failures(main), _states(main)]
    return [*found, *_accuracies(outcomes), _bytes(main)]


def status(found: list[Finding]) -> int:
    """Return the exit status: 0 if everything that was promised came true."""
    return int(any(finding.holds is False for finding in found))


def counted(number: int, noun: str) -> str:
    """Return 1 step, 2 steps."""
    return f"{number} {noun}" + ("" if number == 1 else "s")


def _cheats(main: Outcome) -> Finding:
    banned = sum(main.ban_of(peer) is not None for peer in main.attacks)
    all_of_them = len(main.attacks)
    return Finding(f"{banned} of {counted(all_of_them, 'cheat')} banned", banned == all_of_them)


def _each_cheat(main: Outcome) -> Iterator[Finding]:
    for peer, attack in main.attacks.items():
        ban = main.ban_of(peer)
        who = f"peer-{peer} ({attack.name} from step {attack.from_step})"
        if ban is None:
            yield Finding(f"{who} was not banned within {main.steps} steps", False)
            continue
        lag = ban.step - attack.from_step
        after = f"{counted(lag, 'step')} after its first attack" if lag else "the very step of its first attack"
        text = f"{who}: banned in step {ban.step}, {after}, by {by_rule(ban)}"
        if ban.applied:
            text += f"; the update of step {ban.applied}, applied before, holds its part"
        broken = BROKEN_RULES.get(attack.name, (ban.rule,))
        if ban.rule not in broken:
            text += f"; but the rule that it broke is {broken[0]}"
        # a shifted aggregate must never be applied; who is caught by chance may be lucky for a while
        prompt = lag == 0 if attack.name == "bad_aggregate" else None
        yield Finding(text, prompt if ban.rule in broken else False)


def by_rule(gone: Expulsion) -> str:
    """Return the rule and the reason."""
    return f"{gone.rule}: {gone.reason}" if gone.reason else gone.rule


def _honest(main: Outcome) -> Finding:
    honest = main.plan.peers - len(main.attacks)
    if main.honest_expelled:
        gone = "; ".join(
            f"peer-{gone.peer} {gone.verb} in step {gone.step} by {by_rule(gone)}"
            for gone in main.honest_expelled
        )
        return Finding(f"honest peers lost their place: {gone}", False)
    return Finding(f"none of the {honest} honest peers was banned or removed", True)


def _failures(main: Outcome) -> Iterator[Finding]:
    for peer, reason in main.failures.items():
        yield Finding(f"peer-{peer} did not finish: {reason}", False)


def _states(main: Outcome) -> Finding:
    if not main.agreed:
        return Finding("honest peers disagree on who was expelled, when or why", False)
    if not main.digests_equal:
        return Finding("honest peers ended with different states", False)
    digest = next(iter(main.digests.values())) or ""
    return Finding(f"honest peers ended with equal states, bit for bit ({digest[:16]}...)", True)


def _accuracies(outcomes: Mapping[Variant, Outcome]) -> Iterator[Finding]:
    main, free, bare = (outcomes.get(variant) for variant in Variant)
    assert main is not None
    yield Finding(f"test accuracy with BTARD under attack: {shown(main.accuracy)}")
    if free is not None:
        goal = "" if (free.accuracy or 0.0) >= ATTACK_FREE_GOAL else f" (below {ATTACK_FREE_GOAL}: few steps?)"
        yield Finding(f"test accuracy without attack: {shown(free.accuracy)}{goal}")
        yield from _interrupted(free)
        yield _cost(main, free)
    if bare is not None:
        yield Finding(
            f"test accuracy under the same attack without defence: {shown(bare.accuracy)}, {_harm(bare)}"
        )
        yield from _interrupted(bare)


def _interrupted(outcome: Outcome) -> Iterator[Finding]:
    if outcome.failures:
        peer, reason = next(iter(outcome.failures.items()))
        # a model that plain averaging has ruined may well overflow
        holds = None if outcome.variant is Variant.UNDEFENDED else False
        yield Finding(f"that run ended in step {outcome.steps}; peer-{peer}: {reason}", holds)


def _cost(main: Outcome, free: Outcome) -> Finding:
    cost = (free.accuracy or 0.0) - (main.accuracy or 0.0)
    last = max((gone.step for gone in main.expelled), default=main.plan.attack_start)
    text = f"so the attack cost {max(cost, 0.0):.3f} of accuracy"
    left = max(0, main.steps - last)  # the last ban may fall into a closing step
    if left < RECOVERY_STEPS:
        return Finding(f"{text}, {counted(left, 'step')} after the last ban")
    return Finding(f"{text} (at most {LOSS_GOAL} is expected)", round(cost, 6) <= LOSS_GOAL)


def _harm(bare: Outcome) -> str:
    ruined = (bare.accuracy or 0.0) <= HARM
    return (
        "so it is the defence that saved the model" if ruined else "so this attack does little harm by itself"
    )


def _bytes(main: Outcome) -> Finding:
    return Finding(
        f"an honest peer sent {main.control_per_step / 1000:.1f} kB of control messages "
        f"and {main.bulk_per_step / 1000:.1f} kB of vectors a step"
    )


def shown(accuracy: float | None) -> str:
    """Return an accuracy for people."""
    return "none" if accuracy is None else f"{accuracy:.3f}"
