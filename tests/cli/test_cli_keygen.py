"""`btard keygen`: secret keys go to a file, and what is printed fits into a run file."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from btard.cli.main import main
from btard.keys import KeyPair
from btard.measured import load_peer_file

ADDRESSES = ["--control", "tcp://127.0.0.1:5000", "--bulk", "tcp://127.0.0.1:5001"]


@pytest.mark.shows("KEY-1")
def test_what_is_printed_is_the_public_half_of_the_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key, printed = tmp_path / "alice.key", tmp_path / "alice.toml"
    assert main(["keygen", "--out", str(key), "--name", "al", *ADDRESSES]) == 0
    printed.write_text(capsys.readouterr().out)
    (peer,), _ = load_peer_file(printed)
    keys = KeyPair.load(key)
    assert (peer.sign_key, peer.curve_key) == (keys.sign_public, keys.curve_public)
    assert (peer.name, peer.control, peer.bulk) == ("al", "tcp://127.0.0.1:5000", "tcp://127.0.0.1:5001")
    assert stat.S_IMODE(key.stat().st_mode) & 0o077 == 0, "nobody else may read it"


def test_two_peers_get_different_keys(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("one", "two"):
        assert main(["keygen", "--out", str(tmp_path / f"{name}.key"), *ADDRESSES]) == 0
    one, two = (KeyPair.load(tmp_path / f"{name}.key") for name in ("one", "two"))
    assert one.sign_public != two.sign_public
    assert one.curve_public != two.curve_public


def test_without_addresses_it_says_what_to_fill_in(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["keygen", "--out", str(tmp_path / "bob.key")]) == 0
    out, err = capsys.readouterr()
    assert 'name = "bob"' in out
    assert out.count("tcp://HOST:PORT") == 2
    assert "replace tcp://HOST:PORT" in err


@pytest.mark.refuses("KEY-1")
def test_keys_are_never_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    key = tmp_path / "alice.key"
    assert main(["keygen", "--out", str(key)]) == 0
    before = key.read_bytes()
    capsys.readouterr()
    assert main(["keygen", "--out", str(key)]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("btard: ")
    assert "alice.key" in err
    assert err.count("\n") == 1
    assert key.read_bytes() == before


def test_a_name_that_no_run_file_takes_is_refused_before_keys_are_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key = tmp_path / "my key"
    assert main(["keygen", "--out", str(key)]) == 1
    assert "--name" in capsys.readouterr().err
    assert not key.exists()


@pytest.mark.parametrize("address", ["localhost:5000", "tcp://0.0.0.0:5000", "tcp://*:5000"])
def test_an_address_that_no_run_file_takes_is_wrong_usage(
    address: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["keygen", "--out", str(tmp_path / "a.key"), "--control", address])
    assert stopped.value.code == 2
    assert address in capsys.readouterr().err
