"""The handshake before a run: what a peer says of itself, and what it makes of what others say."""

from __future__ import annotations

import math
from typing import Any

import cbor2
import pytest
from attrs import asdict, evolve
from hypothesis import example, given
from hypothesis import strategies as st

from btard.node.hello import MAX_HELLO, Hello, decode_hello, disagreement, encode_hello
from btard.robust.encoding import pack_norms, pack_rows
from btard.wire import max_frame
from tests.node.hostile import structures

ONE_PART = pack_rows([[0.6, 0.0, 0.8, *[0.0] * 13]] * 4) + pack_norms([1.0])
NUMERICS = {"torch": "2.13.0", "device": "a", "threads": 1}
MINE = Hello("0.1.0", bytes(32), b"m" * 32, b"c" * 32, 3 * ONE_PART, NUMERICS)


@pytest.mark.shows("GEN-7")
@given(
    st.builds(
        Hello,
        st.text(max_size=20),
        st.binary(max_size=64),
        st.binary(max_size=64),
        st.binary(max_size=64),
        st.binary(max_size=16 * 520),
        st.dictionaries(st.text(max_size=20), st.text(max_size=50) | st.integers(0, 2**32), max_size=5),
        st.binary(max_size=16),
    )
)
def test_what_is_said_is_heard(hello: Hello) -> None:
    assert decode_hello(encode_hello(hello)) == hello


@pytest.mark.refuses("GEN-7", "MSG-1")
@given(st.binary(max_size=300) | st.binary(max_size=300).map(lambda tail: b"\x82\x65hello" + tail))
@example(b"")
@example(b"\x82\x65hello")
@example(encode_hello(MINE) + b"\x00")
@example(encode_hello(MINE) + bytes(MAX_HELLO))
@example(b"\x82\x65hello" + b"\x81" * 2000)
@example(b"\x82\x65hello\x9b" + b"\xff" * 8)
@example(b"\x82\x65hello\xbb" + b"\xff" * 8)
@example(b"\x82\x65hello\xd8\x1c\xd8\x1d\x00")  # a cycle
def test_random_bytes_are_no_hello(data: bytes) -> None:
    assert decode_hello(data) is None


@pytest.mark.refuses("GEN-7", "MSG-1")
@given(
    changes=st.dictionaries(st.sampled_from([*asdict(MINE), "more"]), structures, max_size=3),
    missing=st.sets(st.sampled_from([*asdict(MINE)]), max_size=2),
)
@example(changes={"version": cbor2.CBORTag(35, "(" * 500)}, missing=set())
@example(changes={"numerics": cbor2.CBORTag(30, [1, 0])}, missing=set())
@example(changes={"numerics": {"torch": cbor2.CBORTag(4, [10**9, 1])}}, missing=set())
@example(changes={"numerics": {"batch_size": cbor2.CBORTag(2, b"\xff" * 3000)}}, missing=set())
def test_any_structure_is_a_hello_or_none_and_leads_to_one_printable_line(
    changes: dict[str, Any], missing: set[str]
) -> None:
    record = {name: value for name, value in {**asdict(MINE), **changes}.items() if name not in missing}
    other = decode_hello(cbor2.dumps(["hello", record], canonical=True))
    if "version" in missing:
        assert other is None
    if other is not None:
        # Another version may say hello in another form: then its version is all that counts.
        assert asdict(other) in (record, asdict(Hello(other.version, b"", b"", b"", b"", {})))
        for tolerance in (None, 1e-3):
            line = disagreement(MINE, other, "", tolerance)
            assert line is not None or (changes.keys() | missing) <= {"scalars", "numerics", "start"}
            assert line is None or (line.isprintable() and len(line) < 300)


@pytest.mark.refuses("GEN-7")
@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"version": "9.9"}, "install the same version"),
        ({"version": "\x1b[2J\n" * 50}, "install the same version"),
        ({"run": b"r" * 32}, "give all peers the same file"),
        ({"version": "9.9", "run": b"", "model": b"", "canary": b""}, "install the same version"),
        ({"run": b"", "model": b"", "canary": b""}, "in a form that this peer does not know"),
        ({"model": b"x" * 32}, "another model"),
        ({"canary": b"x" * 32}, "torch 2.13.0 here, 2.9 there"),
        ({"version": "9.9", "run": b"r" * 32, "canary": b""}, "install the same version"),  # what to do first
    ],
)
def test_one_line_says_what_keeps_two_peers_apart(change: dict[str, Any], says: str) -> None:
    line = disagreement(MINE, evolve(MINE, **change), "torch 2.13.0 here, 2.9 there", None)
    assert line is not None
    assert says in line
    assert line.isprintable()


@pytest.mark.shows("GEN-7", "TRN-10")
def test_equal_gradients_are_enough_whatever_the_machines_are_called() -> None:
    other = evolve(MINE, numerics={"torch": "2.13.0", "device": "b", "threads": 1})
    assert disagreement(MINE, other, "device a here, b there", None) is None
    assert "compare processors" in str(disagreement(MINE, evolve(MINE, canary=b""), "", None))


def off_by(deviation: float) -> bytes:
    """Scalars of which one part's are so far off, relative to its length."""
    rows = [[0.6 + deviation, 0.0, 0.8, *[0.0] * 13], *[[0.6, 0.0, 0.8, *[0.0] * 13]] * 3]
    return ONE_PART + pack_rows(rows) + pack_norms([1.0]) + ONE_PART


@pytest.mark.shows("GEN-7", "TRN-20")
@given(st.floats(0, 2.4e-4))
def test_in_a_tolerant_run_gradients_may_differ_within_the_tolerance(deviation: float) -> None:
    other = evolve(MINE, canary=b"x" * 32, scalars=off_by(deviation))
    assert disagreement(MINE, other, "device a here, b there", 2.5e-4) is None
    assert "exact" in str(disagreement(MINE, other, "device a here, b there", None))


@pytest.mark.refuses("GEN-7", "TRN-20")
@pytest.mark.parametrize("off", [2.6e-4, 0.5, 1e300, math.inf, math.nan])
def test_whoever_is_farther_off_is_told_by_how_much_and_what_to_do(off: float) -> None:
    other = evolve(MINE, canary=b"x" * 32, scalars=off_by(off))
    line = str(disagreement(MINE, other, "device a here, b there", 2.5e-4))
    shown = f"{off:.1e}" if off < 1e300 else "inf" if off != 1e300 else "1.0e+300"
    assert f"off by {shown} of their length" in line
    assert "gradient_rtol leaves 2.5e-04" in line
    assert "device a here, b there" in line


@pytest.mark.refuses("TRN-20")
@given(st.binary(max_size=3000) | st.integers(0, 20).map(lambda parts: bytes(520 * parts)))
def test_scalars_that_are_none_never_fit(scalars: bytes) -> None:
    assert disagreement(MINE, evolve(MINE, canary=b"x" * 32, scalars=scalars), "", 0.025) is not None


@pytest.mark.shows("GEN-7")
def test_the_largest_hello_fits_into_a_frame() -> None:
    assert max_frame(3) >= MAX_HELLO >= len(encode_hello(evolve(MINE, scalars=16 * ONE_PART)))
