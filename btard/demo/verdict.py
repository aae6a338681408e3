"""What a demonstration has shown, in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from attrs import frozen

from btard.attacks.expected import EVERY, Case, When
from btard.attacks.names import AttackSpec
from btard.demo.events import Expulsion
from btard.demo.outcome import Outcome
from btard.demo.plan import Variant

ATTACK_FREE_GOAL: Final = 0.96
LOSS_GOAL: Final = 0.02  # of accuracy, to the attack
HARM: Final = 0.3  # accuracy below which the attack has ruined a model
RECOVERY_STEPS: Final = 30  # after the last ban


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
    out = [gone for peer in main.attacks if (gone := main.expulsion_of(peer)) is not None]
    kept = [attack for peer, attack in main.attacks.items() if main.expulsion_of(peer) is None]
    words = "banned" if all(gone.kind == "ban" for gone in out) else "banned or removed"
    all_of_them = counted(len(main.attacks), "cheat")
    return Finding(f"{len(out)} of {all_of_them} {words}", all(_harmless(attack) for attack in kept))


def _forms(attack: AttackSpec) -> list[Case]:
    """Return what is expected of the attack, in each of its forms; of a user's own nothing is."""
    return [case for case in EVERY if case.name == attack.name]


def _harmless(attack: AttackSpec) -> str:
    """Say why the attack does no harm, if that is so."""
    return next((case.why for case in _forms(attack) if case.when is When.NEVER), "")


def _each_cheat(main: Outcome) -> Iterator[Finding]:
    for peer, attack in main.attacks.items():
        gone = main.expulsion_of(peer)
        who = f"peer-{peer} ({attack.name} from step {attack.from_step})"
        if gone is not None:
            yield _one_cheat(who, attack, gone)
        elif why := _harmless(attack):
            yield Finding(f"{who} kept its place and does no harm: {why}")
        else:
            yield Finding(f"{who} was not banned within {main.steps} steps", False)


def _one_cheat(who: str, attack: AttackSpec, gone: Expulsion) -> Finding:
    lag, forms = gone.step - attack.from_step, _forms(attack)
    after = f"{counted(lag, 'step')} after its first attack" if lag else "the very step of its first attack"
    text = f"{who}: {gone.verb} in step {gone.step}, {after}, by {by_rule(gone)}"
    if gone.applied:
        text += f"; the update of step {gone.applied}, applied before, holds its part"
    if forms and not any(gone.rule in case.rules and gone.kind in case.kind for case in forms):
        rules = " or ".join(dict.fromkeys(rule for case in forms for rule in case.rules))
        return Finding(f"{text}; but the rule that it broke is {rules or 'none'}", False)
    # a shifted aggregate must never be applied; who is caught by chance may be lucky for a while
    return Finding(text, lag == 0 if attack.name == "bad_aggregate" else None)


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
