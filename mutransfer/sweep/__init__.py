"""The sweep: where trials run, and the driver that asks, dispatches, records and tells.

Nothing is handed on here, so that `status` and `plan` load neither torch, ray nor optuna.
"""
