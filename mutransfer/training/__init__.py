"""Training runs."""

from mutransfer.training.checkpoint import Checkpoint
from mutransfer.training.execution import find_execution
from mutransfer.training.part import Part
from mutransfer.training.trainer import TrialResult, train, train_trial

__all__ = ["Checkpoint", "Part", "TrialResult", "find_execution", "train", "train_trial"]
