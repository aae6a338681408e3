"""Run files: what is written is read back, what is wrong is named, and every value counts for the run id."""

from __future__ import annotations

import contextlib
import math
import re
import tempfile
from collections.abc import Callable
from pathlib import Path

import attrs
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from zmq.utils import z85

from btard.genesis import GenesisMismatchError
from btard.genesis_problems import is_address, is_curve_key, problems
from btard.hashing import digest
from btard.measured import load_peer_file
from btard.runfile import RunFile, RunFileError, TaskSection, dump, dump_peer, load
from btard.statemachine.parameters import Parameters, Timing
from tests.cli.run_files import curve_key, example, example_peer, run_files, sign_key

TEXT = dump(example())
LINES = TEXT.splitlines()
KEYS = [number for number, line in enumerate(LINES) if re.match(r"[a-z_]+ = ", line)]
REQUIRED = [number for number in KEYS if not LINES[number].startswith("batch_size")]
WRONG_TYPES = ["true", '"text"', "3.5", "7", "[1]", "{ a = 1 }", "1979-05-27", "0x" + "f" * 900]


def load_text(text: str | bytes) -> RunFile:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.toml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return load(path)


def problems_of(text: str | bytes) -> tuple[str, ...]:
    with pytest.raises(RunFileError) as caught:
        load_text(text)
    assert caught.value.problems
    assert len(str(caught.value).splitlines()) == len(caught.value.problems), "one line per problem"
    assert all(len(line) < 400 and line.isprintable() for line in caught.value.problems)
    return caught.value.problems


def replaced(line: int, new: str) -> str:
    return "\n".join([*LINES[:line], new, *LINES[line + 1 :]])


def key_of(line: int) -> str:
    return LINES[line].partition(" = ")[0]


def with_value(old: str, new: str) -> str:
    assert TEXT.count(old) == 1
    return TEXT.replace(old, new)


# -- what is written is read back ------------------------------------------------------------------------


@pytest.mark.shows("GEN-1", "GEN-2", "GEN-3", "GEN-4")
@settings(deadline=None)
@given(run_files())
def test_a_dumped_run_is_read_back_with_its_run_id(run: RunFile) -> None:
    assert list(problems(run)) == []
    again = load_text(dump(run))
    assert again == run
    assert hash(again) == hash(run)
    assert again.run_id == run.run_id
    assert dump(again) == dump(run)


@pytest.mark.shows("GEN-2")
def test_comments_and_white_space_do_not_change_the_run_id() -> None:
    bare = "\n\n".join(re.sub(r"  # .*", "", line).replace(" = ", "=") for line in LINES if line[:1] != "#")
    assert bare != TEXT
    assert load_text(bare).run_id == load_text(TEXT).run_id == example().run_id


def test_an_integer_may_stand_for_a_number_without_changing_the_run() -> None:
    assert load_text(with_value("alarm_factor = 4.0", "alarm_factor = 4")).run_id == example().run_id


def leaves(value: object) -> list[Callable[[object], object]]:
    """Return, for each plain value in a genesis, the function that changes it alone."""
    if attrs.has(type(value)):
        return [
            lambda whole, name=field.name, change=change: attrs.evolve(
                whole, **{name: change(getattr(whole, name))}
            )
            for field in attrs.fields(type(value))
            for change in leaves(getattr(value, field.name))
        ]
    if isinstance(value, tuple):
        return [
            lambda whole, i=i, change=change: (*whole[:i], change(whole[i]), *whole[i + 1 :])
            for i, entry in enumerate(value)
            for change in leaves(entry)
        ]
    changes: dict[type, Callable[[object], object]] = {
        str: lambda text: f"{text}x",
        bytes: lambda data: bytes([data[0] ^ 1, *data[1:]]),
        int: lambda number: number + 1,
        float: lambda number: math.nextafter(number, -math.inf),
    }
    return [changes.get(type(value), lambda mapping: {**mapping, "batch_size": 16.0})]


@pytest.mark.shows("GEN-2")
def test_every_single_value_changes_the_run_id() -> None:
    run = example()
    changed = [change(run) for change in leaves(run)]
    assert len(changed) > 50
    ids = {other.run_id for other in changed}
    assert len(ids) == len(changed)
    assert run.run_id not in ids


@pytest.mark.shows("GEN-2")
@pytest.mark.parametrize("value", [1, 1.0, True, "1", -0.0, 0.0, 0, False])
def test_the_type_of_an_option_changes_the_run_id(value: int | float | str | bool) -> None:
    others = [1, 1.0, True, "1", -0.0, 0.0, 0, False]

    def run_id(option: int | float | str | bool) -> bytes:
        return attrs.evolve(
            example(), task=TaskSection("digits", {"a": option}, digest("m"), digest("d"))
        ).run_id

    assert sum(run_id(other) == run_id(value) for other in others) == 1


