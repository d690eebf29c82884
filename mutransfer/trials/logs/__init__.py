"""Logs of training runs, whatever program wrote them."""

from mutransfer.trials.logs.events import holds_events
from mutransfer.trials.logs.log import Curve, Log
from mutransfer.trials.logs.names import LAYERED, SPELLINGS
from mutransfer.trials.logs.read import read_log

__all__ = ["LAYERED", "SPELLINGS", "Curve", "Log", "holds_events", "read_log"]
