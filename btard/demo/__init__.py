"""The demonstration: real peers, real attackers, one picture."""
