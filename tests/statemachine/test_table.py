"""The transition table, and that nothing else moves a peer: every state against every event."""

import ast
import itertools
from collections import defaultdict
from functools import cache, partial
from pathlib import Path

import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from btard.statemachine import compute as cp
from btard.statemachine import effects as fx
from btard.statemachine.events import Computed, Event, Fired, Received, Start
from btard.statemachine.halting import halt
from btard.statemachine.messages import PHASE_BODIES, Chain, Enter, Envelope, PhaseBody, Poll, Pull
from btard.statemachine.state import State
from btard.statemachine.table import STEP_PHASES, TRANSITIONS, Phase, Trigger
from btard.statemachine.turn import ProtocolBug, Turn
from fuzz import byzantine as byz
from tests.statemachine.stage import Watched, judgement, tried, world_of

ROOT = Path(__file__).parents[2]

# -- the table ------------------------------------------------------------------------------------------


def specified() -> list[list[str]]:
    """Return the rows under STP-1."""
    text = (ROOT / "spec" / "30-step.md").read_text("utf-8")
    section = text.split("**STP-1.**")[1].split("**STP-2.**")[0]
    lines = [line for line in section.splitlines() if "|" in line]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert rows[0] == ["from", "on", "to"]
    return rows[2:]


@pytest.mark.shows("STP-1")
def test_specification_and_code_have_the_same_table() -> None:
    rows = specified()
    listed = [[start.name, trigger.value, end.name] for start, trigger, end in TRANSITIONS]
    assert sorted(rows) == sorted(listed)


@pytest.mark.refuses("STP-1")
def test_no_other_move_is_possible() -> None:
    world = world_of(3)
    state = world.states[0]
    for start, trigger, end in itertools.product(Phase, Trigger, Phase):
        before = evolve(state, phase=start)
        turn = Turn(world.configs[0], before)
        if (start, trigger, end) in TRANSITIONS:
            turn.move(trigger, end)
            assert turn.state.phase is end
            assert turn.effects == [fx.Entered(0, 0, end)]
        else:
            with pytest.raises(ProtocolBug, match=f"{start.name} has no transition on .* to {end.name}"):
                turn.move(trigger, end)
            assert turn.state == before
            assert turn.effects == []


# -- runs that are watched ------------------------------------------------------------------------------


@cache
def play(phase: Phase, step: int) -> Watched:
    """Four peers; the last signs garbage in a phase, so that the others settle and go on."""
    world = world_of(4, 5, {3: byz.garbage(PHASE_BODIES[phase], step)})
    world.run(lambda: world.over(range(3)))
    return world


def walked(world: Watched, peer: int) -> set[tuple[Phase, Phase]]:
    """Return the moves that a peer made."""
    entered = [effect.phase for effect in world.of(fx.Entered, peer) if isinstance(effect, fx.Entered)]
    return set(itertools.pairwise(entered))


@pytest.mark.shows("STP-1")
def test_runs_make_all_listed_moves_and_no_other() -> None:
    end = world_of(4, 6, {3: byz.garbage(Enter, 7)})  # signs garbage when all is over
    end.run(lambda: all(state.epoch == 1 and state.phase is Phase.DONE for state in end.states[:3]))
    worlds = [end, *(play(phase, 2) for phase in STEP_PHASES)]
    made = {move for world in worlds for peer in range(3) for move in walked(world, peer)}
    normal = [
        (start, end) for start, trigger, end in TRANSITIONS if trigger not in (Trigger.STOP, Trigger.HALT)
    ]
    usual = (*STEP_PHASES, Phase.SETTLE, Phase.RATIFY, Phase.DONE)
    assert made <= {(start, end) for start, end in normal if {start, end} <= set(usual)}
    assert {(phase, Phase.SETTLE) for phase in (*STEP_PHASES, Phase.DONE)} <= made
    assert {(Phase.RATIFY, Phase.COMMIT), (Phase.RATIFY, Phase.DONE), (Phase.ACCUSE, Phase.DONE)} <= made


@pytest.mark.shows("STP-1", "AGR-18")
@pytest.mark.parametrize("phase", STEP_PHASES)
def test_a_phase_without_end_halts_a_peer_in_every_phase(phase: Phase) -> None:
    world = play(Phase.ACCUSE, 2)
    state = world.first(0, phase, 2)
    halted, effects = tried(world, 0, Fired(("watch", 0, 2, int(phase))), state)
    assert halted.phase is Phase.HALTED
    reasons = [effect.reason for effect in effects if isinstance(effect, fx.Halted)]
    assert len(reasons) == 1
    assert f"{phase.name} lasts longer" in reasons[0]
    assert [effect.frame for effect in effects if isinstance(effect, fx.Send)] == [
        Poll(0, 2, int(Phase.HALTED))
    ]


