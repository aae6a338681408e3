"""The models of spec/model/: searched completely, they hold, and no rule in them can be spared."""

from __future__ import annotations

import os

import pytest

from fuzz.model import ModelError, instantiate, main, missing, search
from fuzz.model_configurations import ABLATIONS, BASE, Configuration

REQUIRED = "BTARD_REQUIRE_MODEL"
TIMEOUT = 900.0


@pytest.fixture(scope="session", autouse=True)
def tools() -> None:
    reason = missing()
    if reason and os.environ.get(REQUIRED):
        pytest.fail(f"{REQUIRED} is set, but {reason}", pytrace=False)
    if reason:
        pytest.skip(reason)


@pytest.mark.parametrize("configuration", BASE, ids=lambda configuration: configuration.name)
def test_every_state_keeps_the_invariants(
    configuration: Configuration, capsys: pytest.CaptureFixture[str]
) -> None:
    result = search(configuration, timeout=TIMEOUT)
    with capsys.disabled():
        print(f"\n{configuration.name}: {result.states:,} states, {result.seconds:.1f} s", end="")
    assert result.failed is None


@pytest.mark.parametrize("configuration", ABLATIONS, ids=lambda configuration: configuration.name)
def test_without_the_rule_an_invariant_fails(
    configuration: Configuration, capsys: pytest.CaptureFixture[str]
) -> None:
    result = search(configuration, timeout=TIMEOUT)
    with capsys.disabled():
        print(f"\n{configuration.name}: {result.states:,} states, {result.seconds:.1f} s", end="")
    assert result.failed is not None
    assert "invariant" in result.output


def test_a_constant_that_the_model_lacks_is_refused() -> None:
    with pytest.raises(ModelError, match="no constant NO_SUCH"):
        instantiate("const\n  H: 2;\n", {"NO_SUCH": "1"})


@pytest.mark.parametrize("wrong", [["--only", "nothing"], ["--set", "H"], ["--set", "H=x;"]])
def test_wrong_usage_is_one_line_and_a_status(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(wrong) == 1
    said = capsys.readouterr().err
    assert said.startswith("fuzz.model: ")
    assert said.count("\n") == 1
