"""From results to pictures and pages. No torch, no ray: whoever reads results needs no GPU stack."""

from mutransfer.report.files import save_figures
from mutransfer.report.provenance import FailedTrial, Provenance, Training
from mutransfer.report.tables import (
    comparison_table,
    confirmation_table,
    difference_table,
    diverged_table,
    forgiving_table,
    law_table,
    optima_table,
    settling_table,
    transfer_table,
)
from mutransfer.report.transfer_page import render, write_report

__all__ = [
    "FailedTrial",
    "Provenance",
    "Training",
    "comparison_table",
    "confirmation_table",
    "difference_table",
    "diverged_table",
    "forgiving_table",
    "law_table",
    "optima_table",
    "render",
    "save_figures",
    "settling_table",
    "transfer_table",
    "write_report",
]
