"""A folder with the keys of four peers and a run file of theirs, made by the commands themselves."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import pytest

from btard_transports.ports import free_endpoints
from tests.cli.commands import NAMES, init, keygen


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith("BTARD_"):
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("made")
    with free_endpoints(len(NAMES)) as endpoints:
        for name, (control, bulk) in zip(NAMES, endpoints, strict=True):
            keygen(folder, name, control, bulk)
        with redirect_stdout(StringIO()):
            assert init(folder, "--steps", "7") == 0
        yield folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """A copy of the folder for one test."""
    return Path(shutil.copytree(made, tmp_path / "run"))
