"""The doctor: rules that say what is wrong with a training run, from its curves alone."""

from mutransfer.toolbox.doctor.finding import NOTE, PROBLEM, Diagnosis, Finding, Rule
from mutransfer.toolbox.doctor.rules import RULES, diagnose
from mutransfer.toolbox.doctor.run import Run, Setup, run_of
from mutransfer.trials.logs.log import Curve

__all__ = ["NOTE", "PROBLEM", "RULES", "Curve", "Diagnosis", "Finding", "Rule", "Run", "Setup", "diagnose", "run_of"]
