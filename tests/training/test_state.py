"""The state that peers have in common: its digest, its bytes, and going on from it."""

import json
import math
import struct

import attrs
import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_task import DEVICES, Toy, train

from btard.hashing import object_digest
from btard.training.state import State, StateError

OPTIMIZERS = {
    "SGD": lambda p: torch.optim.SGD(p, lr=0.1),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=1e-4, nesterov=True),
    "Adam": lambda p: torch.optim.Adam(p, lr=0.01, amsgrad=True),
    "Adam, foreach": lambda p: torch.optim.Adam(p, lr=0.01, foreach=True),
    "AdamW": torch.optim.AdamW,
    "AdamW, lr a tensor": lambda p: torch.optim.AdamW(p, lr=torch.tensor(0.01)),
    "Adamax": torch.optim.Adamax,
    "NAdam": torch.optim.NAdam,
    "RAdam": torch.optim.RAdam,
    "RMSprop": lambda p: torch.optim.RMSprop(p, momentum=0.5, centered=True),
    "Rprop": torch.optim.Rprop,
    "Adagrad": torch.optim.Adagrad,
    "Adadelta": torch.optim.Adadelta,
    "ASGD": torch.optim.ASGD,
    "Adafactor": torch.optim.Adafactor,
}


class FloatMomentum(torch.optim.Optimizer):
    """A user's own optimizer: its state is float32 whatever the parameters are."""

    def __init__(self, parameters):
        super().__init__(parameters, {"lr": 0.1})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                buffer = self.state[p].setdefault("buffer", torch.zeros(p.shape))
                buffer.mul_(0.9).add_(p.grad.float())
                p.sub_(buffer.mul(group["lr"]).to(p.dtype))


def go_on_from_bytes(task, fresh):
    """Carry the state of one task over to another as a newcomer does, and train both by one more step."""
    fresh.load_state(State.from_bytes(task.state().to_bytes()))
    assert fresh.model_digest() == task.model_digest()
    for each in (task, fresh):
        train(each, 1, first=100)
    assert fresh.model_digest() == task.model_digest()


# Digests.


@pytest.mark.shows("TRN-6")
@given(st.data())
@settings(max_examples=30, deadline=None)
def test_the_digest_sees_every_bit_of_every_tensor(data):
    task = Toy(torch.optim.AdamW)
    train(task, 2)
    state = task.state()
    before = state.digest()
    tensor = state.tensors[data.draw(st.sampled_from(sorted(state.tensors)))]
    raw = tensor.reshape(-1).view(torch.uint8)
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    assert state.digest() != before
    assert task.model_digest() == before


@pytest.mark.shows("TRN-6")
def test_the_digest_sees_momentum_that_the_parameters_do_not_show():
    first, second = Toy(), Toy()
    train(first, 2)
    train(second, 3)
    second.load_parameters_vector(first.parameters_vector())
    assert torch.equal(first.parameters_vector(), second.parameters_vector())
    assert first.model_digest() != second.model_digest()


@pytest.mark.shows("TRN-6")
def test_the_digest_sees_options_of_the_optimizer_and_the_schedule():
    plain, faster, scheduled = Toy(), Toy(), Toy()
    faster.optimizer.param_groups[0]["lr"] = 0.2
    scheduled.scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(scheduled.optimizer, 10)
    before = scheduled.model_digest()
    scheduled.scheduler.last_epoch = 1
    assert len({plain.model_digest(), faster.model_digest(), before, scheduled.model_digest()}) == 4


@pytest.mark.shows("TRN-6")
def test_the_digest_sees_names_shapes_and_dtypes():
    tensor = torch.zeros(6)
    states = [
        State.of(tensors, {})
        for tensors in (
            {"a": tensor},
            {"b": tensor},
            {"a": tensor.view(2, 3)},
            {"a": tensor.int()},
            {"a": tensor[:3], "b": tensor[3:]},
        )
    ]
    assert len({state.digest() for state in states}) == len(states)
    assert (
        State.of({"b": tensor, "a": tensor}, {}).digest() == State.of({"a": tensor, "b": tensor}, {}).digest()
    )