@pytest.mark.shows("GEN-2")
def test_the_order_of_peers_changes_the_run_id_and_that_of_options_does_not() -> None:
    run = example()
    assert attrs.evolve(run, peers=run.peers[::-1]).run_id != run.run_id
    one, other = (
        attrs.evolve(run, task=attrs.evolve(run.task, options=options))
        for options in ({"a": 1, "b": 2}, {"b": 2, "a": 1})
    )
    assert one == other
    assert one.run_id == other.run_id


def test_tau_may_be_infinite() -> None:
    assert load_text(with_value("tau = 0.3", "tau = inf")).parameters.tau == math.inf


def test_every_parameter_and_time_is_explained() -> None:
    sections = TEXT.split("\n[")
    for section, cls in (("parameters]", Parameters), ("timing]", Timing)):
        text = next(part for part in sections if part.startswith(section))
        for field in attrs.fields(cls):
            pattern = rf"^({field.name} = \S+  # .{{10,}}|# .{{10,}}\n{field.name} = \S+)$"
            assert re.search(pattern, text, re.MULTILINE), field.name
    assert max(map(len, LINES)) <= 130


# -- what is wrong is named ------------------------------------------------------------------------------


@pytest.mark.refuses("GEN-1")
@pytest.mark.parametrize("line", REQUIRED, ids=lambda line: LINES[line][:30])
def test_a_removed_or_renamed_key_is_named(line: int) -> None:
    key = key_of(line)
    assert any(f"{key} is missing" in problem for problem in problems_of(replaced(line, "")))
    renamed = problems_of(replaced(line, LINES[line].replace(key, f"{key}_x", 1)))
    assert any(f"{key} is missing" in problem for problem in renamed)
    assert any(f"'{key}_x' is unknown" in problem and f"did you mean {key}?" in problem for problem in renamed)


@pytest.mark.refuses("GEN-1")
@settings(deadline=None)
@given(st.sampled_from(KEYS), st.sampled_from(WRONG_TYPES))
def test_a_value_of_another_type_is_named(line: int, value: str) -> None:
    key, old = key_of(line), LINES[line].partition(" = ")[2].partition("  #")[0]
    if old.startswith('"'):
        assume(value != '"text"')
    elif key == "batch_size":
        assume(value[0] in "[{1")
    else:
        assume(not value[0].isdigit() or "-" in value or ("." in value and "." not in old and old != "inf"))
    assert any(f"{key} = " in problem for problem in problems_of(replaced(line, f"{key} = {value}")))


@pytest.mark.refuses("GEN-1")
@pytest.mark.parametrize("section", ["[task]", "[task.options]", "[parameters]", "[timing]", "[[peers]]"])
def test_a_missing_section_is_named(section: str) -> None:
    start = "\n" + section.rstrip("]")
    renamed = TEXT.replace(start, start + "_x")
    name = section.strip("[]").rpartition(".")[2]
    assert any(f"{name} is missing" in problem for problem in problems_of(renamed))


@pytest.mark.refuses("GEN-1")
def test_all_problems_are_reported_at_once() -> None:
    text = (
        TEXT.replace("steps = 200", 'steps = "200"')
        .replace("tau = 0.3", "tau = -1.0")
        .replace("t_reduce = ", "t_reduce = 1 # ")
        .replace('bulk_security = "curve"', 'bulk_security = "none"')
        .replace("delta = ", "drift = 3\ndelta = ")
        .replace("tcp://10.0.0.1:40000", "10.0.0.1:40000")
    )
    found = problems_of(text)
    for start in (
        "[parameters] steps = '200': must be an integer",
        "bulk_security = 'none': must be",
        "[timing] 'drift' is unknown",
        "[[peers]] number 1 ('peer-0') control = '10.0.0.1:40000': must be tcp://host:port",
    ):
        assert any(problem.startswith(start) for problem in found), (start, found)
    # values that need the misread one are judged once it can be read
    assert any("[parameters] tau = -1.0" in problem for problem in problems_of(text.replace('"200"', "200")))


@pytest.mark.refuses("GEN-3", "TIM-2", "TIM-3", "TIM-4", "TIM-5", "TIM-6")
def test_times_that_break_an_inequality_are_named_with_what_is_needed() -> None:
    timing = example().timing
    for name, least in timing.minima().items():
        (problem,) = problems_of(re.sub(rf"^{name} = \d+", f"{name} = {least - 1}", TEXT, flags=re.MULTILINE))
        assert problem.startswith(f"[timing] {name} = {least - 1}")
        assert str(least) in problem


