"""From results to pictures and pages. No torch, no ray: whoever reads results needs no GPU stack."""

from mutransfer.report.files import save_figures
from mutransfer.report.html import Provenance, render, write_report
from mutransfer.report.tables import difference_table, diverged_table, optima_table, transfer_table

__all__ = [
    "Provenance",
    "difference_table",
    "diverged_table",
    "optima_table",
    "render",
    "save_figures",
    "transfer_table",
    "write_report",
]
