"""The coordinate check: observe, fit, judge, and name the culprit."""

from mutransfer.coordcheck.check import coord_check
from mutransfer.coordcheck.result import CoordCheck, CoordSettings

__all__ = ["CoordCheck", "CoordSettings", "coord_check"]
