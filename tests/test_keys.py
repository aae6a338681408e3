"""Identities: key files that only their owner can use, and strict signatures."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
import zmq
from hypothesis import given
from hypothesis import strategies as st
from zmq.utils import z85

from btard.keys import KeyFileError, KeyPair, verify

# Fixed, so that the names of the tests below are.
KEYS = KeyPair(bytes(range(32)), z85.encode(bytes(range(32, 64))))
OTHER = KeyPair.generate()
# Points of small order on the curve: with such a "public key" one signature would fit every message.
SMALL_ORDER = [
    bytes(32),
    b"\x01" + bytes(31),
    bytes.fromhex("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
    bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"),
    bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"),
]
# The order of the group, which a strict verifier does not let anybody add to the second half of a signature.
ORDER = 2**252 + 27742317777372353535851937790883648493


@pytest.mark.shows("KEY-3")
@given(st.binary(max_size=200))
def test_a_signature_fits_its_message_and_key(message: bytes) -> None:
    signature = KEYS.sign(message)
    assert len(signature) == 64
    assert verify(KEYS.sign_public, message, signature)
    assert not verify(OTHER.sign_public, message, signature)
    assert not verify(KEYS.sign_public, message + b"\0", signature)


@pytest.mark.refuses("KEY-3")
@given(st.binary(max_size=50), st.integers(0, 511))
def test_a_signature_with_one_wrong_bit_is_refused(message: bytes, bit: int) -> None:
    signature = bytearray(KEYS.sign(message))
    signature[bit // 8] ^= 1 << bit % 8
    assert not verify(KEYS.sign_public, message, bytes(signature))


@pytest.mark.refuses("KEY-3")
@given(st.binary(max_size=70), st.binary(max_size=70), st.binary(max_size=70))
def test_verify_never_raises(public: bytes, message: bytes, signature: bytes) -> None:
    assert not verify(public, message, signature)


@pytest.mark.refuses("KEY-3")
@pytest.mark.parametrize("public", SMALL_ORDER)
@pytest.mark.parametrize("r", SMALL_ORDER)
def test_a_public_key_of_small_order_signs_nothing(public: bytes, r: bytes) -> None:
    assert not any(verify(public, b"message %d" % number, r + bytes(32)) for number in range(16))


@pytest.mark.refuses("KEY-3")
def test_a_second_form_of_a_signature_is_refused() -> None:
    signature = KEYS.sign(b"message")
    other_form = int.from_bytes(signature[32:], "little") + ORDER
    assert not verify(KEYS.sign_public, b"message", signature[:32] + other_form.to_bytes(32, "little"))


@pytest.mark.shows("KEY-1")
@pytest.mark.shows("KEY-2")
def test_keys_come_back_from_their_file(tmp_path: Path) -> None:
    path = tmp_path / "alice.key"
    KEYS.save(path)
    again = KeyPair.load(path)
    assert again == KEYS
    assert again.sign_public == KEYS.sign_public
    assert again.curve_public == KEYS.curve_public == zmq.curve_public(KEYS.curve_secret).decode()
    assert verify(KEYS.sign_public, b"m", again.sign(b"m"))


@pytest.mark.shows("KEY-1")
def test_the_file_is_its_owners_alone_whatever_the_umask(tmp_path: Path) -> None:
    path = tmp_path / "alice.key"
    before = os.umask(0)
    try:
        KEYS.save(path)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_no_two_peers_get_the_same_keys() -> None:
    another = KeyPair.generate()
    assert another.sign_public != OTHER.sign_public
    assert another.curve_public != OTHER.curve_public


def test_secrets_are_not_printed() -> None:
    assert KEYS.sign_seed.hex() not in repr(KEYS)
    assert repr(KEYS.sign_seed) not in repr(KEYS)
    assert KEYS.curve_secret.decode() not in repr(KEYS)


@pytest.mark.refuses("KEY-1")
def test_a_key_file_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "alice.key"
    KEYS.save(path)
    with pytest.raises(KeyFileError, match="exists already and keys are never overwritten"):
        OTHER.save(path)
    assert KeyPair.load(path) == KEYS


@pytest.mark.refuses("KEY-2")
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o666])
def test_a_key_file_that_others_can_use_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "alice.key"
    KEYS.save(path)
    path.chmod(mode)
    with pytest.raises(KeyFileError, match=f"others can use the key file .*{mode:04o}.*chmod 600"):
        KeyPair.load(path)


SEED, SECRET = KEYS.sign_seed.hex(), KEYS.curve_secret.decode()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "must hold sign_seed and curve_secret"),
        ("sign_seed =", "is not a key file"),
        (f'sign_seed = "{SEED}"', "must hold sign_seed and curve_secret"),
        (f'sign_seed = "{SEED}"\ncurve_secret = 5', "must hold sign_seed and curve_secret"),
        (f'sign_seed = "{SEED}"\ncurve_secret = "{SECRET}"\nmore = "x"', "must hold sign_seed"),
        (f'sign_seed = "{SEED[2:]}"\ncurve_secret = "{SECRET}"', "seed must be exactly 32 bytes"),
        (f'sign_seed = "zz{SEED[2:]}"\ncurve_secret = "{SECRET}"', "is not a key file"),
        (f'sign_seed = "{SEED}"\ncurve_secret = "{SECRET[1:]}"', "CURVE secret key is 40 characters"),
        (f'sign_seed = "{SEED}"\ncurve_secret = "{"~" * 40}"', "CURVE secret key is 40 characters"),
        ("# " + "x" * 5000, "longer than 4096 bytes"),
        ("\x80", "not ASCII"),
    ],
)
def test_what_is_no_key_file_is_named_in_one_line(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "alice.key"
    path.write_bytes(text.encode("latin-1"))
    path.chmod(0o600)
    with pytest.raises(KeyFileError, match=says) as error:
        KeyPair.load(path)
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)
    assert SEED not in str(error.value)
    assert SECRET not in str(error.value)


def test_a_missing_or_unreachable_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match="there is no key file"):
        KeyPair.load(tmp_path / "nobody.key")
    with pytest.raises(KeyFileError, match="cannot read"):
        KeyPair.load(tmp_path)
    with pytest.raises(KeyFileError, match="cannot write"):
        KEYS.save(tmp_path / "nowhere" / "alice.key")


def test_keys_of_the_wrong_form_are_refused() -> None:
    with pytest.raises(ValueError, match="seed must be"):
        KeyPair(bytes(31), KEYS.curve_secret)
    with pytest.raises(ValueError, match="CURVE secret"):
        KeyPair(KEYS.sign_seed, bytes(40))
