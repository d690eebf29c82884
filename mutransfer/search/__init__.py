"""What to try next: one protocol, and behind it grid, sampled and bracket searches. Proposals are pure functions of
what is recorded.

Nothing is handed on here, so that `status` and `plan` do not load optuna.
"""
