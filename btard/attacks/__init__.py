"""Byzantine peers, by name.

This package imports torch; `btard.attacks.names` does not.
"""
