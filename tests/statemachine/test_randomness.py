"""Shared randomness: what is committed is opened, at its time, and all combine it to the same value."""

from collections.abc import Callable, Iterable

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from btard.statemachine import compute as cp
from btard.statemachine import effects as fx
from btard.statemachine.messages import Accuse, Body, Envelope, PhaseBody, Reduce, Reveal, Validate
from btard.statemachine.randomness import Purpose, Secret, Secrets, combine, commitment
from btard.wire import encode_payload, make_envelope
from fuzz import byzantine as byz
from fuzz.world import Tamper, World
from tests.reference import hashed, number
from tests.statemachine.stage import expelled, finish, signed, world_of

RUN = bytes(range(32))
values = st.binary(min_size=32, max_size=32)
secrets = st.builds(Secret, values, values)
numbers = st.integers(0, 2**32 - 1)
purposes = st.sampled_from(Purpose)


@pytest.mark.shows("RND-2")
@given(epoch=numbers, step=numbers, author=st.integers(0, 1023), purpose=purposes, secret=secrets)
def test_a_commitment_is_the_hash_of_the_specification(
    epoch: int, step: int, author: int, purpose: Purpose, secret: Secret
) -> None:
    place = (number(epoch), number(step), number(author))
    expected = hashed("commitment", RUN, *place, purpose.value.encode(), secret.value, secret.salt)
    assert commitment(RUN, epoch, step, author, purpose, secret) == expected


@pytest.mark.shows("RND-2", "RND-4")
def test_golden_values() -> None:
    secret, opened = Secret(b"\x01" * 32, b"\x02" * 32), [bytes([k]) * 32 for k in range(3)]
    assert [commitment(RUN, 2, 7, 3, purpose, secret).hex() for purpose in Purpose] == [
        "8a03e0caa19bc71e5e451ea6ea4bfe472d875c8120e8c7ba07af255c2f01208b",
        "682e1acb14152143bca42196a53a4e3f5337c0162f84d36fc92cf434c6efe9f1",
    ]
    assert [combine(RUN, 2, 7, purpose, opened).hex() for purpose in Purpose] == [
        "fa98fb62dd000b01157401aea2c1afabff1fada56eae2dd5b294b5559a6ee70f",
        "58602aa0b59d5362edddf456fb687678915155f10ca0702b8df9e5488565539e",
    ]


@pytest.mark.shows("RND-2")
@pytest.mark.refuses("RND-2")
@given(place=st.tuples(numbers, numbers, st.integers(0, 1023)), purpose=purposes, secret=secrets)
def test_a_commitment_fits_no_other_run_epoch_step_author_purpose_or_opening(
    place: tuple[int, int, int], purpose: Purpose, secret: Secret
) -> None:
    """So nobody can copy another's commitment, or its own of an earlier step or epoch."""
    epoch, step, author = place
    other = next(p for p in Purpose if p is not purpose)
    flipped = bytes([secret.value[0] ^ 1]) + secret.value[1:]
    made = [
        commitment(RUN, epoch, step, author, purpose, secret),
        commitment(bytes(32), epoch, step, author, purpose, secret),
        commitment(RUN, epoch + 1, step, author, purpose, secret),
        commitment(RUN, epoch, step + 1, author, purpose, secret),
        commitment(RUN, epoch, step, author + 1, purpose, secret),
        commitment(RUN, epoch, step, author, other, secret),
        commitment(RUN, epoch, step, author, purpose, evolve(secret, value=flipped)),
        commitment(RUN, epoch, step, author, purpose, evolve(secret, salt=flipped)),
    ]
    assert len(set(made)) == len(made)


@pytest.mark.shows("RND-4")
@given(
    epoch=numbers,
    step=numbers,
    purpose=purposes,
    opened=st.lists(values, min_size=2, max_size=6, unique=True),
)
def test_a_shared_value_depends_on_every_opening_and_their_order(
    epoch: int, step: int, purpose: Purpose, opened: list[bytes]
) -> None:
    value = combine(RUN, epoch, step, purpose, opened)
    assert value == hashed("shared value", RUN, number(epoch), number(step), purpose.value.encode(), *opened)
    others = [
        combine(RUN, epoch, step, purpose, opened[::-1]),
        combine(RUN, epoch, step, purpose, opened[1:]),
        combine(RUN, epoch + 1, step, purpose, opened),
        combine(RUN, epoch, step + 1, purpose, opened),
        *(combine(RUN, epoch, step, other, opened) for other in Purpose if other is not purpose),
    ]
    assert value not in others


