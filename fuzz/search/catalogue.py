"""All declared searches, and all planted faults that one of them must find."""

from __future__ import annotations

from fuzz.planted import CATALOGUE, Planted
from fuzz.planted_halting import SEARCHED
from fuzz.search.configurations import CONFIGURATIONS, Configuration
from fuzz.search.halting import HALTING

ALL: dict[str, Configuration] = CONFIGURATIONS | HALTING
FAULTS: dict[str, Planted] = CATALOGUE | SEARCHED
