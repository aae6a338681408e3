"""Hypothesis strategies for what anybody may send."""

from __future__ import annotations

import cbor2
from hypothesis import strategies as st

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.binary() | st.text()
structures = st.recursive(
    scalars | st.builds(cbor2.CBORTag, st.integers(0, 300), scalars),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=5) | st.integers(), inner, max_size=4)
        | st.builds(cbor2.CBORTag, st.integers(0, 300), inner)
    ),
    max_leaves=12,
)
