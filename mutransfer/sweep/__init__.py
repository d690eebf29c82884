"""The sweep: what to try next, where it runs, and the driver that asks, dispatches, records and tells.

Nothing is handed on here, so that `status` and `plan` load neither torch, ray nor optuna.
"""