VALUES = {
    "seed too short": (f'seed = "{example().seed.hex()}"', 'seed = "00"', "seed = 00: must be 32 bytes"),
    "seed not hex": (f'seed = "{example().seed.hex()}"', 'seed = "zz"', "seed = 'zz': must be hexadecimal"),
    "run name": ('name = "example"', 'name = "no spaces"', "name = 'no spaces': must be 1 to 64 letters"),
    "evaluations": ("evaluate_every = 10", "evaluate_every = 0", "evaluate_every = 0: must be at least 1"),
    "numerics": ('numerics = "exact"', 'numerics = "other"', "numerics = 'other': must be"),
    "f_max": ("f_max = 1", "f_max = 2", "[parameters] 4 peers less 1 validators do not outvote f_max = 2"),
    "huge": ("steps = 200", f"steps = {10**300}", "[parameters] steps = a huge integer"),
    "nan": ("tau = 0.3", "tau = nan", "[parameters] tau = nan: must be positive"),
    "clip": (
        "gradient_clip = inf",
        "gradient_clip = 0.0",
        "[parameters] gradient_clip = 0.0: must be positive",
    ),
    "clip nan": ("gradient_clip = inf", "gradient_clip = nan", "[parameters] gradient_clip = nan: must be"),
    "brake": ("late_brake = 1", "late_brake = 2", "[parameters] late_brake = 2: must lie in 0..f_max"),
    "window": ("window = 20", "window = 0", "[parameters] window = 0: must be at least 1"),
    "late limit": (
        "late_limit = 0",
        "late_limit = 21",
        "[parameters] late_limit = 21: must lie in 0..window = 20; 0 switches it off",
    ),
    "rtol": ("gradient_rtol = 1e-06", "gradient_rtol = 0.5", "[parameters] gradient_rtol = 0.5"),
    "option": ("batch_size = 16", "batch_size = nan", "[task.options] batch_size = nan"),
    "option text": ("batch_size = 16", 'a = "\\u001b[2J"', "[task.options] a = '\\x1b[2J': must be at most"),
    "option name": ("batch_size = 16", '"a b" = 1', "[task.options] 'a b' = 1: an option is named by"),
    "option reserved": ("batch_size = 16", "seed = 3", "[task.options] 'seed' = 3: an option is named by"),
    "format": ("format = 1", "format = 2", "format: this btard reads format 1"),
    "peer name": ('name = "peer-2"', 'name = "../x"', "[[peers]] number 3 ('../x') name = '../x'"),
    "same name": ('name = "peer-2"', 'name = "peer-1"', "[[peers]] name = 'peer-1' stands 2 times"),
    "same key": (sign_key(2).hex(), sign_key(1).hex(), f"[[peers]] sign_key = {sign_key(1).hex()} stands 2"),
    "small order": (sign_key(2).hex(), f"01{62 * '0'}", "[[peers]] number 3 ('peer-2') sign_key = 01"),
    "same curve key": (curve_key(2), curve_key(1), "[[peers]] curve_key = "),
    "bad curve key": (curve_key(2), "#" * 40, "[[peers]] number 3 ('peer-2') curve_key = '#####"),
    "odd curve key": (curve_key(2), "é" * 40, "[[peers]] number 3 ('peer-2') curve_key = '"),
    "same address": (":40004", ":40003", "[[peers]] address = 'tcp://10.0.0.1:40003' stands 2 times"),
}


@pytest.mark.refuses("GEN-1", "GEN-3", "GEN-4")
@pytest.mark.parametrize(("old", "new", "problem"), VALUES.values(), ids=VALUES.keys())
def test_a_bad_value_is_named(old: str, new: str, problem: str) -> None:
    found = problems_of(with_value(old, new))
    assert any(line.startswith(problem) for line in found), found


@pytest.mark.refuses("GEN-4")
def test_more_than_1024_peers_are_refused() -> None:
    entries = "\n".join(dump_peer(example_peer(number)) for number in range(1025))
    found = problems_of(TEXT[: TEXT.index("[[peers]]")] + entries)
    assert found == ("[[peers]] 1025 peers: at most 1024 are allowed",)


HOSTILE = {
    "larger than a mebibyte": b"#" * (1 << 20),
    "not UTF-8": TEXT.encode() + b"# \xff\n",
    "nested": b"a = " + b"[\n" * 100_000,
    "long keys on a line": b".".join([b"a"] * 400_000) + b" = 1\n",
    "many dots": b".a = 1\na.b.c.d" * 70_000,
    "integer of many digits": b"a = " + b"9" * 5000,
    "control characters": b'a = "\x1b[2J"\n',
    "empty": b"",
    "a list of numbers": b"peers = [1, 2, 3]\n",
}


@pytest.mark.refuses("GEN-1")
@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_files_are_refused_in_words(data: bytes) -> None:
    problems_of(data)


