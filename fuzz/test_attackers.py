"""Attackers that need no vectors: none costs an honest peer its place, and those that can be shown are out."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from btard.attacks.expected import OUTAGES, Case, When
from btard.attacks.flood import Flood
from btard.attacks.names import make_attack, parse
from btard.statemachine import effects as fx
from btard.statemachine import receive
from btard.statemachine.halting import _answer
from btard.statemachine.messages import Poll
from btard.statemachine.turn import Turn
from fuzz.attackers import FIRST, LIMIT, SIZES, Attacked, bounded, main, minority, play
from fuzz.world import configs, parameters

SEEDS = range(5)
CASE = {case.attack: case for case in OUTAGES}


@pytest.mark.shows("AGR-6", "AGR-7", "AGR-8", "AGR-9", "AGR-10", "TIM-2", "TIM-4", "TIM-5")
@pytest.mark.refuses("STP-3", "AGR-4", "AGR-7")
@pytest.mark.parametrize("peers", SIZES)
@pytest.mark.parametrize("case", OUTAGES, ids=[case.attack for case in OUTAGES])
def test_a_minority_that_wastes_time_costs_no_honest_peer_anything(case: Case, peers: int) -> None:
    for seed in SEEDS:
        assert play(case, peers, seed).problems == (), seed


@pytest.mark.refuses("STP-21")
@pytest.mark.parametrize("peers", SIZES)
def test_who_is_late_for_others_in_each_step_is_out_where_the_run_file_asks(peers: int) -> None:
    case = CASE["late:when=split,partner={partners}"]
    for seed in SEEDS:
        played = play(case, peers, seed, steps=8, late_limit=1)
        assert played.problems == ()
        assert {e.peer for e in played.world.of(fx.Expelled) if isinstance(e, fx.Expelled)} == {
            *played.world.attacks
        }


@pytest.mark.shows("AGR-20", "AGR-25", "OPS-5")
@settings(max_examples=12)
@given(st.integers(1, 9), st.floats(0, 0.4), st.sampled_from([4, 5]), st.integers(0, 1000))
def test_who_crashes_in_any_phase_and_is_back_in_time_keeps_its_place(
    phases: int, away: float, peers: int, seed: int
) -> None:
    """And finishes: it stands where the others do, whatever it missed, and contradicts nothing it signed."""
    played = play(Case(f"crash_loop:phases={phases},away={away}", When.NEVER), peers, seed)
    assert played.problems == ()
    world = played.world
    world.run(lambda: world.over(range(peers)), LIMIT)
    assert len({state.model_digest for state in world.states}) == 1
    assert world.crashes >= len(world.attacks)


@pytest.mark.parametrize("peers", range(4, 12))
def test_the_minority_is_the_largest_that_a_run_file_admits(peers: int) -> None:
    attackers, validators = minority(peers, 0)
    assert minority(peers, 1)[1] in (0, validators)
    assert peers - validators > 2 * attackers >= peers - validators - 2
    assert 2 * attackers < peers <= 2 * (attackers + 1)


def test_the_sweep_sees_an_attacker_that_is_not_out() -> None:
    (problem,) = play(Case("false_late", When.AT_ONCE, ("STP-3",)), 4, 0).problems
    assert problem.endswith("were not out within 1 steps")


def test_the_sweep_sees_that_honest_peers_do_not_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("btard.statemachine.receive.quorum", lambda members: 1)  # one LATE is enough
    monkeypatch.setattr("btard.statemachine.evidence.quorum", lambda members: 1)
    (problem,) = play(CASE["false_late"], 4, 0).problems
    assert problem.startswith("not over")
    assert "HALTED" in problem


@pytest.mark.refuses("AGR-20")
@settings(max_examples=4)
@given(st.integers(0, 1000))
def test_masses_of_polls_are_answered_once_a_delta(seed: int) -> None:
    """Of 1200 polls a step, malformed ones among them, each honest peer answers few, and goes on."""
    played = play(CASE["flood:kind=polls"], 4, seed, count=80)
    assert played.problems == ()
    answers = played.world.answers
    (cheat,) = played.world.attacks
    assert {pair for pair in answers if pair[1] == cheat} == {(peer, cheat) for peer in played.world.honest}
    assert max(map(len, answers.values())) <= 1 + played.world.now // played.world.configs[0].timing.delta


def test_the_sweep_sees_that_every_poll_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    def forgetful(turn: Turn, sender: int, question: Poll) -> None:
        _answer(turn, sender, question)
        turn.set(answered=frozenset())

    monkeypatch.setattr("btard.statemachine.halting._answer", forgetful)
    assert any("answered several polls" in problem for problem in play(CASE["flood:kind=polls"], 4, 0).problems)


EARLY = [("MAX_DEFERRED_CHAINS", "flood:kind=chains", "chains"), ("MAX_DEFERRED_OWN", "flood", "messages")]


@pytest.mark.refuses("AGR-4")
@pytest.mark.parametrize(("limit", "attack", "what"), EARLY)
def test_a_flood_reaches_what_is_kept_of_a_sender_and_no_more(limit: str, attack: str, what: str) -> None:
    played = play(CASE[attack], 4, 0)
    assert played.problems == ()
    assert played.world.most[f"early {what}"] == getattr(receive, limit) == {"chains": 64, "messages": 2}[what]


@pytest.mark.parametrize(("limit", "attack", "what"), EARLY)
def test_the_sweep_sees_that_what_is_kept_has_no_limit(
    monkeypatch: pytest.MonkeyPatch, limit: str, attack: str, what: str
) -> None:
    monkeypatch.setattr(receive, limit, 10**9)
    (problem,) = play(CASE[attack], 4, 0).problems
    assert problem.startswith("an honest peer kept ")
    assert problem.endswith(f" early {what}")


class FirstEpoch(Flood):
    """Floods in epoch 0 only; the frames are for the next one, which forgets them."""

    def performed(self, effect: fx.Effect) -> Iterable[fx.Effect]:
        return super().performed(effect) if self.state.epoch == 0 else (effect,)


def test_the_sweep_sees_what_was_kept_too_much_of_and_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receive, "MAX_DEFERRED_CHAINS", 10**9)
    attacks = {3: FirstEpoch(1, 13, "chains"), 4: make_attack(parse("silent@2"))}
    world = Attacked(configs(5, parameters(5, validators=0, f_max=2)), 0, attacks=attacks)
    world.run(lambda: world.over(world.honest), LIMIT)
    assert all(world.states[peer].epoch > 0 and not world.states[peer].deferred for peer in world.honest)
    (problem,) = bounded(world)
    assert problem.endswith(" early chains")


def test_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--attack", "silent", "--peers", "4", "--seeds", "2"]) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("silent"))
    assert line.split()[1:7] == ["4", "1", "2", "2", "1", str(FIRST)]
    with pytest.raises(SystemExit):
        main(["--attack", "loud"])
    assert "no attack begins with 'loud'; there are silent, late:when=after" in capsys.readouterr().err
