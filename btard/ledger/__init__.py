"""The ledger: who is out, by what proof, and what judges computed from (spec OPS-11 to OPS-15)."""
