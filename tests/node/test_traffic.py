"""The traffic of the protocol: `python -m benchmarks.traffic` shows it up to ten million parameters."""

from __future__ import annotations

import pytest

from benchmarks.traffic import Sent, differing, main, measure


def test_control_bytes_do_not_depend_on_the_models_size() -> None:
    small, large = (measure(dimension, peers=4, steps=2) for dimension in (10_000, 100_000))
    assert differing([small, large]) == []
    assert [sent.control_bytes for sent in small] == [sent.control_bytes for sent in large]
    for few, many, contributors in zip(small, large, (4, 3), strict=True):
        assert 0 < few.control_bytes < 4 * 20_000
        for sent, dimension in ((few, 10_000), (many, 100_000)):
            # Every aggregate goes to three others, and every part to its aggregator unless that is its owner:
            # of a contributor three of four, of a validator none.
            assert sent.bulk_bytes == 3 * 4 * dimension + contributors * 3 * 4 * dimension // 4


def test_a_difference_fails_the_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        "benchmarks.traffic.measure", lambda dimension, *_: [Sent(100, 1, 0), Sent(dimension, 1, 0)]
    )
    assert main(["--dimensions", "1e1", "10"]) == 0
    assert "constant: each step" in capsys.readouterr().out
    assert main(["--dimensions", "1e1", "11"]) == 1
    assert "NOT constant: the control bytes of steps [2] depend on d" in capsys.readouterr().out


@pytest.mark.parametrize("word", ["0", "1.5", "-3", "nan", "inf", "much", "7"])
def test_what_is_no_dimension(word: str) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--dimensions", word])
    assert caught.value.code == 2