@pytest.mark.refuses("GEN-1")
@settings(deadline=None)
@given(st.integers(0, len(TEXT)), st.integers(0, 40), st.text(max_size=12) | st.sampled_from(WRONG_TYPES))
def test_a_damaged_file_is_a_run_or_a_run_file_error(start: int, length: int, new: str) -> None:
    try:
        text = (TEXT[:start] + new + TEXT[start + length :]).encode()
    except UnicodeEncodeError:
        assume(False)
    with contextlib.suppress(RunFileError):
        assert list(problems(load_text(text))) == []


@pytest.mark.refuses("GEN-1")
@settings(deadline=None)
@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_refused(data: bytes) -> None:
    problems_of(data)


def test_a_file_that_is_not_there_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "run.toml")


# -- rosters, keys and tasks -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address",
    ["tcp://a:1", "tcp://127.0.0.1:65535", "tcp://[::1]:80", "tcp://node-3.example.org:5000", "tcp://x.7a:1"],
)
def test_addresses_that_others_can_reach(address: str) -> None:
    assert is_address(address)


@pytest.mark.refuses("GEN-4")
@pytest.mark.parametrize(
    "address",
    [
        *(
            "",
            "a:1",
            "tcp://a",
            "tcp://a:0",
            "tcp://a:65536",
            "tcp://a:01",
            "tcp://a:1 ",
            "ipc://a:1",
            "TCP://a:1",
        ),
        *("tcp://*:1", "tcp://0.0.0.0:1", "tcp://[::]:1", "tcp://1.2.3:1", "tcp://1.2.3.256:1", "tcp://:1"),
        *("tcp://[1.2.3.4]:1", "tcp://[:1]:1", "tcp://a_b:1", "tcp://a..b:1", "tcp://-a:1", "tcp://a:١"),
    ],
)
def test_addresses_that_are_none(address: str) -> None:
    assert not is_address(address)


@settings(deadline=None)
@given(st.binary(min_size=32, max_size=32))
def test_any_32_bytes_can_be_a_curve_key(data: bytes) -> None:
    assert is_curve_key(z85.encode(data).decode())


@pytest.mark.refuses("GEN-4")
@pytest.mark.parametrize("key", ["", "a" * 39, "a" * 41, '"' * 40, "é" * 40, "a" * 35 + "%nSc1", "#" * 40])
def test_text_that_is_no_curve_key(key: str) -> None:
    assert not is_curve_key(key)


def test_peers_alone_are_read_from_what_keygen_prints(tmp_path: Path) -> None:
    path = tmp_path / "peers.toml"
    path.write_text("# for the run\n" + "".join(dump_peer(peer) for peer in example().peers))
    assert load_peer_file(path) == (example().peers, None)


@pytest.mark.refuses("GEN-4")
def test_a_bad_peer_alone_is_named(tmp_path: Path) -> None:
    path = tmp_path / "peers.toml"
    path.write_text(dump_peer(example_peer(0)).replace("10.0.0.1", "HOST*") + "port = 3\n")
    with pytest.raises(RunFileError) as caught:
        load_peer_file(path)
    assert any("'port' is unknown" in line for line in caught.value.problems)
    path.write_text(dump_peer(example_peer(0)).replace("10.0.0.1", "HOST*"))
    with pytest.raises(RunFileError, match=r"number 1 \('peer-0'\) control = 'tcp://HOST\*:40000': must be"):
        load_peer_file(path)
    path.write_text("seed = 3\n" + dump_peer(example_peer(0)))
    with pytest.raises(RunFileError, match="'seed' is unknown"):
        load_peer_file(path)


@pytest.mark.shows("GEN-5")
def test_a_peer_finds_its_index() -> None:
    run = example()
    for index, peer in enumerate(run.peers):
        assert run.index_of(peer.sign_key, peer.curve_key) == index


@pytest.mark.refuses("GEN-5")
def test_keys_that_do_not_match_the_roster_are_named() -> None:
    run = example()
    with pytest.raises(GenesisMismatchError, match=r"not in the roster.*peer-0, peer-1"):
        run.index_of(sign_key(9), curve_key(9))
    with pytest.raises(GenesisMismatchError, match=r"'peer-1'.*another curve_key"):
        run.index_of(sign_key(1), curve_key(2))
    with pytest.raises(GenesisMismatchError, match=r"'peer-2'.*another sign_key"):
        run.index_of(sign_key(9), curve_key(2))


@pytest.mark.shows("GEN-6")
def test_the_task_of_the_genesis_has_no_problems() -> None:
    task = example().task
    assert list(example().task_problems(1000, task.model_digest, task.data_digest)) == []


@pytest.mark.refuses("GEN-6")
def test_another_model_or_data_is_named() -> None:
    run = example()
    other = digest("other")
    found = list(run.task_problems(7, other, other))
    assert len(found) == 3
    assert "7 parameters, the genesis says 1000" in found[0]
    assert f"model_digest {other.hex()[:16]}" in found[1]
    assert f"data_digest {other.hex()[:16]}" in found[2]
