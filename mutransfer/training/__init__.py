"""Training runs."""

from mutransfer.training.checkpoint import Checkpoint
from mutransfer.training.memory import cohort_size
from mutransfer.training.part import Part
from mutransfer.training.trainer import TrialResult, train, train_trial

__all__ = ["Checkpoint", "Part", "TrialResult", "cohort_size", "train", "train_trial"]
