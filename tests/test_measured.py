"""What peers measured: how it stands in their files, and what is proposed from it."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from btard import propose
from btard.genesis_problems import problems
from btard.measured import CANARIES, Measured, dump_peer_file, load_peer_file
from btard.robust.deviation import largest_deviation
from btard.robust.encoding import pack_norms, pack_rows
from btard.runfile import RunFileError
from btard.statemachine.parameters import Timing
from tests.cli.run_files import DELAYS, example, example_peer


def canary(angle: float) -> bytes:
    row = [math.cos(angle), math.sin(angle), *[0.0] * 14]
    return pack_rows([row] * 4) + pack_norms([1.0])


MEASURED = Measured(
    task="digits",
    model_digest=b"m" * 32,
    data_digest=b"d" * 32,
    torch="2.13.0",
    device="AMD EPYC",
    instruction_set="AVX2",
    threads=1,
    batch_size=24,
    gradient_ms=10.0,
    update_ms=2.0,
    sketch_ms=0.5,
    clip_ms=1.0,
    hash_ms=0.1,
    write_ms=30.0,
    relative=0.0,
    absolute=0.0,
    canaries=(canary(0.0),) * CANARIES,
)
OTHER = evolve(MEASURED, instruction_set="AVX512", canaries=(canary(1e-6),) * CANARIES)
times = st.floats(0, 1e7)
measurements = st.builds(
    evolve,
    st.sampled_from([MEASURED, OTHER]),
    gradient_ms=times,
    update_ms=times,
    sketch_ms=times,
    clip_ms=times,
    hash_ms=times,
    write_ms=times,
    relative=st.floats(0, 1),
    absolute=st.floats(0, 1),
    canaries=st.tuples(*[st.binary(min_size=520, max_size=520)] * CANARIES),
)


# -- the file ---------------------------------------------------------------------------------------------


@pytest.mark.shows("GEN-10")
@given(measured=measurements)
def test_what_is_written_is_read(measured: Measured, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("peer") / "alice.toml"
    path.write_text(dump_peer_file(example_peer(0), measured))
    assert load_peer_file(path) == ((example_peer(0),), measured)
    assert len(path.read_bytes()) < 6000
    assert max(map(len, path.read_text().splitlines())) < 1000


@pytest.mark.refuses("GEN-10")
@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("gradient_ms = 10.0", "gradient_ms = -1.0", "gradient_ms = -1.0: must be 0 to 1e+07 ms"),
        ("gradient_ms = 10.0", "gradient_ms = nan", "gradient_ms = nan: must be"),
        ("gradient_ms = 10.0", "gradient_ms = 1e300", "gradient_ms = 1e+300: must be"),
        ("gradient_ms = 10.0", 'gradient_ms = "fast"', "gradient_ms = 'fast': must be a number"),
        ("gradient_ms = 10.0\n", "", "gradient_ms is missing"),
        ("relative = 0.0", "relative = inf", "relative = inf: must be a number that is not negative"),
        ("threads = 1", "threads = -1", "threads = -1: must be 0 to 4096"),
        ("threads = 1", "threads = 1\nspeed = 9", "'speed' is unknown"),
        ('torch = "2.13.0"', 'torch = "\\u001b[2J"', "printable characters"),
        ('torch = "2.13.0"', f'torch = "{"x" * 300}"', "printable characters"),
        ('model_digest = "6d', 'model_digest = "', "must be 32 bytes"),
        ('    "', '    "!', "canaries: must be 3 texts in base64"),
        ("canaries = [", "canaries = [7, ", "canaries: must be 3 texts in base64"),
        ("[measured]", "measured = 7\n[other]", "measured"),
    ],
)
def test_what_cannot_have_been_measured_is_said_in_a_line(
    old: str, new: str, problem: str, tmp_path: Path
) -> None:
    path, text = tmp_path / "alice.toml", dump_peer_file(example_peer(0), MEASURED)
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(RunFileError) as caught:
        load_peer_file(path)
    assert problem in str(caught.value)
    assert all(line.isprintable() for line in str(caught.value).splitlines())


@pytest.mark.refuses("GEN-10")
@given(
    st.dictionaries(
        st.sampled_from(["torch", "threads", "canaries", "gradient_ms", "absolute"]),
        st.sampled_from(["[]", "[[]]", "{}", "true", "1979-05-27", '""', "[1, 2, 3, 4]", '["", "", ""]']),
        min_size=1,
    )
)
def test_any_other_table_is_refused(changes: dict[str, str]) -> None:
    kept = [
        line
        for line in dump_peer_file(example_peer(0), MEASURED).partition("canaries")[0].splitlines()
        if line.partition(" ")[0] not in changes
    ]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "alice.toml"
        path.write_text("\n".join([*kept, *(f"{name} = {value}" for name, value in changes.items())]))
        with pytest.raises(RunFileError):
            load_peer_file(path)


@pytest.mark.refuses("GEN-10")
def test_one_measurement_is_of_one_machine(tmp_path: Path) -> None:
    text = dump_peer_file(example_peer(0), MEASURED)
    path = tmp_path / "both.toml"
    path.write_text(dump_peer_file(example_peer(1), MEASURED).partition("\n#")[0] + text)
    with pytest.raises(RunFileError, match="is of one machine, but here are 2 peers"):
        load_peer_file(path)


# -- proposals --------------------------------------------------------------------------------------------


@pytest.mark.shows("GEN-10")
def test_equal_machines_stay_exact() -> None:
    numerics, rtol = propose.numerics({"a": MEASURED, "b": MEASURED, "c": None}, 0.3)
    assert (numerics.value, rtol.value) == ("exact", 1e-6)
    assert "2 of 3 peers" in numerics.why


@pytest.mark.shows("GEN-10", "TOL-4")
@given(
    st.lists(st.floats(0, 1e-3), min_size=2, max_size=4),
    st.lists(st.floats(0, 1e-3), min_size=2, max_size=4),
    st.floats(-9, -3),
    st.floats(-2, 2),
)
def test_the_tolerance_is_at_least_four_times_every_deviation(
    relative: list[float], absolute: list[float], exponent: float, tau: float
) -> None:
    """Those that were measured, and with every gradient that is as long as the radius those of no length."""
    pairs = list(zip(relative, absolute, strict=False))
    measured: dict[str, Measured | None] = {
        f"p{i}": evolve(
            MEASURED,
            instruction_set=str(i),
            relative=off,
            absolute=small,
            canaries=(canary(i * 10.0**exponent),) * CANARIES,
        )
        for i, (off, small) in enumerate(pairs)
    }
    numerics, rtol = propose.numerics(measured, 10.0**tau)
    assert isinstance(rtol.value, float)
    assert numerics.value == "tolerant"
    known = [found for found in measured.values() if found is not None]
    for one in known:
        for two in known:
            assert rtol.value >= 4 * (one.relative + two.relative if one is not two else one.relative)
            assert rtol.value >= 4 * largest_deviation(one.canaries[0], two.canaries[0])
    assert rtol.value <= 0.1
    run = evolve(example(), numerics="tolerant")
    assert not list(problems(evolve(run, parameters=evolve(run.parameters, gradient_rtol=rtol.value))))


@pytest.mark.refuses("GEN-10")
@pytest.mark.parametrize(
    "changes", [{"relative": 0.02}, {"canaries": (canary(0.1),) * 3}, {"canaries": (bytes(520),) * 3}]
)
def test_machines_that_no_tolerance_covers_are_named(changes: dict[str, Any]) -> None:
    with pytest.raises(propose.TooDifferentError, match=r"gradients of a and b are off by .* full float32"):
        propose.numerics({"a": MEASURED, "b": evolve(OTHER, **changes)}, 0.3)


DEFAULTS = dict.fromkeys([name for name in DELAYS if name.startswith("c_")], 3000)


@pytest.mark.shows("GEN-10")
@given(st.lists(measurements | st.none(), min_size=1, max_size=4), st.booleans())
def test_bounds_leave_the_slowest_machine_time_and_make_a_valid_run(
    found: list[Measured | None], mixed: bool
) -> None:
    measured = {f"p{i}": machine for i, machine in enumerate(found)}
    proposals = propose.compute_bounds(measured, mixed, 1, DEFAULTS)
    bounds = {name: int(proposal.value) for name, proposal in proposals.items()}
    for machine in found:
        if machine is not None:
            for name, needed in propose.needed_ms(machine, mixed, 1).items():
                assert bounds[name] >= propose.BUSY_FACTOR * needed
        else:
            assert all(bounds[name] >= 3000 for name in bounds)
    assert not list(Timing.derive(delta=1000, delta_bulk=1000, **bounds).problems())


def test_second_looks_need_time_and_only_where_they_are_taken() -> None:
    exact, mixed = (propose.needed_ms(MEASURED, mixed, 1) for mixed in (False, True))
    assert mixed["c_accuse"] > 20 * MEASURED.gradient_ms > exact["c_accuse"]
    assert mixed["c_judge"] > exact["c_judge"]
    assert {name for name in exact if exact[name] != mixed[name]} == {
        "c_accuse",
        "c_commit",
        "c_judge",
        "c_validate",
    }


@pytest.mark.shows("GEN-10", "OPS-5")
def test_commit_waits_for_the_disk() -> None:
    """The model of the step before is durable before it is sent."""
    fast, slow = (propose.needed_ms(evolve(MEASURED, write_ms=ms), False, 1) for ms in (30.0, 9000.0))
    assert slow.pop("c_commit") == pytest.approx(fast.pop("c_commit") + 8970)
    assert slow == fast
    proposed = propose.compute_bounds({"a": evolve(MEASURED, write_ms=9000.0)}, False, 1, DEFAULTS)["c_commit"]
    assert float(proposed.value) >= propose.BUSY_FACTOR * 9000


@pytest.mark.shows("GEN-10")
def test_delays_follow_from_round_trips_and_bandwidth_and_say_what_is_assumed() -> None:
    near = propose.delay({"a": 0.2, "b": None}, 1000)
    assert near.value == 1000
    assert "no answer from b" in near.why
    assert propose.delay({"a": 0.2, "b": 250.0}, 1000).value == 2500
    assert propose.delay({"a": None}, 1000).why.startswith("assumed")
    bulk = propose.bulk_delay(1000, 10**7, 100.0, given=False, least=3000, peers=8)
    assert bulk.value == 2000 + 2 * (1 + 3) * 3200
    assert "assumed" in bulk.why
    assert propose.bulk_delay(1000, 10, 1e3, given=True, least=3000, peers=8).value == 3000
