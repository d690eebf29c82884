"""Training runs."""

from mutransfer.training.trainer import TrialResult, train

__all__ = ["TrialResult", "train"]
