"""Logs of training runs, whatever program wrote them: CSV files and TensorBoard folders."""

from mutransfer.trials.logs.columns import NAMES
from mutransfer.trials.logs.events import holds_events, read_events
from mutransfer.trials.logs.log import LAYERED, Curve, Log
from mutransfer.trials.logs.table import read_table

__all__ = ["LAYERED", "NAMES", "Curve", "Log", "holds_events", "read_events", "read_table"]
