"""What may be wrong with a ledger."""

from __future__ import annotations

from btard.errors import BtardError


class LedgerError(BtardError):
    """A ledger that cannot be read or written; the message says why in one line."""


class DamagedLedgerError(LedgerError):
    """Something in it was changed or lost: nothing in it can be relied on (spec OPS-15)."""


class UnusableLedgerError(LedgerError):
    """The disk refuses it; what is in it may be right."""
