"""What judges are asked to compute, as plain values and back (spec OPS-12)."""

from __future__ import annotations

from typing import Any, Final

import attrs

from btard.statemachine.compute import GradientCheck, Judge, PartCheck, ValidatorCheck, Work
from btard.statemachine.messages import Claim, ClaimKind

_CLASSES: Final[dict[str, Any]] = {
    kind.__name__: kind for kind in (Claim, GradientCheck, Judge, PartCheck, ValidatorCheck, Work)
}


def plain(value: Any) -> Any:
    """Return a value as CBOR holds it: a class as a list that begins with its name."""
    if attrs.has(type(value)):
        fields = [plain(getattr(value, field.name)) for field in attrs.fields(type(value))]
        return [type(value).__name__, *fields]
    if isinstance(value, tuple):
        return [plain(entry) for entry in value]
    return str(value) if isinstance(value, ClaimKind) else value


def judge(value: Any) -> Judge:
    """Return the request that `plain` took apart. Raises one of UNREADABLE for others."""
    found = _value(value)
    if not isinstance(found, Judge):
        raise ValueError("not a request to judge")
    return found


def _value(value: Any) -> Any:
    if not isinstance(value, list):
        return value
    if not value or not isinstance(value[0], str):
        return tuple(_value(entry) for entry in value)
    name, *fields = value
    if name == "Claim":
        fields[0] = ClaimKind(fields[0])
    return _CLASSES[name](*map(_value, fields))
