"""Breadth-first search of the real core: every order of events that a declared configuration allows."""