@pytest.mark.shows("TRN-6")
def test_the_digest_of_a_known_state_is_the_same_on_every_platform():
    state = State.of({"w": torch.arange(4.0)}, {"optimizer": {"lr": 0.1, "betas": (0.9, 1), 0: [None, True]}})
    assert state.digest().hex() == "d66c684be3ba4db0ff347337689fcd89f8a53d8d84a8b7473287c9efd0d6b88d"


@pytest.mark.shows("TRN-6")
@pytest.mark.parametrize("device", DEVICES)
def test_the_digest_does_not_depend_on_the_device(device):
    assert Toy(device=device).model_digest() == Toy().model_digest()


# Going on from a state.


@pytest.mark.shows("TRN-8")
@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("steps", [0, 3])
def test_a_newcomer_goes_on_with_any_optimizer_of_torch_as_if_it_had_been_there(name, steps):
    task, fresh = Toy(OPTIMIZERS[name]), Toy(OPTIMIZERS[name], number=1)
    train(task, steps)
    go_on_from_bytes(task, fresh)


@pytest.mark.shows("TRN-8")
@pytest.mark.parametrize("device", DEVICES)
def test_a_state_moves_between_devices(device):
    task, fresh = Toy(torch.optim.AdamW, device=device), Toy(torch.optim.AdamW, number=1)
    train(task, 2)
    fresh.load_state(State.from_bytes(task.state().to_bytes()))
    assert fresh.model_digest() == task.model_digest()


@pytest.mark.shows("TRN-8")
@pytest.mark.parametrize(
    "make",
    [
        lambda o: torch.optim.lr_scheduler.StepLR(o, 2),
        lambda o: torch.optim.lr_scheduler.OneCycleLR(o, 0.2, 50),
        lambda o: torch.optim.lr_scheduler.MultiStepLR(o, [1, 4]),
        lambda o: torch.optim.lr_scheduler.LambdaLR(o, lambda step: 1 / (1 + step)),
        lambda o: torch.optim.lr_scheduler.SequentialLR(
            o,
            [torch.optim.lr_scheduler.LinearLR(o), torch.optim.lr_scheduler.CosineAnnealingLR(o, 9)],
            milestones=[2],
        ),
    ],
)
def test_a_newcomer_goes_on_in_the_schedule(make):
    task, fresh = Toy(), Toy(number=1)
    for each in (task, fresh):
        each.scheduler = make(each.optimizer)
    train(task, 3)
    go_on_from_bytes(task, fresh)


@pytest.mark.shows("TRN-8")
def test_optimizer_state_of_another_dtype_than_the_parameters_keeps_its_bits():
    task, fresh = (Toy(FloatMomentum, dtype=torch.bfloat16, number=n) for n in (0, 1))
    train(task, 3)
    go_on_from_bytes(task, fresh)


@pytest.mark.shows("TRN-8")
def test_a_task_rolls_back_to_a_state_any_number_of_times():
    task = Toy(torch.optim.Adam)
    train(task, 2)
    state, digests = task.state(), [task.model_digest()]
    for _ in range(2):
        train(task, 2, first=2)
        digests.append(task.model_digest())
        task.load_state(state)
        assert task.model_digest() == digests[0]
    assert digests[1] == digests[2] != digests[0]


@pytest.mark.refuses("TRN-8")
def test_the_state_of_another_model_is_refused_and_changes_nothing():
    task = Toy()
    before = task.model_digest()
    with pytest.raises(StateError, match="another model"):
        task.load_state(Toy(dtype=torch.float64).state())
    with pytest.raises(StateError, match="another model"):
        task.load_state(State.of({}, {}))
    assert task.model_digest() == before


@pytest.mark.refuses("TRN-8")
def test_the_state_of_another_optimizer_or_schedule_is_refused():
    scheduled = Toy()
    scheduled.scheduler = torch.optim.lr_scheduler.StepLR(scheduled.optimizer, 2)
    with pytest.raises(StateError, match="scheduler"):
        scheduled.load_state(Toy().state())
    with pytest.raises(StateError, match="did not take"):
        Toy().load_state(scheduled.state())
    two_groups = Toy(lambda p: torch.optim.SGD([{"params": [q]} for q in p], lr=0.1))
    with pytest.raises(StateError, match="parameter groups"):
        Toy().load_state(two_groups.state())


# Bytes, from anywhere.


