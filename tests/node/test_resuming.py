"""`btard resume`: one word for one halted peer."""

from pathlib import Path

import pytest

from btard.cli.main import main
from btard.node.resuming import FILE, taken
from btard.node.status_file import locked, write_status
from tests.node.test_status_file import VALUES

HALTED = {**VALUES, "halted": "peer 1 is silent", "roster": [0, 1, 2, 3], "epoch": 4, "spare": 2}


@pytest.mark.shows("AGR-26")
@pytest.mark.parametrize(
    ("held", "names", "given_up"), [([1, 2], "bob,carol", (1, 2)), ([], "dave", (3,)), ([1], "dave", (3,))]
)
def test_a_word_reaches_the_peer_once(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    held: list[int],
    names: str,
    given_up: tuple[int, ...],
) -> None:
    write_status(tmp_path, {**HALTED, "held": held})
    with locked(tmp_path):
        assert main(["resume", "--out", str(tmp_path), "--without", names]) == 0
    assert "a majority of the peers" in capsys.readouterr().out
    assert taken(tmp_path, 4) == given_up
    assert taken(tmp_path, 4) is None


@pytest.mark.shows("AGR-26")
@pytest.mark.parametrize(
    ("names", "says"), [("bob", "it also waits for carol (its link is down)"), ("bob,carol", "")]
)
def test_who_else_is_missed_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], names: str, says: str
) -> None:
    write_status(tmp_path, {**HALTED, "awaited": [1, 2], "reasons": ["", "its link is down"]})
    with locked(tmp_path):
        assert main(["resume", "--out", str(tmp_path), "--without", names]) == 0
    out = capsys.readouterr().out
    assert says in out
    assert ("also waits" in out) == bool(says)


def test_a_word_of_another_epoch_counts_for_nothing(tmp_path: Path) -> None:
    write_status(tmp_path, {**HALTED, "held": [1]})
    with locked(tmp_path):
        assert main(["resume", "--out", str(tmp_path), "--without", "bob"]) == 0
    assert taken(tmp_path, 5) is None
    assert taken(tmp_path, 4) is None


@pytest.mark.parametrize("text", ["", "[", "7", "[1, 2, 3]", "[1, 5]", "[1, null]", "[1, [[2]]]", "[" * 60_000])
def test_a_file_of_another_origin_is_no_word(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE).write_text(text)
    assert taken(tmp_path, 1) is None
    assert not (tmp_path / FILE).exists()


@pytest.mark.refuses("AGR-26")
@pytest.mark.parametrize(
    ("runs", "values", "options", "says"),
    [
        (False, {}, ["--without", "bob"], "is not running"),
        (True, {"halted": None}, ["--without", "bob"], "is not halted"),
        (True, {}, [], "for instance: --without bob"),
        (True, {}, ["--without", "eve"], "'eve' is no other member"),
        (True, {}, ["--without", "alice"], "'alice' is no other member"),
        (True, {"held": [1, 2]}, [], "for instance: --without bob,carol"),
        (True, {}, ["--without", "bob,carol,dave"], "at most 2 can be given up"),
        (True, {"gave_up": [[0, [2]]]}, ["--without", "bob,dave"], "those named before included"),
    ],
)
def test_what_is_no_word_for_a_peer(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    runs: bool,
    values: dict[str, object],
    options: list[str],
    says: str,
) -> None:
    write_status(tmp_path, {**HALTED, **values})
    if runs:
        with locked(tmp_path):
            assert main(["resume", "--out", str(tmp_path), *options]) == 1
    else:
        assert main(["resume", "--out", str(tmp_path), *options]) == 1
    assert says in capsys.readouterr().err
    assert taken(tmp_path, 4) is None
