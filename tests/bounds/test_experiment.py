from pathlib import Path

import pytest

from benchmarks.bounds.__main__ import main


def test_the_experiment_prints_its_tables_and_draws_its_picture(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["--out", str(tmp_path / "new"), "--keys", "20", "--runs", "40"])
    said = capsys.readouterr().out
    for table in (
        "verification 3",
        "CenteredClip",
        "steps until",
        "gradient_rtol",
        "four rows at once 9.54e-07",
    ):
        assert table in said
    assert (tmp_path / "new" / "bounds.png").read_bytes().startswith(b"\x89PNG")