@pytest.mark.shows("RND-1")
@given(entropy=st.binary(min_size=128, max_size=128))
def test_secrets_use_every_byte_of_the_entropy_once(entropy: bytes) -> None:
    drawn = Secrets.from_entropy(entropy)
    parts = (drawn.sketch.value, drawn.sketch.salt, drawn.election.value, drawn.election.salt)
    assert b"".join(parts) == entropy
    assert {len(part) for part in parts} == {32}


@pytest.mark.refuses("RND-1")
@given(entropy=st.binary(max_size=300).filter(lambda entropy: len(entropy) != 128))
def test_secrets_of_another_length_are_refused(entropy: bytes) -> None:
    with pytest.raises(ValueError, match="128 are needed"):
        Secrets.from_entropy(entropy)


@pytest.mark.refuses("RND-1")
@pytest.mark.parametrize("length", [0, 31, 33])
@pytest.mark.parametrize("name", ["value", "salt"])
@pytest.mark.parametrize("body", [Reveal(1, RUN, RUN, RUN), Accuse(1, RUN, RUN, RUN, None)])
def test_openings_of_another_length_are_malformed(body: Reveal | Accuse, name: str, length: int) -> None:
    value, salt = (bytes(length), RUN) if name == "value" else (RUN, bytes(length))
    payload = encode_payload(0, evolve(body, value=value, salt=salt))
    assert make_envelope(0, payload, bytes(64)).message is None


@pytest.mark.shows("RND-1", "RND-2", "RND-4")
def test_a_run_draws_new_secrets_for_every_step_and_epoch_and_combines_them() -> None:
    """With a cheat in step 2, so that it is done twice."""
    world = finish(world_of(5, seed=4, tamper={4: byz.garbage(Reveal, 2)}))
    opened: dict[tuple[str, int, int], dict[int, bytes]] = {}
    salts: list[bytes] = []
    for message in signed(world):
        if isinstance(message.body, Reveal | Accuse):
            place = (message.body.kind, message.epoch, message.body.step)
            opened.setdefault(place, {})[message.author] = message.body.value
            salts.append(message.body.salt)
    everything = [value for values in opened.values() for value in values.values()] + salts
    assert len(everything) == len(set(everything))
    assert ("reveal", 1, 2) in opened
    for (kind, epoch, step), values in opened.items():
        if len(values) < len(world.states[0].rosters[epoch]):
            continue
        purpose = {"reveal": b"sketch", "accuse": b"election"}[kind]
        ordered = [values[author] for author in sorted(values)]
        value = hashed("shared value", world.configs[0].run, number(epoch), number(step), purpose, *ordered)
        if kind == "reveal" and step > 0:
            used = {
                e.request.sketch_value
                for e in world.of(fx.Compute)
                if isinstance(e, fx.Compute)
                and isinstance(e.request, cp.Sketch)
                and (e.request.epoch, e.request.step) == (epoch, step)
            }
            assert used == {value}
        if kind == "accuse" and step == 3:
            assert {state.last.election_value for state in world.states[:4] if state.last} == {value}


def hasty(trigger: type[PhaseBody], body: Callable[[World, int], Body]) -> Tamper:
    """Say ``body`` together with the own ``trigger`` of step 2, a phase too early."""

    def tamper(world: World, peer: int, effect: fx.Effect) -> Iterable[fx.Effect]:
        if isinstance(effect, fx.Send) and isinstance(effect.frame, Envelope) and effect.frame.message:
            said = effect.frame.message
            if said.author == peer and isinstance(said.body, trigger) and said.body.step == 2:
                early = byz.forge(world.configs[peer], said.epoch, body(world, peer))
                return (effect, evolve(effect, frame=early))
        return (effect,)

    return tamper


def early_reveal(world: World, peer: int) -> Body:
    secrets_drawn = world.states[peer].at.secrets
    assert secrets_drawn is not None
    secret = secrets_drawn.sketch
    return Reveal(2, bytes(32), secret.value, secret.salt)


def early_accuse(world: World, peer: int) -> Body:
    secrets_drawn = world.states[peer].at.secrets
    assert secrets_drawn is not None
    secret = secrets_drawn.election
    return Accuse(2, bytes(32), secret.value, secret.salt, None)


@pytest.mark.refuses("RND-3")
@pytest.mark.parametrize(("trigger", "body"), [(Reduce, early_reveal), (Validate, early_accuse)])
def test_who_opens_early_cannot_follow_what_it_has_not_seen(
    trigger: type[PhaseBody], body: Callable[[World, int], Body]
) -> None:
    """Its opening names no view that comes about, so it counts for nothing; saying it again equivocates."""
    world = finish(world_of(4, seed=3, tamper={3: hasty(trigger, body)}))
    assert expelled(world) == [(3, "MSG-5", "ban")]