# -- every state against every event --------------------------------------------------------------------


def place(state: State) -> tuple[int, int, Phase]:
    return state.epoch, state.at.number, state.phase


def states_of(world: Watched, peer: int) -> list[State]:
    """Return the first and the last state of each phase, step and epoch."""
    by_place = defaultdict(list)
    for state in world.states_of(peer):
        by_place[place(state)].append(state)
    return [state for states in by_place.values() for state in (states[0], states[-1])]


def events_of(world: Watched, peer: int) -> list[Event]:
    """Return what happened to a peer, each event once."""
    return list(dict.fromkeys(world.events_of(peer)))


HOME = {
    cp.Prepare: Phase.COMMIT,
    cp.Aggregate: Phase.REDUCE,
    cp.Sketch: Phase.VALIDATE,
    cp.Verify: Phase.ACCUSE,
    cp.Judge: Phase.ACCUSE,
}


def home(event: Computed | Fired) -> tuple[int, int, Phase] | None:
    """Return where a result or a timer belongs; None if it belongs to more than one place."""
    if isinstance(event, Computed):
        request = event.request
        if isinstance(request, cp.Apply | cp.Save | cp.Load):
            return None
        if isinstance(request, cp.Judge) and request.raised == Phase.VALIDATE:
            return None  # a report is judged wherever the step has got
        return request.epoch, request.step, HOME[type(request)]
    match event.timer:
        case ("phase" | "watch" | "pull", int(epoch), int(step), int(phase), *_):
            return epoch, step, Phase(phase)
    return None


def frozen_or_noted(before: State, after: State) -> bool:
    """Whether nothing changed, or evidence was found: it is kept, freezes the epoch, or stops the culprit."""
    if after.phase in (Phase.SETTLE, Phase.HALTED, Phase.STOPPED) and before.phase is not after.phase:
        return True
    return evolve(after, evidence=before.evidence, pulled=before.pulled) == before


@pytest.mark.refuses("STP-1", "MSG-8")
@settings(max_examples=10)
@given(
    phase=st.sampled_from(STEP_PHASES),
    step=st.integers(1, 3),
    peer=st.integers(0, 2),
    offset=st.integers(0, 9),
)
def test_events_of_another_place_leave_the_state_unchanged(
    phase: Phase, step: int, peer: int, offset: int
) -> None:
    world = play(phase, step)
    events = events_of(world, peer)
    for state in states_of(world, peer)[offset::10]:
        for event in events:
            if isinstance(event, Received):
                after, effects = tried(world, peer, event, state)
                if judgement(effects).verdict in (fx.Verdict.IGNORE, fx.Verdict.REJECT):
                    assert frozen_or_noted(state, after), judgement(effects)
            elif isinstance(event, Computed | Fired) and home(event) not in (None, place(state)):
                assert tried(world, peer, event, state) == (state, ())


@pytest.mark.refuses("AGR-18")
@pytest.mark.parametrize("phase", [Phase.HALTED, Phase.STOPPED])
def test_a_halted_or_stopped_peer_does_and_says_nothing_more(phase: Phase) -> None:
    world = play(Phase.REVEAL, 2)
    turn = Turn(world.configs[0], world.first(0, Phase.REDUCE, 2))
    (turn.stop if phase is Phase.STOPPED else partial(halt, turn))("a test")
    stopped = turn.state
    assert stopped.phase is phase
    for event in events_of(world, 0):
        _, effects = tried(world, 0, event, stopped)
        assert not [effect for effect in effects if isinstance(effect, fx.Persist | fx.Compute | fx.Certified)]
        sent = [effect.frame for effect in effects if isinstance(effect, fx.Send)]
        assert not [frame for frame in sent if isinstance(frame, Chain)]


# -- a snapshot -----------------------------------------------------------------------------------------

LETTERS = {"accept": "A", "defer": "D", "ignore": "-", "reject": "R"}
SNAPSHOT = """
            step 1  step 2  step 3
COMMIT      -----   AD---   -----
REDUCE      -----   -AD--   -----
REVEAL      -----   --AD-   -----
VALIDATE    -----   ---AD   -----
ACCUSE      -----   ----A   D----
SETTLE      -----   -----   -----
RATIFY      -----   -----   -----
"""


def until(state: State, author: int) -> State:
    """Forget what ``author`` signed for the state's phase and later ones."""
    slots = state.slots
    for slot, envelope in list(slots.items()):
        body = envelope.message.body if envelope.message else None
        later = isinstance(body, PhaseBody) and 5 * body.step + body.phase >= state.position
        if later and envelope.author == author:
            slots = slots.remove(slot)
    return evolve(state, slots=slots, at=evolve(state.at, delivered=state.at.delivered - {author}))


