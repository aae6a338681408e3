"""The imperative shell around the state machine: one running peer."""
