"""Logging and environment as each test found them."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import structlog


@pytest.fixture(autouse=True)
def as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in os.environ:
        if name.startswith("BTARD_"):
            monkeypatch.delenv(name)
    logging = structlog.get_config()
    yield
    structlog.configure(**logging)