@pytest.mark.shows("MSG-8", "AGR-4", "AGR-11")
def test_what_becomes_of_phase_messages_in_each_phase() -> None:
    """Of one member's messages of steps 1 to 3 at a peer in step 2; A: filed, D: kept, -: ignored."""
    undisturbed, settled = world_of(4, 5), play(Phase.ACCUSE, 2)
    undisturbed.run(lambda: undisturbed.over(range(4)))
    messages = {
        (message.body.step, int(message.body.phase)): effect.envelope
        for effect in undisturbed.of(fx.Persist, 1)
        if isinstance(effect, fx.Persist) and (message := effect.envelope.message)
        if message.epoch == 0 and isinstance(message.body, PhaseBody) and message.body.step <= 3
    }
    rows = []
    for phase in (*STEP_PHASES, Phase.SETTLE, Phase.RATIFY):
        world = undisturbed if phase in STEP_PHASES else settled
        state = world.first(0, phase, 2)
        if phase in STEP_PHASES:
            state = until(state, 1)
        row = ["", "", "", ""]
        for (step, _), envelope in sorted(messages.items()):
            _, effects = tried(world, 0, Received(1, envelope), state)
            row[step] += LETTERS[judgement(effects).verdict]
        rows.append([phase.name, *row[1:]])
    assert rows == [line.split() for line in SNAPSHOT.strip().splitlines()[1:]]


@pytest.mark.refuses("MSG-8")
def test_frames_of_strangers_and_of_oneself_are_ignored() -> None:
    world = play(Phase.ACCUSE, 2)
    state = world.states[0]
    frames = [event.frame for event in events_of(world, 0) if isinstance(event, Received)]
    banned = next(frame for frame in frames if isinstance(frame, Envelope) and frame.author == 3)
    own = next(envelope for envelope in state.slots.values() if envelope.author == 0)
    for frame in (banned, own, Pull(0, 2, 0), Pull(7, 2, 0), Pull(1, 1, 0)):
        after, effects = tried(world, 0, Received(1, frame), state)
        assert after == state
        assert judgement(effects).verdict == fx.Verdict.IGNORE
        assert len(effects) == 1


@pytest.mark.shows("MSG-8")
def test_the_same_message_again_changes_nothing() -> None:
    world = play(Phase.ACCUSE, 3)
    for state in states_of(world, 0):
        for envelope in state.slots.values():
            if envelope.author in (0, 3):
                continue
            again, effects = tried(world, 0, Received(2, envelope), state)
            assert again == state
            assert judgement(effects).verdict == fx.Verdict.IGNORE


# -- determinism ----------------------------------------------------------------------------------------

WORLDLY = {
    "time",
    "random",
    "os",
    "secrets",
    "socket",
    "threading",
    "asyncio",
    "datetime",
    "torch",
    "zmq",
    "uuid",
}


@pytest.mark.shows("STP-2")
def test_the_core_imports_no_clock_socket_thread_random_generator_or_tensor() -> None:
    core = ROOT / "btard"
    todo = {f"btard.statemachine.{path.stem}" for path in (core / "statemachine").glob("*.py")}
    done: set[str] = set()
    while todo:
        name = todo.pop()
        done.add(name)
        path = ROOT.joinpath(*name.split("."))
        path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            imported = []
            if isinstance(node, ast.Import):
                imported = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                imported = [node.module]
            assert not {module.split(".")[0] for module in imported} & WORLDLY, f"{name} imports {imported}"
            todo |= {module for module in imported if module.startswith("btard")} - done
    assert "btard.statemachine.handle" in done
    assert "btard.consensus" in done


@pytest.mark.shows("STP-2")
def test_recorded_inputs_lead_to_the_same_states_again() -> None:
    world = play(Phase.VALIDATE, 2)
    for peer in range(3):
        start, *states = world.states_of(peer)
        state, _ = tried(world, peer, Start(bytes(32)), start)
        for event, expected, following in zip(world.events_of(peer), states, states[1:], strict=False):
            assert state == expected
            assert hash(state) == hash(expected)
            state, _ = tried(world, peer, event, state)
            assert state == following


@pytest.mark.shows("MSG-8")
def test_every_frame_gets_one_verdict() -> None:
    world = play(Phase.REDUCE, 2)
    frames = [event for who, _, event in world.seen if who == 0 and isinstance(event, Received)]
    assert len(world.of(fx.Judgement, 0)) >= len(frames)
    for state in states_of(world, 0)[::3]:
        for event in frames[::5]:
            _, effects = tried(world, 0, event, state)
            judgement(effects)
