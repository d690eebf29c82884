"""A result folder as a whole: its records analyzed, and everything that is computed from them written."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

from mutransfer.analysis import Analysis, analyze, to_summary
from mutransfer.analysis.confirmation import Confirmation
from mutransfer.config import SweepConfig, to_json
from mutransfer.files import write_whole
from mutransfer.report import FailedTrial, Provenance, Training, save_figures, write_report
from mutransfer.study.confirmations import read_confirmations
from mutransfer.study.foreign import ForeignResult, read_foreign
from mutransfer.study.settling import with_costs
from mutransfer.sweep.folder import ResultFolder, explain_write_errors, read_failures, read_origin
from mutransfer.trials import records
from mutransfer.trials.foreign.place import is_foreign
from mutransfer.trials.records import Record
from mutransfer.trials.table import Trials


@dataclass(frozen=True)
class Recorded:
    """What a folder holds: the sweep's config, of all that was ever asked for, the last command with what that one asks
    for, and the records."""

    folder: Path
    config: SweepConfig
    command: str
    asked: SweepConfig
    records: tuple[Record, ...]

    def check_data(self, fingerprint: str) -> None:
        """Raises ValueError where its data are by now others than its trials were trained on."""
        known = self.records[0].data_fingerprint
        if fingerprint != known:
            raise ValueError(
                f"found {self.config.data} with fingerprint {fingerprint}; {self.folder} was made with {known}, wanted "
                "the same: restore the data, or sweep again"
            )


@dataclass(frozen=True)
class Result(Recorded):
    """The records of a sweep over sizes and what they say, with the sizes at which that was confirmed."""

    trials: Trials
    analysis: Analysis
    confirmations: tuple[Confirmation, ...]


def read_recorded(path: Path) -> Recorded:
    """Read a folder. Raises ValueError where there is no sweep or no finished trial, or the files are corrupt."""
    folder = ResultFolder(path)
    origin = read_origin(folder)
    if origin is None:
        raise ValueError(
            f"found no result in {path}; wanted a folder that a sweep wrote, such as results/width_transfer"
        )
    recorded = records.read(folder.records) if folder.records.exists() else []
    if not recorded:
        raise ValueError(f"found no finished trial in {path}; wanted some: run {origin.command}")
    return Recorded(path, origin.config, origin.command, origin.sweeps[-1].config, tuple(recorded))


def read_result(path: Path) -> Result | ForeignResult:
    """Read and analyze a result folder, from its files alone: of a sweep, or of trials that others ran. Raises
    ValueError where it is neither, or the files are corrupt."""
    return read_foreign(path) if is_foreign(path) else read_swept(path)


def read_swept(path: Path) -> Result:
    """Read and analyze the folder of a sweep, from its config and records alone.

    Raises:
        ValueError: where there is no sweep or no finished trial, where it searched several hyperparameters, or where
            the files are corrupt.
    """
    if is_foreign(path):
        raise ValueError(f"expected a sweep in {path}, got trials that others ran; no more of them can be trained here")
    found = read_recorded(path)
    config = found.config
    if config.space:
        raise ValueError(
            f"found a search over lr, {', '.join(each.name for each in config.space)} in {path}; wanted a sweep of the "
            f"rate alone, along some sizes: `mutransfer report {path}` shows its best settings and how to confirm them"
        )
    # The order of the arms is the config's, whichever trial finished first.
    order = [arm.name for arm in config.arms]
    ordered = sorted(found.records, key=lambda each: (order.index(each.arm), each.scale, each.lr, each.seed))
    trials = records.to_trials(ordered, along=config.dimensions)
    # An earlier command may have had arms that the last one leaves out.
    asked = replace(found.asked, parametrizations=config.parametrizations, variants=config.variants)
    analysis = with_costs(analyze(trials, config.tolerance), asked, found.records)
    confirmations = read_confirmations(path, analysis, trials)
    return Result(path, config, found.command, found.asked, found.records, trials, analysis, confirmations)


def write_result(result: Result | ForeignResult) -> None:
    """Write summary.json, figures/ and report.html into the folder. Raises ValueError where it cannot be written."""
    came_about = result.provenance() if isinstance(result, ForeignResult) else provenance(result)
    with explain_write_errors(ResultFolder(result.folder)):
        summary = json.dumps(to_summary(result.analysis), indent=1, allow_nan=False)
        write_whole(result.folder / "summary.json", summary.encode() + b"\n")
        save_figures(result.analysis, result.trials, result.folder / "figures", result.confirmations)
        write_report(result.folder / "report.html", result.analysis, result.trials, came_about, result.confirmations)


def provenance(result: Recorded) -> Provenance:
    """How the result came about. Versions and devices are those of all its trials, in the order of their records."""
    versions: dict[str, list[str]] = {}
    for record in result.records:
        for name, version in record.versions.items():
            known = versions.setdefault(name, [])
            known += [version] if version not in known else []
    recorded = {record.trial_id for record in result.records}
    failed = {failure.trial_id: failure for failure in read_failures(ResultFolder(result.folder))}
    return Provenance(
        folder=str(result.folder),
        failures=tuple(
            FailedTrial(each.arm, each.where, each.lr, each.seed, each.error)
            for trial_id, each in failed.items()
            if trial_id not in recorded
        ),
        conformance=conformance_status(result.folder.parent / "conformance" / "conformance.json"),
        command=result.command,
        config=to_json(result.config),
        n_trials=len(result.records),
        training=Training(
            versions={name: ", ".join(found) for name, found in versions.items()},
            data_fingerprint=result.records[0].data_fingerprint,
            wall_s=sum(record.wall_s for record in result.records),
            flops=sum(record.flops for record in result.records),
            started=min(record.started for record in result.records),
            devices=tuple(dict.fromkeys(record.device for record in result.records)),
        ),
    )


def conformance_status(table: Path) -> str | None:
    """How many of the published claims hold, by the table that `make conformance` writes; None where there is none.

    Raises ValueError where it is no such table.
    """
    if not table.is_file():
        return None
    try:
        verdicts = [claim["verdict"] for claim in json.loads(table.read_bytes())["claims"]]
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(
            f"found a {table} that cannot be read ({error}); wanted what make conformance wrote: restore or remove it"
        ) from None
    held, failed = verdicts.count("holds"), verdicts.count("fails")
    return (
        f"{held} of {len(verdicts)} published claims hold, {failed} fail, {len(verdicts) - held - failed} were not run "
        f"({table.parent / 'README.md'})"
    )