@pytest.mark.shows("TRN-13")
def test_equal_states_have_equal_bytes():
    first, second = Toy(torch.optim.AdamW), Toy(torch.optim.AdamW)
    for each in (first, second):
        train(each, 3)
    assert first.state().to_bytes() == second.state().to_bytes()
    assert State.from_bytes(first.state().to_bytes()).digest() == second.model_digest()


DTYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32]
DTYPES += [torch.int16, torch.int8, torch.uint8, torch.bool]
TENSORS = st.builds(
    lambda shape, dtype: torch.arange(math.prod(shape)).reshape(shape).to(dtype),
    st.lists(st.integers(0, 4), max_size=3),
    st.sampled_from(DTYPES),
)


@pytest.mark.shows("TRN-6", "TRN-13")
@given(st.dictionaries(st.text(max_size=5), TENSORS, max_size=5), st.lists(st.integers() | st.text()))
@settings(deadline=None)
def test_the_digest_is_the_name_of_the_bytes_and_every_safetensors_reader_reads_them(tensors, rest):
    state = State.of(tensors, {"optimizer": rest})
    data = state.to_bytes()
    assert state.digest() == object_digest(data)
    assert state.size() == len(data)
    assert State.from_bytes(data).to_bytes() == data
    read = safetensors.torch.load(data)
    assert bytes(read.pop("structure").numpy()).decode() == state.structure
    assert read.keys() == state.tensors.keys()
    for name, tensor in read.items():
        assert tensor.dtype == state.tensors[name].dtype
        assert torch.equal(tensor, state.tensors[name])


@pytest.mark.shows("TRN-6", "TRN-13")
@pytest.mark.parametrize("device", DEVICES)
def test_the_digest_of_a_trained_model_is_the_name_of_its_bytes(device):
    task = Toy(torch.optim.AdamW, device=device)
    train(task, 2)
    state = task.state()
    assert task.model_digest() == state.digest() == object_digest(state.to_bytes())
    assert state.size() == len(state.to_bytes())


@pytest.mark.shows("TRN-13")
def test_views_and_shared_tensors_are_written_out():
    t = torch.arange(6.0).view(2, 3)
    state = State.of({"a": t.t(), "b": t, "c": t[:, 1:]}, {})
    read = safetensors.torch.load(state.to_bytes())
    assert torch.equal(read["parameter.a"], t.t())
    assert torch.equal(read["parameter.c"], t[:, 1:])


@pytest.mark.refuses("TRN-13")
@pytest.mark.parametrize("name", ["complex64", "float8_e4m3fn"])
def test_numbers_that_have_no_place_in_the_bytes_are_refused(name):
    state = State.of({"w": torch.zeros(2).to(getattr(torch, name))}, {})
    for use in (state.digest, state.size, state.to_bytes):
        with pytest.raises(StateError, match=r"parameter\.w"):
            use()
    with pytest.raises(StateError):
        State.from_bytes(safetensors.torch.save({**state.tensors, "structure": torch.zeros(1).byte()}))


def with_header(header: object, data: bytes = b"", fill: int = 0) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8 + fill)
    return len(text).to_bytes(8, "little") + text + data


def entry(dtype="U8", shape=(2,), offsets=(0, 2)):
    return {"data_offsets": list(offsets), "dtype": dtype, "shape": list(shape)}


def test_the_form_that_the_next_test_breaks_is_accepted():
    assert State.from_bytes(with_header({"structure": entry()}, b"{}")).structure == "{}"


@pytest.mark.shows("TRN-13")
def test_the_bytes_of_a_state_in_full():
    state = State.of({"b": torch.tensor([2.0]), "a": torch.tensor([1], dtype=torch.uint8)}, {"x": {1: (0.5,)}})
    structure = b'{"dict":[["x",{"dict":[[1,{"tuple":[0.5]}]]}]]}'
    header = {
        "parameter.a": entry("U8", (1,), (4, 5)),
        "parameter.b": entry("F32", (1,), (0, 4)),
        "structure": entry("U8", (len(structure),), (5, 5 + len(structure))),
    }
    assert state.to_bytes() == with_header(header, struct.pack("<fB", 2.0, 1) + structure)


