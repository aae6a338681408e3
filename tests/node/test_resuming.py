"""`btard resume`: one word for one peer that the brake holds."""

from pathlib import Path

import pytest

from btard.cli.main import main
from btard.node.resuming import taken
from btard.node.status_file import locked, write_status
from tests.node.test_status_file import VALUES


@pytest.mark.shows("AGR-24")
def test_a_word_reaches_the_peer_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_status(tmp_path, {**VALUES, "held": [1, 2]})
    with locked(tmp_path):
        assert main(["resume", "--out", str(tmp_path)]) == 0
    assert "a majority of the peers" in capsys.readouterr().out
    assert taken(tmp_path)
    assert not taken(tmp_path)


@pytest.mark.refuses("AGR-24")
@pytest.mark.parametrize(("held", "says"), [([], "no brake holds the peer"), ([1], "is not running")])
def test_where_nothing_is_held_there_is_nothing_to_resume(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], held: list[int], says: str
) -> None:
    write_status(tmp_path, {**VALUES, "held": held})
    if held:
        assert main(["resume", "--out", str(tmp_path)]) == 1
    else:
        with locked(tmp_path):
            assert main(["resume", "--out", str(tmp_path)]) == 1
    assert says in capsys.readouterr().err
    assert not taken(tmp_path)