@pytest.mark.refuses("TRN-8", "TRN-13")
@pytest.mark.parametrize(
    "data",
    [
        with_header({"structure": entry()}, b"{}", fill=8),
        with_header({"structure": entry()}, b"{}") + b"x",
        with_header({"structure": entry("I8")}, b"{}"),
        with_header({"structure": entry(shape=(1, 2))}, b"{}"),
        with_header({"structure": entry(), "__metadata__": {"a": "b"}}, b"{}"),
        with_header(b'{"structure": {"data_offsets":[0,2],"dtype":"U8","shape":[2]}}', b"{}"),
        with_header({"structure": entry(), "a": entry("F32", (0,), (2, 2))}, b"{}"),
        with_header({"structure": entry(shape=(0,), offsets=(0, 0)), "a": entry()}, b"{}"),
        with_header({"structure": entry(), "a": entry("F32", (2**62, 0), (0, 0))}, b"{}"),
        with_header({"structure": entry(), "a": entry("F32", (2**62, 2**62), (2, 6))}, b"{}1234"),
        with_header({"structure": entry(shape=(2**40,), offsets=(0, 2**40))}, b"{}"),
        (2**63).to_bytes(8, "little") + b"{}",
        with_header(b"[" * 100_000),
    ],
)
def test_bytes_in_another_form_than_all_peers_write_are_refused(data):
    with pytest.raises(StateError):
        State.from_bytes(data)


@pytest.mark.refuses("TRN-8")
@given(st.binary(max_size=200))
def test_bytes_that_are_no_state_are_refused(data):
    with pytest.raises(StateError):
        State.from_bytes(data)


def changed(data: bytes, place: int, mask: int) -> bytes:
    return data[:place] + bytes([data[place] ^ mask]) + data[place + 1 :]


TRAINED = Toy()
train(TRAINED, 1)
VALID = TRAINED.state().to_bytes()


@pytest.mark.refuses("TRN-6", "TRN-8")
@given(st.integers(0, len(VALID) - 1), st.integers(1, 255))
@settings(max_examples=300, deadline=None)
def test_changed_bytes_are_refused_or_have_another_digest(place, mask):
    try:
        state = State.from_bytes(changed(VALID, place, mask))
    except StateError:
        return
    assert state.digest() != TRAINED.model_digest()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.sampled_from(["tensor", "dict", "list", "tuple"]), inner)
    ),
    max_leaves=12,
)


@pytest.mark.refuses("TRN-8")
@given(st.dictionaries(st.sampled_from(["dict", "list", "tensor", "x"]), JSON, max_size=2))
@settings(deadline=None)
def test_a_structure_that_makes_no_sense_is_refused(value):
    state = attrs.evolve(TRAINED.state(), structure=json.dumps(value))
    with pytest.raises(StateError):
        Toy().load_state(state)


@pytest.mark.refuses("TRN-8")
@pytest.mark.parametrize(
    "structure", ["", "{", "[" * 100_000, "9" * 5000, '{"tensor":"parameter.0.weight"}', "1"]
)
def test_a_structure_that_is_no_tree_is_refused(structure):
    with pytest.raises(StateError):
        attrs.evolve(TRAINED.state(), structure=structure).rest()


@pytest.mark.refuses("TRN-8")
def test_optimizer_state_of_parameters_that_do_not_exist_is_refused():
    state = TRAINED.state()
    tree = state.rest()["optimizer"]
    tree["state"][99] = tree["state"][0]
    with pytest.raises(StateError):
        Toy().load_state(State.of(state.parameters(), {"optimizer": tree}))


TREES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: (
        st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(st.integers() | st.text(), inner)
    ),
    max_leaves=20,
)


@pytest.mark.shows("TRN-8")
@given(TREES)
def test_a_tree_comes_back_with_its_types(tree):
    back = State.of({}, {"optimizer": tree}).rest()["optimizer"]
    assert repr(back) == repr(tree) or back == tree
    assert type(back) is type(tree)


@pytest.mark.refuses("TRN-6")
@pytest.mark.parametrize("value", [object(), {1.5: 0}, {True: 0}, b"bytes", 1j])
def test_what_has_no_canonical_form_is_no_state(value):
    with pytest.raises(StateError):
        State.of({}, {"optimizer": {"x": value}})


@pytest.mark.refuses("TRN-6")
def test_two_tensors_of_one_name_are_no_state():
    t = torch.zeros(1)
    with pytest.raises(StateError, match=r"a\.b"):
        State.of({}, {"a": {"b": t}, "a.b": t})
